"""Partitioned asset checks: one result per window of an asset.

``partitions_def`` on a check is a preview of the pinned Dagster minor version; :func:`window_check_spec` is
the one place that uses it. A check's status per window exists only for runs of exactly one partition, so each
checked asset keeps the default backfill policy of one run per partition.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.metadata import SHOWN_ROWS, table_value, without_none
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.window_checks import CheckOutcome

FILES_ARE_READABLE = "files_are_readable"
#: What is claimed of a window, by the name of the check, a function of :mod:`cdc_platform.window_checks`.
RAW_CHECKS = {
    FILES_ARE_READABLE: "Every accepted file of the window opens and has the columns it must have.",
    "row_counts_match_replication_statistics": "The table's files hold as many rows as DMS says it wrote.",
}
MERGE_KEYS_ARE_UNIQUE = "merge_keys_are_unique"
BASE_CHECKS = {
    MERGE_KEYS_ARE_UNIQUE: "No two rows of the base table have the same merge key.",
    "no_rows_quarantined": "No file or row of the window waits in quarantine.",
    "watermark_is_current": "The base table has everything that was accepted up to the end of the window.",
    "schema_matches_configuration": "Columns, key and partitions of the base table are what cdc.yaml says.",
}


def window_check_spec(
    name: str,
    asset: dg.AssetKey,
    partitions: dg.PartitionsDefinition,
    description: str,
    *,
    blocking: bool = False,
    condition: dg.AutomationCondition[Any] | None = None,
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
            automation_condition=condition,
        )


def window_of(context: dg.AssetCheckExecutionContext) -> str:
    """Return the one window this run is for; Dagster could not record a result per window of a range."""
    if not context.has_partition_key or context.has_partition_key_range:
        raise dg.Failure("this check judges one window → run it for one partition at a time")
    return str(context.partition_key)


def check_result(name: str, outcome: "CheckOutcome") -> dg.AssetCheckResult:
    """Return Dagster's form of an outcome. What could not be looked at is a warning, never green."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=outcome.passed,
        severity=dg.AssetCheckSeverity.WARN if outcome.is_warning else dg.AssetCheckSeverity.ERROR,
        description=outcome.description,
        metadata=without_none({**outcome.metadata, "findings": table_value(outcome.rows[:SHOWN_ROWS])}),
    )


def build_window_checks(
    *,
    source: str,
    table_id: str,
    asset: dg.AssetKey,
    partitions: dg.PartitionsDefinition,
    checks: Mapping[str, str],
    conditions: Mapping[str, dg.AutomationCondition[Any]],
) -> dg.AssetChecksDefinition:
    """Return one step that runs the ``checks`` selected for a window of ``asset``."""
    specs = [
        window_check_spec(name, asset, partitions, text, condition=conditions.get(name))
        for name, text in checks.items()
    ]

    @dg.multi_asset_check(name="__".join([*asset.path, "checks"]), specs=specs, can_subset=True)
    def check_window(
        context: dg.AssetCheckExecutionContext, platform: PlatformResource
    ) -> Iterator[dg.AssetCheckResult]:
        from cdc_platform import window_checks

        window = window_of(context)
        for name in sorted(key.name for key in context.selected_asset_check_keys):
            with dagster_outcome(context):
                outcome = getattr(window_checks, name)(platform.open(), source, table_id, window)
            yield check_result(name, outcome)

    return check_window
