"""A Dagster component over ``cdc.yaml``, for projects that are made of ``defs.yaml`` files.

In a project's ``defs/<any name>/defs.yaml``::

    type: cdc_platform.components.CdcTables
    attributes:
      config_file: ../../cdc.yaml
"""

from pathlib import Path

import dagster as dg

from cdc_platform.definitions import build_definitions


class CdcTables(dg.Component, dg.Model, dg.Resolvable):
    """Everything a ``cdc.yaml`` asks for: assets, checks, sensors and schedules."""

    #: The configuration; a relative path starts at the folder of ``defs.yaml``.
    config_file: str = "cdc.yaml"

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions. Raises ConfigError with every mistake of the file."""
        return build_definitions((Path(context.path) / self.config_file).resolve())
