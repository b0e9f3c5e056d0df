"""resources of cdc-platform."""
