"""Reconciliation assets: for a window, raw against base and source against base, with the verdict as checks.

The three checks come from the asset's own step, so that a verdict and the report it stands in are one event:

* ``raw_matches_base`` and ``source_matches_base`` are claims. Green means proven. In flight and unverified
  are a warning with the reason, a difference or a failed comparison is an error.
* ``verdict_allows_use`` gates what is built on base: it fails, and stops the run's later steps, when the
  window is known to differ or could not be compared because of an error; it lets the rest pass.
* ``main_shows_what_was_merged``, of tables with ``publish: on_match``, says how far main was moved and why
  not further.
* ``every_row_verified_recently``, of tables with ``verify_within_days``, is about the table and not the
  window (:mod:`cdc_platform.assets.verification`); a window's step evaluates it as well.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.checks import window_check_spec
from cdc_platform.assets.conditions import when_dependency_moved
from cdc_platform.assets.keys import base_key, owners_of, reconciliation_key, source_pool, tags_of
from cdc_platform.assets.metadata import (
    SHOWN_ROWS,
    comparison_metadata,
    reconciliation_metadata,
    table_value,
    without_none,
)
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.assets.verification import verified_result, verified_spec
from cdc_platform.config.model import Publish, SourceConfig, TableConfig
from cdc_platform.reconcile.verdict import Comparison, Reconciliation, Verdict
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.publication import Publication

CLAIMS = {
    "raw_matches_base": "Every key changed in the window is in base as the raw files say.",
    "source_matches_base": "Every key changed in the window is in base as the source database says now.",
}
GATE = "verdict_allows_use"
#: Only of tables whose main waits for verdicts.
PUBLISHED = "main_shows_what_was_merged"
_GATE = "No comparison of the window found a difference or failed; open questions do not count."
_PUBLISHED = "Readers of main see everything that was merged."


def claim_result(comparison: Comparison, name: str) -> dg.AssetCheckResult:
    """Return the check result of one comparison: passed only on MATCH, an error only when it is one."""
    return dg.AssetCheckResult(
        check_name=name,
        passed=comparison.verdict is Verdict.MATCH,
        severity=dg.AssetCheckSeverity.ERROR if comparison.verdict.is_refused else dg.AssetCheckSeverity.WARN,
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
        passed=not verdict.is_refused,
        description=reconciliation.sentence,
        metadata={"verdict": verdict.value},
    )


def published_result(publication: "Publication") -> dg.AssetCheckResult:
    """Return whether main shows all that was merged; waiting is a warning, a difference an error."""
    return dg.AssetCheckResult(
        check_name=PUBLISHED,
        passed=not publication.pending,
        severity=dg.AssetCheckSeverity.ERROR if publication.is_refused else dg.AssetCheckSeverity.WARN,
        description=publication.sentence,
        metadata=publication_metadata(publication),
    )


def publication_metadata(publication: "Publication") -> dict[str, Any]:
    """Return which snapshot readers of main see, what is pending, and why."""
    held = [{"window": one.window, "verdict": one.verdict, "reason": one.reason} for one in publication.held]
    return without_none(
        {
            "published_snapshot": str(publication.published) if publication.published is not None else None,
            "newest_snapshot": str(publication.newest) if publication.newest is not None else None,
            "snapshots_published": publication.moved,
            "snapshots_pending": publication.pending,
            "held_by": table_value(held[:SHOWN_ROWS]),
        }
    )


def build_reconciliation_asset(
    *, source: str, config: SourceConfig, table: TableConfig, partitions: dg.PartitionsDefinition
) -> dg.AssetsDefinition:
    """Return ``reconciliation/<source>/<table>``, run again whenever base moved."""
    key = reconciliation_key(source, table.id)
    specs = [window_check_spec(name, key, partitions, text) for name, text in CLAIMS.items()]
    specs.append(window_check_spec(GATE, key, partitions, _GATE, blocking=True))
    waits, dated = table.publish is Publish.ON_MATCH, table.verify_within_days is not None
    specs += [window_check_spec(PUBLISHED, key, partitions, _PUBLISHED)] if waits else []
    specs += [verified_spec(key)] if dated else []

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
        from cdc_platform.pipeline import publish, reconcile

        with dagster_outcome(context):
            opened = platform.open()
            outcome = reconcile(opened, source, table.id, context.partition_key)
            publication = publish(opened, source, table.id) if waits else None
            verified = [verified_result(opened, source, table.id)] if dated else []
        metadata, checks = reconciliation_metadata(outcome), list(check_results(outcome))
        if publication is not None:
            metadata |= publication_metadata(publication)
            checks.append(published_result(publication))
        return dg.MaterializeResult(metadata=metadata, check_results=[*checks, *verified])

    return reconciliation
