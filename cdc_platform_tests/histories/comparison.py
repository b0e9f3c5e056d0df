"""Rows that were read against those that are expected."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cdc_platform_tests.histories.case import Case
from cdc_platform_tests.histories.oracle import Expected, Shown


class Mismatch(AssertionError):
    """The table is not what it must be."""


def filled(case: Case, row: dict[str, Any]) -> dict[str, Any]:
    """Return a row with every column the table may have."""
    return {column.name: row.get(column.name) for column in case.shape.columns}


def compare(
    case: Case, wanted: Expected, rows: list[dict[str, Any]], *, in_doubt: Collection[int] = ()
) -> None:
    """Raise Mismatch unless ``rows`` are what is expected, control columns included.

    Keys ``in_doubt`` may have no row; one they have must be right all the same.
    """
    numbers = {tuple(map(str, case.shape.key_values(key))): key for key in range(7)}
    found: dict[int, tuple[Any, ...]] = {}
    for row in rows:
        key = numbers[tuple(str(row[name]) for name in case.shape.key_names)]
        if key in found:
            raise Mismatch(f"key {key} has two rows: {rows}")
        place = row["_cdc_generation"], int(row["_cdc_position"])
        found[key] = (row["_cdc_op"], place, filled(case, row))
    must = {key: _plain(case, shown) for key, shown in wanted.rows.items()}
    may = {key: [_plain(case, each) for each in shown] for key, shown in wanted.optional.items()}
    left = {key: row for key, row in found.items() if row not in may.get(key, [])}
    must = {key: row for key, row in must.items() if key in left or key not in in_doubt}
    if left != must:
        raise Mismatch(_difference(must, left))


def _plain(case: Case, shown: Shown) -> tuple[Any, ...]:
    return shown.op, shown.place, filled(case, shown.row)


def _difference(must: dict[int, Any], found: dict[int, Any]) -> str:
    lines = [
        f"  key {key}: expected {must.get(key)}\n         found    {found.get(key)}"
        for key in sorted(must.keys() | found.keys())
        if must.get(key) != found.get(key)
    ]
    return "the table is not what was delivered:\n" + "\n".join(lines)
