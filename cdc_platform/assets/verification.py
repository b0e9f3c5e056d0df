"""The check ``every_row_verified_recently``, of tables with ``verify_within_days``, and what keeps it true.

It is about a table, not about a window: the proofs are the table's, and a failure that belonged to a window
would stand until that very window moved again. So it has no partitions, and its newest result is its status.

What it says changes with every proof and with time alone. So it is evaluated in the step of each window, by
``reconcile_whole`` after its run, and every hour by the job ``verification_ages``, which reads the stored
proofs and never a source.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import dagster as dg

from cdc_platform.assets.checks import evaluation_of, newest_materialization
from cdc_platform.assets.keys import active_tables, reconciliation_key
from cdc_platform.assets.metadata import without_none
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.config.model import PlatformConfig
from cdc_platform.errors import CdcError
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform
    from cdc_platform.reconcile.proofs import Ages

VERIFIED = "every_row_verified_recently"
#: After the hour's windows were reconciled, before the pages on all tables are written.
CRON = "40 * * * *"


def verified_spec(asset: dg.AssetKey) -> dg.AssetCheckSpec:
    """Return the specification of the check of the reconciliation asset of a table."""
    text = "Each row was compared with the source within the days cdc.yaml says."
    return dg.AssetCheckSpec(VERIFIED, asset=asset, description=text)


def verified_result(platform: "Platform", source: str, table_id: str) -> dg.AssetCheckResult:
    """Return whether every row was compared with the source recently; where not, it is a warning.

    Ages that cannot be read are an error of the check: nothing stays green that is not known.
    """
    from cdc_platform.reconcile.full import verification_ages

    try:
        return ages_result(verification_ages(platform, source, table_id))
    except CdcError as error:
        return dg.AssetCheckResult(check_name=VERIFIED, passed=False, description=str(error))


def ages_result(ages: "Ages") -> dg.AssetCheckResult:
    """Return the result of the check for the ages of a table's proofs."""
    age = ages.oldest_age
    return dg.AssetCheckResult(
        check_name=VERIFIED,
        passed=ages.is_kept,
        severity=dg.AssetCheckSeverity.WARN,
        description=ages.sentence,
        metadata=without_none(
            {
                "oldest_proof": ages.oldest.isoformat() if ages.oldest is not None else None,
                "oldest_age_days": round(age / timedelta(days=1), 3) if age is not None else None,
                "within_days": ages.within / timedelta(days=1),
                "segments": ages.segments,
                "segments_not_proven": ages.unproven,
                "last_run": ages.last_run.isoformat() if ages.last_run is not None else None,
            }
        ),
    )


def verified_evaluation(
    instance: dg.DagsterInstance, platform: "Platform", source: str, table_id: str
) -> dg.AssetCheckEvaluation:
    """Return the result as an op yields it, which has no assets of its own."""
    asset = reconciliation_key(source, table_id)
    result = verified_result(platform, source, table_id)
    return evaluation_of(result, asset, newest_materialization(instance, asset))


def is_any_dated(config: PlatformConfig) -> bool:
    """Return whether a table says within which time its rows are to be compared."""
    tables = (table for source in config.sources.values() for table in active_tables(source))
    return any(table.verify_within_days is not None for table in tables)


def _build_op() -> dg.OpDefinition:
    @dg.op(
        name="evaluate_ages_of_proofs",
        description="Tells of each table with verify_within_days how old its oldest proof is.",
        out=dg.Out(dg.Nothing),
    )
    def evaluate_ages_of_proofs(
        context: dg.OpExecutionContext, platform: PlatformResource
    ) -> Iterator[dg.AssetCheckEvaluation | dg.Output[None]]:
        with dagster_outcome(context):
            opened = platform.open()
            dated = [one for one in opened.tables() if one[1].verify_within_days is not None]
        overdue, unread = 0, []
        for source, table in dated:
            found = verified_evaluation(context.instance, opened, source, table.id)
            yield found
            overdue += not found.passed
            if not found.passed and found.severity is dg.AssetCheckSeverity.ERROR:
                unread.append(f"{source}/{table.id}: {found.description}")
        if unread:
            raise dg.Failure("\n".join(unread), allow_retries=False)
        yield dg.Output(None, metadata={"tables": len(dated), "tables_overdue": overdue})

    return evaluate_ages_of_proofs


def build_verification_definitions() -> dg.Definitions:
    """Return the job ``verification_ages`` and the schedule that runs it."""
    evaluate_ages_of_proofs = _build_op()

    @dg.job(
        name="verification_ages",
        description="Evaluates every_row_verified_recently of all tables that have it; compares nothing.",
        executor_def=dg.in_process_executor,
    )
    def verification_ages() -> None:
        evaluate_ages_of_proofs()

    schedule = dg.ScheduleDefinition(
        name="verification_ages_hourly",
        job=verification_ages,
        cron_schedule=CRON,
        execution_timezone="UTC",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Tells every hour whose rows were not compared with the source in time.",
    )
    return dg.Definitions(jobs=[verification_ages], schedules=[schedule])
