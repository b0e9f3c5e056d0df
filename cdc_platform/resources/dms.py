"""AWS DMS as a Dagster resource: a boto3 client for the DMS objects of a source.

The same calls go to AWS or to the local DMS endpoint; only the endpoint differs.
"""

from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

    from cdc_platform.config.model import PlatformConfig


class DmsResource(dg.ConfigurableResource["DmsResource"]):
    """Makes DMS clients. ``endpoint_url`` and ``region``, when given, win over what ``cdc.yaml`` says."""

    endpoint_url: str | None = None
    region: str | None = None

    def client(self, config: "PlatformConfig", source: str) -> "DatabaseMigrationServiceClient":
        """Return the client for a source's DMS objects. Raises ConfigError, ReplicationError."""
        from cdc_platform.replication import dms_client

        given = {"endpoint_url": self.endpoint_url, "region": self.region}
        chosen = {name: value for name, value in given.items() if value is not None}
        if chosen and source in config.sources:
            settings = config.sources[source]
            changed = settings.model_copy(update={"dms": settings.dms.model_copy(update=chosen)})
            config = config.model_copy(update={"sources": {**config.sources, source: changed}})
        return dms_client(config, source)
