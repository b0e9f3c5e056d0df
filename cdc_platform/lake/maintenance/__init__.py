"""Keeping base tables healthy: compaction, snapshot expiry, orphan clean-up, each with a dry run."""
