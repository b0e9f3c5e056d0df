"""cdc-platform: database changes into Iceberg tables that are proven equal to the source."""

__version__ = "0.1.0"
