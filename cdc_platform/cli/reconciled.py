"""Verdicts on the screen: a table of them, and of each what it rests on and what it says nothing of."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from cdc_platform.cli.output import print_table, stdout

if TYPE_CHECKING:
    from cdc_platform.reconcile.verdict import Comparison, Reconciliation

_COLUMNS = ["table", "window", "claim", "verdict", "keys", "different", "in flight", "open"]
_SHOWN_DISCREPANCIES = 5
_SHOWN_EXCLUDED = 5


def print_reconciliations(results: Collection[Reconciliation]) -> None:
    """Print verdicts, the reason of each that is not MATCH, and what a verdict says nothing of."""
    from cdc_platform.reconcile.carried_rows import told
    from cdc_platform.reconcile.full_result import limits_of

    compared = [(result, comparison) for result in results for comparison in result.comparisons]
    rows = [
        (
            f"{result.source}/{result.table_id}",
            result.window,
            comparison.name,
            comparison.verdict,
            comparison.tally.compared,
            comparison.tally.different,
            comparison.tally.in_flight,
            comparison.tally.unverified,
        )
        for result, comparison in compared
    ]
    print_table("", _COLUMNS, rows)
    for result, comparison in compared:
        where = f"{result.source}/{result.table_id} {result.window}"
        if comparison.verdict.value != "MATCH":
            _print_reason(where, comparison)
        elif comparison.carried is not None:
            _print_line(where, comparison, told(comparison.rows, comparison.carried))
        _print_excluded(where, comparison)
        for text in limits_of(result.certificate):
            _print_line(where, comparison, f"not covered: {text}")


def _print_excluded(where: str, comparison: Comparison) -> None:
    """Name the columns a verdict says nothing of, MATCH or not; base's own control columns are no news."""
    left_out = [one for one in comparison.excluded if not one.column.startswith("_cdc_")]
    told = "; ".join(f"{one.column} ({one.reason})" for one in left_out[:_SHOWN_EXCLUDED])
    more = f"; and {len(left_out) - _SHOWN_EXCLUDED} more" if len(left_out) > _SHOWN_EXCLUDED else ""
    if told:
        _print_line(where, comparison, f"not compared: {told}{more}")
    for place in comparison.given_up[:_SHOWN_EXCLUDED]:
        _print_line(where, comparison, f"not compared, discarded from quarantine: {place}")
    if len(comparison.given_up) > _SHOWN_EXCLUDED:
        _print_line(where, comparison, f"not compared, discarded: {len(comparison.given_up)} in all")


def _print_line(where: str, comparison: Comparison, text: str) -> None:
    stdout().print(f"{where} {comparison.name}: {text}", highlight=False, markup=False)


def _print_reason(where: str, comparison: Comparison) -> None:
    from cdc_platform.reconcile.faults import faults_in_words

    _print_line(where, comparison, comparison.reason)
    for sentence in (faults_in_words(comparison.faults, comparison.tally.different), comparison.attribution):
        if sentence:
            stdout().print(f"  {sentence}", highlight=False, markup=False)
    for found in comparison.discrepancies[:_SHOWN_DISCREPANCIES]:
        key = ", ".join(f"{name}={value}" for name, value in found.key.items())
        named = (
            f"{name} ({found.classes[name].label})" if name in found.classes else name
            for name in found.columns
        )
        columns = f" in {', '.join(named)}" if found.columns else ""
        text = f"  {found.kind.value} {key}{columns} {found.reason}".rstrip()
        stdout().print(text, highlight=False, markup=False)
        if found.located is not None:
            stdout().print(f"    {found.located.sentence}", highlight=False, markup=False)
