"""raw of cdc-platform."""
