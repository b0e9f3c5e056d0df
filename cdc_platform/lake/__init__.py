"""lake of cdc-platform."""
