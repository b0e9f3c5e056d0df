"""Maintenance assets: a base table's files compacted, its old snapshots expired, its orphans removed.

They share no pool with merges: each is safe beside the other, and a long compaction must not hold a merge up.
One pool for all of them bounds what maintenance takes of the machine.
"""

import dagster as dg

from cdc_platform.assets.keys import base_key, maintenance_key, owners_of, tags_of
from cdc_platform.assets.maintenance_metadata import maintenance_metadata, results_metadata
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.config.model import SourceConfig, TableConfig
from cdc_platform.resources import PlatformResource
from cdc_platform.schedules import MAINTENANCE_CRON

POOL = "maintenance"


class MaintenanceRun(dg.Config):
    """What a run does; everything unless told otherwise in the launchpad."""

    compact: bool = True
    expire: bool = True
    orphans: bool = True
    dry_run: bool = False


def build_maintenance_asset(*, source: str, config: SourceConfig, table: TableConfig) -> dg.AssetsDefinition:
    """Return ``maintenance/<source>/<table>``, materialized by the daily schedule or by hand."""

    @dg.asset(
        key=maintenance_key(source, table.id),
        deps=[base_key(source, table.id)],
        pool=POOL,
        group_name=source,
        kinds={"iceberg"},
        owners=owners_of(config, table),
        tags=tags_of(source, table),
        description=f"The files and snapshots of {table.name}, kept as `maintenance` in cdc.yaml says.",
    )
    def maintenance(
        context: dg.AssetExecutionContext, config: MaintenanceRun, platform: PlatformResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster takes only the bare class
        from cdc_platform.lake.maintenance import Step, maintain

        asked = {Step.COMPACT: config.compact, Step.EXPIRE: config.expire, Step.ORPHANS: config.orphans}
        with dagster_outcome(context):
            lake = platform.open().lake
            steps = [step for step in Step if asked[step]]
            result = maintain(lake, source, table, steps, dry_run=config.dry_run, note=context.log.info)
        return dg.MaterializeResult(metadata=maintenance_metadata(result) if result else {})

    return maintenance


RESULTS_KEY = dg.AssetKey(["maintenance", "cdc_reconciliation"])


def build_results_maintenance() -> dg.Definitions:
    """Return the asset that maintains the tables reconciliations are recorded in, and its daily schedule."""

    @dg.asset(
        key=RESULTS_KEY,
        pool=POOL,
        group_name="reconciliation",
        kinds={"iceberg"},
        description="The files and snapshots of what reconciliations recorded, kept as `maintenance` says.",
    )
    def results_maintenance(
        context: dg.AssetExecutionContext, platform: PlatformResource
    ) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster takes only the bare class
        from cdc_platform.reconcile.result_upkeep import RESULT_TABLES, maintain_results

        with dagster_outcome(context):
            lake = platform.open().lake
            done = [maintain_results(lake, name, note=context.log.info) for name in RESULT_TABLES]
        return dg.MaterializeResult(metadata=results_metadata([one for one in done if one is not None]))

    schedule = dg.ScheduleDefinition(
        name="results_maintenance_daily",
        job=dg.define_asset_job(
            "maintain_results",
            selection=dg.AssetSelection.assets(RESULTS_KEY),
            description="Compacts, expires and cleans what reconciliations recorded.",
        ),
        cron_schedule=MAINTENANCE_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Maintains the tables of verdicts once a day.",
    )
    return dg.Definitions(assets=[results_maintenance], schedules=[schedule])
