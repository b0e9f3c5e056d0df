"""The replication of a source as an asset: materializing it makes its DMS objects and lets the task run.

Doing it again changes nothing that is as ``cdc.yaml`` says, and resumes a task that has stopped. It starts no
task by itself: there is no condition and no schedule.
"""

import dagster as dg

from cdc_platform.assets.keys import has_replication, replication_key
from cdc_platform.assets.metadata import replication_metadata
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.config.model import SourceConfig
from cdc_platform.resources import DmsResource, PlatformResource


def is_replicated(config: SourceConfig) -> bool:
    """Return whether ``cdc.yaml`` says enough to replicate the source: its DMS and its database."""
    return has_replication(config) and config.connection is not None


def build_replication_asset(*, source: str, config: SourceConfig) -> dg.AssetsDefinition:
    """Return ``replication/<source>``."""

    @dg.asset(
        key=replication_key(source),
        group_name=source,
        kinds={"dms", config.engine},
        pool=f"dms/{source}",
        tags={"cdc/source": source[:63]},
        description=f"The DMS task that replicates {source}: made as cdc.yaml says, and running.",
    )
    def replication(
        context: dg.AssetExecutionContext, platform: PlatformResource, dms: DmsResource
    ) -> dg.MaterializeResult[None]:
        from cdc_platform.replication import (
            apply_replication,
            plan_replication,
            raw_root_of,
            start,
            table_statistics,
        )

        with dagster_outcome(context):
            settings = platform.open().config
            client = dms.client(settings, source)
            plan = plan_replication(settings, source, raw_root=raw_root_of(settings, client))
            made = apply_replication(client, plan, progress=context.log.info)
            task = start(client, plan.task.identifier, progress=context.log.info)
            statistics = table_statistics(client, plan.task.identifier)
        return dg.MaterializeResult(metadata=replication_metadata(made, task, statistics))

    return replication
