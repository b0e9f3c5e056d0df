"""Dagster resources: the platform, and AWS DMS."""

from cdc_platform.resources.dms import DmsResource
from cdc_platform.resources.platform import PlatformResource

__all__ = ["DmsResource", "PlatformResource"]
