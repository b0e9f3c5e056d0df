"""Spark over the same catalog: the session, and the jobs that run in it."""
