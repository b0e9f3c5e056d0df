"""formats of cdc-platform."""
