"""Reconciliation assets: for a window, raw against base and source against base, with the verdict as checks.

The three checks come from the asset's own step, so that a verdict and the report it stands in are one event:

* ``raw_matches_base`` and ``source_matches_base`` are claims. Green means proven. In flight and unverified
  are a warning with the reason, a difference or a failed comparison is an error.
* ``verdict_allows_use`` gates what is built on base: it fails, and stops the run's later steps, when the
  window is known to differ or could not be compared because of an error; it lets the rest pass.
"""

from collections.abc import Iterator

import dagster as dg

from cdc_platform.assets.checks import window_check_spec
from cdc_platform.assets.conditions import when_dependency_moved
from cdc_platform.assets.keys import base_key, owners_of, reconciliation_key, source_pool, tags_of
from cdc_platform.assets.metadata import comparison_metadata, reconciliation_metadata
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.config.model import SourceConfig, TableConfig
from cdc_platform.reconcile.verdict import Comparison, Reconciliation, Verdict
from cdc_platform.resources import PlatformResource

CLAIMS = {
    "raw_matches_base": "Every key changed in the window is in base as the raw files say.",
    "source_matches_base": "Every key changed in the window is in base as the source database says now.",
}
GATE = "verdict_allows_use"
_REFUSED = (Verdict.DIFFERENT, Verdict.ERROR)


def claim_result(comparison: Comparison, name: str) -> dg.AssetCheckResult:
    """Return the check result of one comparison: passed only on MATCH, an error only when it is one."""
    refused = comparison.verdict in _REFUSED
    return dg.AssetCheckResult(
        check_name=name,
        passed=comparison.verdict is Verdict.MATCH,
        severity=dg.AssetCheckSeverity.ERROR if refused else dg.AssetCheckSeverity.WARN,
        description=f"{comparison.verdict.value}: {comparison.reason}",
        metadata=comparison_metadata(comparison),
    )


def check_results(reconciliation: Reconciliation) -> Iterator[dg.AssetCheckResult]:
    """Yield a result for each claim that was compared or could not be, then the gate."""
    for name in CLAIMS:
        yield claim_result(reconciliation.comparison(name), name)
    verdict = reconciliation.verdict
    yield dg.AssetCheckResult(
        check_name=GATE,
        passed=verdict not in _REFUSED,
        description=reconciliation.sentence,
        metadata={"verdict": verdict.value},
    )


def build_reconciliation_asset(
    *, source: str, config: SourceConfig, table: TableConfig, partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    """Return ``reconciliation/<source>/<table>``, run again whenever base moved."""
    key = reconciliation_key(source, table.id)
    specs = [window_check_spec(name, key, partitions, text) for name, text in CLAIMS.items()]
    gate = "No comparison of the window found a difference or failed; open questions do not count."
    specs.append(window_check_spec(GATE, key, partitions, gate, blocking=True))

    @dg.asset(
        key=key,
        deps=[base_key(source, table.id)],
        partitions_def=partitions,
        automation_condition=when_dependency_moved(),
        pool=source_pool(source),
        group_name=source,
        kinds={"duckdb", config.engine},
        owners=owners_of(config, table),
        tags=tags_of(source, table),
        check_specs=specs,
        description=f"Source, raw files and base table of {table.name} compared, window by window.",
    )
    def reconciliation(context: dg.AssetExecutionContext, platform: PlatformResource) -> dg.MaterializeResult:  # type: ignore[type-arg]  # dagster takes only the bare class beside check_specs
        from cdc_platform.pipeline import reconcile

        with dagster_outcome(context):
            outcome = reconcile(platform.open(), source, table.id, context.partition_key)
        return dg.MaterializeResult(
            metadata=reconciliation_metadata(outcome), check_results=list(check_results(outcome))
        )

    return reconciliation
