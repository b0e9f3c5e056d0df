"""The job ``reconcile_whole``: ``cdc reconcile --full``, ``--incremental``, ``--against`` from the launchpad.

Its verdict is the metadata of the run and an observation of the table's reconciliation asset, so that a
person finds it where the verdicts of windows are. A difference, or a comparison that failed, fails the run.
The check of how old the proofs are is evaluated with it, for this run may have renewed them.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.keys import reconciliation_key
from cdc_platform.assets.metadata import (
    SHOWN_ROWS,
    comparison_metadata,
    reconciliation_metadata,
    table_value,
    without_none,
)
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.assets.reconciliation import publication_metadata
from cdc_platform.assets.verification import verified_evaluation
from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.config.model import Publish, TableConfig
from cdc_platform.reconcile.carried_rows import BASE_ROWS, SOURCE_ROWS
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform
    from cdc_platform.reconcile.full_options import FullOptions

#: Whole tables are read one at a time: the source has other work.
POOL = "maintenance"


class WholeRun(dg.Config):
    """Which table to compare as a whole, with what, and what may be spent."""

    source: str
    table: str
    against: str | None = None
    position: str | None = None
    keys_and_versions: bool = False
    version_column: str | None = None
    incremental: bool = False
    resume: bool = False
    max_seconds: float | None = None
    max_rows: int | None = None
    queries_per_second: float | None = None
    max_cpu_seconds: float | None = None


def whole_metadata(outcome: Reconciliation) -> dict[str, Any]:
    """Return what the UI shows of a full run: verdict, segments, what differs, what was not checked."""
    (comparison,), proof = outcome.comparisons, outcome.certificate
    carried = comparison.carried
    rows = [_segment_row(one) for one in proof["segments"] if one["verdict"] != Verdict.MATCH.value]
    verdicts = [{"verdict": name, "segments": number} for name, number in proof["segment_verdicts"].items()]
    not_checked = [{"not checked": text} for text in proof["not_covered"]]
    return without_none(
        {
            **comparison_metadata(comparison),
            **reconciliation_metadata(outcome),
            "discrepancies": comparison_metadata(comparison).get("discrepancies"),
            "compared_with": proof["against"],
            "segment_verdicts": table_value(verdicts),
            "segments_that_do_not_match": table_value(rows[:SHOWN_ROWS]),
            "source_rows_read": comparison.rows.get(SOURCE_ROWS),
            "base_rows_read": comparison.rows.get(BASE_ROWS),
            "rows_found_equal_by_earlier_runs": carried.rows if carried else None,
            "these_were_read": carried.when if carried else None,
            "oldest_proof": proof["verification"]["oldest_proof"],
            "newest_proof": proof["verification"]["newest_proof"],
            "changed_keys_compared": proof["verification"]["keys_since"] or None,
            "columns_guilty": ", ".join(proof["guilty_columns"]) or None,
            "not_checked": table_value(not_checked),
        }
    )


def _segment_row(segment: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "keys": segment["keys"],
        "verdict": segment["verdict"],
        "source rows read": segment["rows"]["source"],
        "base rows read": segment["rows"]["base"],
        "rows not read": segment["carried_rows"],
        "different": segment["different"],
        "in flight": segment["in_flight"],
        "unverified": segment["unverified"],
        "reason": segment["reason"],
    }


def build_whole_job() -> dg.JobDefinition:
    """Return the job ``reconcile_whole`` of the whole code location."""

    @dg.op(
        name="compare_whole_table",
        pool=POOL,
        description="Compares every row of a table with its source.",
        out=dg.Out(dg.Nothing),
    )
    def compare_whole_table(
        context: dg.OpExecutionContext, config: WholeRun, platform: PlatformResource
    ) -> Iterator[dg.AssetObservation | dg.AssetCheckEvaluation | dg.Output[None]]:
        from cdc_platform.reconcile.full import reconcile_full

        with dagster_outcome(context):
            opened = platform.open()
            ((source, table),) = chosen_tables(opened, config.source, [config.table], option="table")
            outcome = reconcile_full(opened, source, table.id, _options(opened, config, context))
            published = _published(opened, source, table)
        metadata = {**whole_metadata(outcome), **published}
        # yielded, not logged: a step that fails keeps what it yielded
        key = reconciliation_key(source, table.id)
        yield dg.AssetObservation(key, description=outcome.sentence, metadata=metadata)
        if table.verify_within_days is not None:
            yield verified_evaluation(context.instance, opened, source, table.id)
        if outcome.verdict.is_refused:
            raise dg.Failure(outcome.sentence, metadata=metadata, allow_retries=False)
        yield dg.Output(None, metadata=metadata)

    @dg.job(
        name="reconcile_whole",
        description="Every row of a table compared with the source, or with a Parquet export in its place.",
        executor_def=dg.in_process_executor,
    )
    def reconcile_whole() -> None:
        compare_whole_table()

    return reconcile_whole


def _published(platform: "Platform", source: str, table: TableConfig) -> dict[str, Any]:
    """Move main of a table that waits for verdicts; return what is shown of it."""
    from cdc_platform.pipeline import publish

    if table.publish is not Publish.ON_MATCH:
        return {}
    return publication_metadata(publish(platform, source, table.id))


def _options(platform: "Platform", config: WholeRun, context: dg.OpExecutionContext) -> "FullOptions":
    """Return how the table is compared. Raises ConfigError for fields the command line would refuse."""
    from cdc_platform.reconcile.budget import Budget
    from cdc_platform.reconcile.full import whole_options

    bounds = (config.max_seconds, config.max_rows, config.queries_per_second, config.max_cpu_seconds)
    return whole_options(
        platform.lake,
        config.against,
        config.position,
        named=str,
        budget=Budget(*bounds),
        resume=config.resume,
        keys_only=config.keys_and_versions,
        version_column=config.version_column,
        incremental=config.incremental,
        tell=context.log.info,
    )
