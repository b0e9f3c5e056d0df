"""Partitioned asset checks: one result per window of an asset.

``partitions_def`` on a check is a preview of the pinned Dagster minor version; :func:`window_check_spec` is
the one place that uses it. A check's status per window exists only for runs of exactly one partition, so each
checked asset keeps the default backfill policy of one run per partition.

Every check is evaluated in the step of its asset, so that no write goes without (one that is not about a
window elsewhere too: :mod:`cdc_platform.assets.verification`). As a step of its own it
would be left out whenever the daemon asks for base and reconciliation together, and, had it a condition, of
backfills. The windows of raw that the sensor reports have no step at all: the step that merges them looks at
them as well (:func:`report_checks`).
"""

import warnings
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.definitions.asset_checks.asset_check_evaluation import (
    AssetCheckEvaluationTargetMaterializationData,
)

from cdc_platform.assets.keys import has_replication
from cdc_platform.assets.metadata import SHOWN_ROWS, table_value, without_none
from cdc_platform.config.model import SourceConfig

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform
    from cdc_platform.window_checks import CheckOutcome

FILES_ARE_READABLE = "files_are_readable"
#: What is claimed of a window, by the name of the check, a function of :mod:`cdc_platform.window_checks`.
RAW_CHECKS = {
    FILES_ARE_READABLE: "Every accepted file of the window opens and has the columns it must have.",
    "row_counts_match_replication_statistics": "The table's files hold as many rows as DMS says it wrote.",
}
BASE_CHECKS = {
    "merge_keys_are_unique": "No two rows of the base table have the same merge key.",
    "no_rows_quarantined": "No file or row of the window waits in quarantine.",
    "watermark_is_current": "The base table has everything that was accepted up to the end of the window.",
    "schema_matches_configuration": "Columns, key and partitions of the base table are what cdc.yaml says.",
}


def raw_checks(config: SourceConfig) -> dict[str, str]:
    """Return the checks of raw files; row counts are compared where ``cdc.yaml`` says how to reach DMS."""
    there = RAW_CHECKS.items()
    return {name: text for name, text in there if name == FILES_ARE_READABLE or has_replication(config)}


def window_check_spec(
    name: str,
    asset: dg.AssetKey,
    partitions: dg.PartitionsDefinition,
    description: str,
    *,
    blocking: bool = False,
) -> dg.AssetCheckSpec:
    """Return the specification of a check whose results belong to the asset's windows."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*partitions_def.*", category=dg.PreviewWarning)
        return dg.AssetCheckSpec(
            name,
            asset=asset,
            partitions_def=partitions,
            description=description,
            blocking=blocking,
        )


def check_result(name: str, outcome: "CheckOutcome") -> dg.AssetCheckResult:
    """Return Dagster's form of an outcome. What could not be looked at is a warning, never green."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.WARN if outcome.is_warning else dg.AssetCheckSeverity.ERROR,
        description=outcome.description,
        metadata=without_none({**outcome.metadata, "findings": table_value(outcome.rows[:SHOWN_ROWS])}),
    )


def window_check_specs(
    asset: dg.AssetKey, partitions: dg.PartitionsDefinition, checks: Mapping[str, str]
) -> list[dg.AssetCheckSpec]:
    """Return the specifications of checks (name → what is claimed) of an asset."""
    return [window_check_spec(name, asset, partitions, text) for name, text in checks.items()]


def evaluate(
    platform: "Platform", checks: Iterable[str], source: str, table_id: str, window: str
) -> list[dg.AssetCheckResult]:
    """Run checks of :mod:`cdc_platform.window_checks` on a window."""
    from cdc_platform import window_checks

    return [
        check_result(name, getattr(window_checks, name)(platform, source, table_id, window))
        for name in checks
    ]


def evaluation_of(
    result: dg.AssetCheckResult,
    asset: dg.AssetKey,
    materialization: dg.EventLogRecord | None,
    partition: str | None = None,
) -> dg.AssetCheckEvaluation:
    """Return the event of a check that no step of ``asset`` evaluates.

    It is shown for as long as ``materialization`` is the newest. Without it Dagster goes by clocks, to the
    second, and shows no result at all where both fall into one.
    """
    target = materialization and AssetCheckEvaluationTargetMaterializationData(
        storage_id=materialization.storage_id,
        run_id=materialization.event_log_entry.run_id,
        timestamp=materialization.timestamp,
    )
    return dg.AssetCheckEvaluation(
        asset_key=asset,
        check_name=str(result.check_name),
        passed=result.passed,
        metadata=result.metadata,
        target_materialization_data=target,
        severity=result.severity,
        description=result.description,
        partition=partition,
    )


def newest_materialization(
    instance: dg.DagsterInstance, asset: dg.AssetKey, window: str | None = None
) -> dg.EventLogRecord | None:
    """Return the newest materialization of ``asset``, of a window if one is named; None: there is none."""
    wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[window] if window else None)
    return next(iter(instance.fetch_materializations(wanted, limit=1).records), None)


def report_checks(
    context: dg.AssetExecutionContext, platform: "Platform", asset: dg.AssetKey, checks: Iterable[str]
) -> None:
    """Evaluate the checks of a window of ``asset`` that was last reported without a run."""
    instance, window = context.instance, context.partition_key
    reported = newest_materialization(instance, asset, window)
    if reported is None or reported.event_log_entry.run_id:
        return
    _, source, table_id = asset.path
    for result in evaluate(platform, checks, source, table_id, window):
        instance.report_runless_asset_event(evaluation_of(result, asset, reported, window))
