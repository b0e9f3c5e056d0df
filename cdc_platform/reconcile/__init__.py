"""reconcile of cdc-platform."""
