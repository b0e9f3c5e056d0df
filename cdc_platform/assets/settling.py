"""The job ``settle_in_flight``: what ``cdc reconcile --settle`` does, from the launchpad or by a schedule.

Each table whose queue has keys gets an observation of its reconciliation asset, so that a person finds what
became of them where the verdicts of windows are. A difference, or a comparison that failed, fails the run.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.keys import reconciliation_key
from cdc_platform.assets.metadata import comparison_metadata, table_value, without_none
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

EVERY_TEN_MINUTES = "*/10 * * * *"


class SettlingRun(dg.Config):
    """Which tables' queues are looked at (all by default), and which of their keys, by age in seconds."""

    source: str | None = None
    table: str | None = None
    min_age_seconds: float = 0.0
    max_age_seconds: float = 3600.0


def settling_metadata(outcome: Reconciliation) -> dict[str, Any]:
    """Return what the UI shows of a settling run: the comparison, and how much is left for how long."""
    (comparison,), told = outcome.comparisons, outcome.certificate["settling"]
    names = ("queued", "settled_equal", "mended", "reported", "left_out", "oldest_age_seconds")
    oldest = [
        {**one, "key": ", ".join(f"{name} = {value}" for name, value in one["key"].items())}
        for one in told["oldest"]
    ]
    return without_none(
        {
            **comparison_metadata(comparison),
            **{name: told[name] for name in names},
            "oldest": table_value(without_none(one) for one in oldest),
        }
    )


def build_settling_job() -> dg.JobDefinition:
    """Return the job ``settle_in_flight`` of the whole code location."""

    @dg.op(
        name="settle_keys_in_flight",
        description="Looks again at the keys earlier runs left in flight.",
        out=dg.Out(dg.Nothing),
    )
    def settle_keys_in_flight(
        context: dg.OpExecutionContext, config: SettlingRun, platform: PlatformResource
    ) -> Iterator[dg.AssetObservation | dg.Output[None]]:
        refused = []
        with dagster_outcome(context):
            outcomes = list(_settled(platform.open(), config))
        for outcome in outcomes:
            key = reconciliation_key(outcome.source, outcome.table_id)
            metadata = settling_metadata(outcome)
            yield dg.AssetObservation(key, description=outcome.sentence, metadata=metadata)
            if outcome.verdict.is_refused:
                refused.append(f"{outcome.source}/{outcome.table_id}: {outcome.sentence}")
        if refused:
            raise dg.Failure("\n".join(refused), allow_retries=False)
        yield dg.Output(None, metadata={"tables_with_keys_in_flight": len(outcomes)})

    @dg.job(
        name="settle_in_flight",
        description="Keys that earlier comparisons left in flight, looked at again.",
        executor_def=dg.in_process_executor,
    )
    def settle_in_flight() -> None:
        settle_keys_in_flight()

    return settle_in_flight


def build_settling_schedule(job: dg.JobDefinition) -> dg.ScheduleDefinition:
    """Return the schedule of ``job``; it does not run until somebody turns it on."""
    return dg.ScheduleDefinition(
        name="settle_in_flight_schedule",
        job=job,
        cron_schedule=EVERY_TEN_MINUTES,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Looks every ten minutes at the keys that are in flight.",
    )


def _settled(platform: "Platform", config: SettlingRun) -> Iterator[Reconciliation]:
    """Settle what the fields choose. Raises ConfigError for a table that is not there, and for ages."""
    from cdc_platform.reconcile.settle import SettleOptions, settle

    named = [config.table] if config.table is not None else None
    tables = chosen_tables(platform, config.source, named, option="table")
    options = SettleOptions.of_seconds(
        min_age_seconds=config.min_age_seconds, max_age_seconds=config.max_age_seconds
    )
    for source, table in tables:
        outcome = settle(platform, source, table.id, options)
        if outcome is not None:
            yield outcome
