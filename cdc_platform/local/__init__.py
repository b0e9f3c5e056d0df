"""local of cdc-platform."""
