"""The platform as a Dagster resource: which ``cdc.yaml``, opened when a step first needs it."""

from typing import TYPE_CHECKING

import dagster as dg
from pydantic import PrivateAttr

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform


class PlatformResource(dg.ConfigurableResource["PlatformResource"]):
    """Opens the platform that ``config_path`` describes, once per process that runs a step or a tick."""

    config_path: str

    _platform: "Platform | None" = PrivateAttr(default=None)

    def open(self) -> "Platform":
        """Return the platform. Raises ConfigError when ``cdc.yaml`` is wrong."""
        if self._platform is None:
            from cdc_platform.pipeline import Platform

            self._platform = Platform.open(self.config_path)
        return self._platform
