"""AWS DMS as a Dagster resource: a boto3 client for the DMS objects of a source.

The same calls go to AWS or to the local DMS endpoint; only ``endpoint_url`` differs. It comes from here, else
from the source's ``dms.endpoint_url``, else from what boto3 itself reads (``AWS_ENDPOINT_URL_DMS``).
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

if TYPE_CHECKING:
    from cdc_platform.config.model import DmsOptions


class DmsResource(dg.ConfigurableResource["DmsResource"]):
    """Makes DMS clients. ``endpoint_url`` and ``region``, when given, win over the source's own settings."""

    endpoint_url: str | None = None
    region: str | None = None

    def client(self, options: "DmsOptions") -> Any:
        """Return a boto3 ``dms`` client for a source with these options."""
        import boto3

        region = self.region or options.region
        return boto3.client(
            "dms", endpoint_url=self.endpoint_url or options.endpoint_url, region_name=region
        )
