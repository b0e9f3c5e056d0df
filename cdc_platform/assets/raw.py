"""Raw assets: the files DMS left for a table, window by window.

The file sensor reports a window when it accepted new files for it. Materializing a window by hand or in a
backfill does the same work in a run: it lists the window again and accepts what is there.
"""

import dagster as dg

from cdc_platform.assets.checks import evaluate, raw_checks, window_check_specs
from cdc_platform.assets.keys import owners_of, raw_key, replication_key, tags_of
from cdc_platform.assets.metadata import raw_metadata
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.assets.replication import is_replicated
from cdc_platform.config.model import PlatformConfig, TableConfig
from cdc_platform.resources import PlatformResource


def build_raw_asset(
    *, config: PlatformConfig, source: str, table: TableConfig, partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    """Return ``raw/<source>/<table>``; it has no condition of its own, files come when they come."""
    settings = config.sources[source]
    raw_options = settings.raw_of(table)
    location = config.path_of(raw_options.location)

    @dg.asset(
        key=raw_key(source, table.id),
        deps=[replication_key(source)] if is_replicated(settings) else [],
        partitions_def=partitions,
        group_name=source,
        kinds={"dms", raw_options.format.value},
        owners=owners_of(settings, table),
        tags=tags_of(source, table),
        metadata={"dagster/uri": f"{location}/{table.schema_name}/{table.table_name}/"},
        check_specs=window_check_specs(raw_key(source, table.id), partitions, raw_checks(settings)),
        description=f"Files of {table.name} that DMS left, by the time in their names.",
    )
    def raw(context: dg.AssetExecutionContext, platform: PlatformResource) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster takes only the bare class beside check_specs
        from cdc_platform.pipeline import take_in

        window = context.partition_key
        with dagster_outcome(context):
            opened = platform.open()
            taken = take_in(opened, source, tables=[table.id], windows=[window])
            metadata = raw_metadata(opened.manifest(source, table.id, window))
            checks = evaluate(opened, raw_checks(settings), source, table.id, window)
        context.log.info(f"{taken.files} new files of {taken.listed} listed")
        return dg.MaterializeResult(metadata=metadata, check_results=checks)

    return raw
