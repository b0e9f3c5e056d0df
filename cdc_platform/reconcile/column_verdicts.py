"""The verdict of each column of a comparison: what is known of its values in the rows that both sides have.

A row that one side lacks is a fault of the row, not of a column. A column is MATCH only when nothing about
the rows it was compared in is left open.
"""

from __future__ import annotations

from enum import StrEnum

from cdc_platform.reconcile.verdict import Comparison, Verdict, combine


class ColumnVerdict(StrEnum):
    """What a comparison says of one column; ``EXCLUDED``: it was left out on purpose."""

    MATCH = "MATCH"
    DIFFERENT = "DIFFERENT"
    IN_FLIGHT = "IN_FLIGHT"
    UNVERIFIED = "UNVERIFIED"
    EXCLUDED = "EXCLUDED"
    ERROR = "ERROR"


_GRAVEST_FIRST = (
    ColumnVerdict.DIFFERENT,
    ColumnVerdict.ERROR,
    ColumnVerdict.UNVERIFIED,
    ColumnVerdict.IN_FLIGHT,
    ColumnVerdict.MATCH,
    ColumnVerdict.EXCLUDED,
)


def column_verdicts(comparison: Comparison) -> dict[str, ColumnVerdict]:
    """Return the verdict of every column the comparison names."""
    differ = {*comparison.guilty, *(one.column for one in comparison.column_differences)}
    others = ColumnVerdict(_besides_differences(comparison).value)
    compared = {
        column: ColumnVerdict.DIFFERENT if column in differ else others for column in comparison.columns
    }
    left = {
        one.column: ColumnVerdict.EXCLUDED if one.gap is None else ColumnVerdict.UNVERIFIED
        for one in comparison.excluded
    }
    return {**compared, **left}


def columns_by_verdict(comparison: Comparison) -> dict[str, list[str]]:
    """Return the columns of each verdict that some column has, the gravest verdict first."""
    found = column_verdicts(comparison)
    return {
        verdict.value: columns
        for verdict in _GRAVEST_FIRST
        if (columns := [column for column, its in found.items() if its is verdict])
    }


def _besides_differences(comparison: Comparison) -> Verdict:
    """Return what the comparison is besides its proven differences, and the columns it could not compare."""
    if comparison.verdict in (Verdict.MATCH, Verdict.ERROR):
        return comparison.verdict
    tally = comparison.tally
    rows = Verdict.UNVERIFIED if tally.unverified else Verdict.MATCH
    flying = Verdict.IN_FLIGHT if tally.in_flight else Verdict.MATCH
    return combine([rows, flying, *comparison.points])
