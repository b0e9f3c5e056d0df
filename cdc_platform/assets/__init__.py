"""assets of cdc-platform."""
