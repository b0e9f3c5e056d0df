"""Base assets: the Iceberg table as the source has it, merged window by window.

Merging a window applies those of its files that are not applied yet, in one snapshot. Whatever the order and
however often, the table ends the same, so a backfill, a re-run and the daemon may all work on it at once.
"""

import dagster as dg

from cdc_platform.assets.checks import (
    BASE_CHECKS,
    evaluate,
    raw_checks,
    report_checks,
    window_check_specs,
)
from cdc_platform.assets.conditions import when_dependency_moved
from cdc_platform.assets.keys import base_key, commit_pool, namespace_of, owners_of, raw_key, tags_of
from cdc_platform.assets.maintenance_metadata import upkeep_metadata
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
        check_specs=window_check_specs(base_key(source, table.id), partitions, BASE_CHECKS),
        description=f"{table.name} as the source has it, an Iceberg table. {keyed}.",
    )
    def base(context: dg.AssetExecutionContext, platform: PlatformResource) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster takes only the bare class beside check_specs
        from cdc_platform.pipeline import merge_table

        window = context.partition_key
        with dagster_outcome(context):
            opened = platform.open()
            result = merge_table(opened, source, table.id, windows=[window])
            for warning in result.warnings:
                context.log.warning(warning)
            loaded = opened.lake.load(source, table.id)
            metadata = {**merge_metadata(result, loaded), **upkeep_metadata(result, loaded)}
            report_checks(context, opened, raw_key(source, table.id), raw_checks(settings))
            checks = evaluate(opened, BASE_CHECKS, source, table.id, window)
        return dg.MaterializeResult(metadata=metadata, check_results=checks)

    return base
