"""The HTML report of a reconciliation: one self-contained page a person reads from top to bottom.

No script and nothing from outside; everything that comes from data is escaped.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from cdc_platform.raw.objects import ObjectStore
from cdc_platform.reconcile.carried_rows import KEPT_ROWS, SOURCE_ROWS, CarriedRows
from cdc_platform.reconcile.column_verdicts import columns_by_verdict
from cdc_platform.reconcile.faults import faults_in_words
from cdc_platform.reconcile.keys_and_versions import CLAIM as KEYS_CLAIM
from cdc_platform.reconcile.pages import environment
from cdc_platform.reconcile.recent_runs import OF_SOURCE
from cdc_platform.reconcile.report_lanes import against_source, sample_of
from cdc_platform.reconcile.report_segments import segment_map
from cdc_platform.reconcile.scopes import EXPORT, FULL, INCREMENTAL, KEYS, WHOLE
from cdc_platform.reconcile.verdict import (
    RAW_MATCHES_BASE,
    SOURCE_MATCHES_BASE,
    Comparison,
    Discrepancy,
    Reconciliation,
    Verdict,
)
from cdc_platform.words import counted

_TITLES = {RAW_MATCHES_BASE: "Raw files and base", SOURCE_MATCHES_BASE: "Source and base"}
_CLAIMS = {
    RAW_MATCHES_BASE: "Base holds what the last raw event of every key changed in the window says.",
    SOURCE_MATCHES_BASE: "Base holds the row the source has now for every key changed in the window.",
}
_WHOLE_CLAIMS = {
    FULL: "Base holds every row the source has, as the source has it, and no other.",
    INCREMENTAL: (
        "Base holds every row the source has, as the source has it, and no other: of rows this run did not "
        "read, as far as capture tells what changed since earlier runs read them."
    ),
    EXPORT: "Base holds every row the export has, as the export has it, and no other.",
    KEYS: KEYS_CLAIM,
}
_MERGE_OR_HAND = "a merge went wrong, or someone wrote into base"
_BARS = ("matched", "superseded", "different", "in_flight", "unverified")


def report_key(window: str, run_id: str) -> str:
    """Return the object key of a run's report."""
    return f"reports/{window.replace(':', '_')}/{run_id}.html"


def write_report(
    objects: ObjectStore, reconciliation: Reconciliation, history: Sequence[Mapping[str, Any]]
) -> str:
    """Store the report, also as the window's ``latest.html``, and return its path or URL."""
    page = render_report(reconciliation, history).encode()
    key = report_key(reconciliation.window, reconciliation.run_id)
    objects.put(key, page)
    objects.put(report_key(reconciliation.window, "latest"), page)
    return objects.url(key)


def render_report(reconciliation: Reconciliation, history: Sequence[Mapping[str, Any]] = ()) -> str:
    """Return the page. ``history`` are earlier runs of the window, newest first."""
    sources = against_source(reconciliation.comparisons)
    return (
        environment()
        .get_template("report.html.j2")
        .render(
            run=reconciliation,
            headline=headline(reconciliation),
            fault=fault(reconciliation),
            is_whole=reconciliation.window in WHOLE,
            against=reconciliation.certificate.get("against"),
            carried=next((one.carried for one in reconciliation.comparisons if one.carried), None),
            segments=segment_map(reconciliation.certificate),
            comparisons=[
                _shown(comparison, sources, reconciliation) for comparison in reconciliation.comparisons
            ],
            certificate=json.dumps(reconciliation.certificate, indent=2, sort_keys=True),
            history=[
                {
                    "run_id": reconciliation.run_id,
                    "started_at": reconciliation.started_at,
                    "verdict": reconciliation.verdict.value,
                    "keys_compared": reconciliation.keys_compared,
                    "discrepancies": reconciliation.discrepancies_total,
                    "seconds": reconciliation.seconds,
                },
                *history,
            ],
        )
    )


