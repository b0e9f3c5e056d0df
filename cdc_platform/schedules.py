"""Schedules: closed windows are reconciled once more, and base tables maintained once a day.

Reconciliation follows every merge by itself. What this adds is a verdict on windows as they were when they
closed, also where the last merge of a window left changes in flight. What merges make due of compaction and
expiry is done right after them; the daily run does the rest, orphans above all.
"""

import dagster as dg

from cdc_platform.assets.keys import active_tables, maintenance_key, reconciliation_key
from cdc_platform.config.model import SourceConfig

#: After the window's end: DMS has flushed and the daemon has merged by then.
CRON = {"daily": "30 0 * * *", "hourly": "20 * * * *"}


def build_reconciliation_schedule(*, source: str, config: SourceConfig) -> dg.ScheduleDefinition:
    """Return the schedule ``<source>_closed_windows``; one job for all tables of the source."""
    keys = [reconciliation_key(source, table.id) for table in active_tables(config)]
    job = dg.define_asset_job(
        f"reconcile_{source}",
        selection=dg.AssetSelection.assets(*keys),
        description=f"Compares one window of every table of {source}.",
    )

    @dg.schedule(
        name=f"{source}_closed_windows",
        job=job,
        cron_schedule=CRON[config.window.every],
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Reconciles the window of {source} that closed last.",
    )
    def closed_windows(context: dg.ScheduleEvaluationContext) -> dg.RunRequest | dg.SkipReason:
        window = config.window.key_of(context.scheduled_execution_time - config.window.length)
        if config.window.bounds(window)[0].date() < config.window.start:
            return dg.SkipReason(f"{window} is before the first window, {config.window.start}")
        return dg.RunRequest(run_key=window, partition_key=window)

    return closed_windows


#: When little is going on, and after the windows of the day before were reconciled.
MAINTENANCE_CRON = "30 2 * * *"


def build_maintenance_schedule(*, source: str, config: SourceConfig) -> dg.ScheduleDefinition:
    """Return the schedule ``<source>_maintenance``; one run a day for all tables of the source."""
    keys = [maintenance_key(source, table.id) for table in active_tables(config)]
    job = dg.define_asset_job(
        f"maintain_{source}",
        selection=dg.AssetSelection.assets(*keys),
        description=f"Compacts, expires and cleans every base table of {source}.",
    )
    return dg.ScheduleDefinition(
        name=f"{source}_maintenance",
        job=job,
        cron_schedule=MAINTENANCE_CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description=f"Maintains the base tables of {source} once a day.",
    )
