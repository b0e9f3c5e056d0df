"""Base assets: the Iceberg table as the source has it, merged window by window.

Merging a window applies those of its files that are not applied yet, in one snapshot. Whatever the order and
however often, the table ends the same, so a backfill, a re-run and the daemon may all work on it at once.
"""

import dagster as dg

from cdc_platform.assets.checks import BASE_CHECKS, MERGE_KEYS_ARE_UNIQUE, build_window_checks
from cdc_platform.assets.conditions import when_dependency_moved
from cdc_platform.assets.keys import base_key, commit_pool, namespace_of, owners_of, raw_key, tags_of
from cdc_platform.assets.metadata import merge_metadata
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.config.model import PlatformConfig, TableConfig
from cdc_platform.resources import PlatformResource


def build_base_asset(
    *, config: PlatformConfig, source: str, table: TableConfig, partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    """Return ``base/<source>/<table>``, merged whenever raw files of a window were reported."""
    settings = config.sources[source]
    keyed = f"One row per {', '.join(table.merge_key)}" if table.merge_key else f"Kept as {table.no_key}"

    @dg.asset(
        key=base_key(source, table.id),
        deps=[raw_key(source, table.id)],
        partitions_def=partitions,
        automation_condition=when_dependency_moved(),
        pool=commit_pool(config, source, table),
        group_name=source,
        kinds={"iceberg", config.engine.type},
        owners=owners_of(settings, table),
        tags=tags_of(source, table),
        metadata={"dagster/table_name": f"{namespace_of(config, source)}.{table.id}"},
        description=f"{table.name} as the source has it, an Iceberg table. {keyed}.",
    )
    def base(context: dg.AssetExecutionContext, platform: PlatformResource) -> dg.MaterializeResult[None]:
        from cdc_platform.pipeline import merge_table

        with dagster_outcome(context):
            opened = platform.open()
            result = merge_table(opened, source, table.id, windows=[context.partition_key])
            metadata = merge_metadata(result, opened.lake.load(source, table.id))
        return dg.MaterializeResult(metadata=metadata)

    return base


def build_base_checks(
    *, source: str, table: TableConfig, partitions: dg.PartitionsDefinition
) -> dg.AssetChecksDefinition:
    """Return the checks of a base table; they run right after each merge.

    Checks without a condition ride along with their asset, but not in a run for which the daemon also asks
    for a check of another asset, as it does with those of raw. One that has a condition brings all along; a
    backfill leaves that one out, and the daemon makes up for it.
    """
    return build_window_checks(
        source=source,
        table_id=table.id,
        asset=base_key(source, table.id),
        partitions=partitions,
        checks=BASE_CHECKS,
        conditions={MERGE_KEYS_ARE_UNIQUE: when_dependency_moved()},
    )
