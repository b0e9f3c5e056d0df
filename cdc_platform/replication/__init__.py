"""replication of cdc-platform."""
