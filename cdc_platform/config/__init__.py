"""config of cdc-platform."""