def headline(reconciliation: Reconciliation) -> str:
    """Return the verdict as a sentence a person understands without knowing the terms."""
    comparisons, keys = reconciliation.comparisons, reconciliation.keys_compared
    different = max((comparison.tally.different for comparison in comparisons), default=0)
    scope = f"{counted(keys, 'key')} changed in this window"
    if reconciliation.window in WHOLE:
        scope = f"{counted(keys, 'row')} of the table"
    match reconciliation.verdict:
        case Verdict.MATCH if reconciliation.window in WHOLE:
            return _whole_match(reconciliation, scope)
        case Verdict.MATCH if keys == 0:
            return "Nothing was changed in this window, so there was nothing that could differ."
        case Verdict.MATCH:
            proven = f"Base is proven equal to both the raw files and the source for the {scope}."
            later = sum(comparison.tally.superseded for comparison in comparisons)
            return proven if not later else f"{proven} Of them {later:,} changed again in a later window."
        case Verdict.DIFFERENT:
            where = " and ".join(
                "the raw files" if c.name == RAW_MATCHES_BASE else _other_side(reconciliation)
                for c in comparisons
                if c.verdict is Verdict.DIFFERENT
            )
            verb = "differs" if different == 1 else "differ"
            open_keys = max((comparison.tally.unverified for comparison in comparisons), default=0)
            least = "at least " if open_keys and reconciliation.window in WHOLE else ""
            return f"Base is wrong: {least}{different:,} of the {scope} {verb} from {where}."
        case Verdict.IN_FLIGHT:
            return f"No difference is proven for the {scope}, but changes are still on their way: look again."
        case Verdict.UNVERIFIED:
            return f"No difference is proven for the {scope}, but not everything could be compared."
        case Verdict.ERROR:
            return "A comparison failed, so nothing is proven about what it covers."


def _other_side(reconciliation: Reconciliation) -> str:
    of_source = reconciliation.certificate.get("against", OF_SOURCE) == OF_SOURCE
    return "the source" if of_source else "the export"


def _whole_match(reconciliation: Reconciliation, scope: str) -> str:
    (comparison,) = reconciliation.comparisons
    if not comparison.tally.compared:
        return f"Neither base nor {_other_side(reconciliation)} has a row."
    left_out = len(comparison.excluded)
    columns = f"{len(comparison.columns)} of {len(comparison.columns) + left_out} columns"
    where = f"in {columns}" if left_out else "in every column"
    if comparison.carried is not None:
        return _partly_read(comparison, comparison.carried, scope, where)
    kept = comparison.rows.get(KEPT_ROWS, 0)
    besides = f" Besides, base keeps {counted(kept, 'row')} that the source deleted, by declaration."
    proven = f"Base is proven equal to {_other_side(reconciliation)} for the {scope}, {where}."
    return proven + (besides if kept else "")


def _partly_read(comparison: Comparison, carried: CarriedRows, scope: str, where: str) -> str:
    """Say of a table that matches what this run read, and what earlier ones did."""
    read = comparison.rows.get(SOURCE_ROWS, 0)
    return (
        f"Of the {scope}, this run read {read:,} from the source{f', equal {where}' if read else ''}. It did "
        f"not read the other {carried.rows:,}: earlier runs found them equal {where}, {carried.when}."
    )


def fault(reconciliation: Reconciliation) -> str | None:
    """Say where the fault lies, as far as three witnesses tell; None when no difference is proven."""
    verdicts = {comparison.name: comparison.verdict for comparison in reconciliation.comparisons}
    match verdicts.get(RAW_MATCHES_BASE), verdicts.get(SOURCE_MATCHES_BASE):
        case Verdict.DIFFERENT, Verdict.DIFFERENT:
            return f"Base differs from both other witnesses: {_MERGE_OR_HAND}."
        case Verdict.MATCH, Verdict.DIFFERENT:
            return (
                "Base holds what the raw files say, and the source says otherwise: capture lost a change, or "
                "was never asked to carry it."
            )
        case Verdict.DIFFERENT, Verdict.MATCH:
            return (
                "Base holds what the source says, and the raw files say otherwise: they were changed, or are "
                "not the ones that were merged."
            )
        case Verdict.DIFFERENT, _:
            return f"Base differs from the raw files it was made of: {_MERGE_OR_HAND}."
    return None


def _shown(comparison: Comparison, sources: Mapping[str, Discrepancy], run: Reconciliation) -> dict[str, Any]:
    tally = asdict(comparison.tally)
    return {
        "it": comparison,
        "title": _TITLES.get(comparison.name, comparison.name),
        "claim": _WHOLE_CLAIMS.get(run.window) or _CLAIMS.get(comparison.name, ""),
        "bars": [
            (name, tally[name], 100 * tally[name] / max(1, comparison.tally.compared))
            for name in _BARS
            if tally[name]
        ],
        "rules": _by_rule(comparison),
        "columns": columns_by_verdict(comparison),
        "discrepancies": [sample_of(found, sources) for found in comparison.discrepancies],
        "faults": faults_in_words(comparison.faults, comparison.tally.different),
    }


def _by_rule(comparison: Comparison) -> dict[str, list[str]]:
    rules: dict[str, list[str]] = {}
    for column, rule in comparison.rules.items():
        rules.setdefault(rule, []).append(column)
    return rules
