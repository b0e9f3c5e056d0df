"""What a full comparison tells while it reads: of each segment, or of all that were read at once."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform_tests.reconcile.pairs import (
    Row,
    RowsReader,
    as_base,
    memory_plan,
    nothing_on_its_way,
    typed_table,
)

NAMES, TYPES = ("id", "v"), (pa.int64(), pa.string())
ROWS: list[Row] = [(number, "text") for number in range(30)]


def told(base: list[Row], *, ranged: bool) -> list[str]:
    """Compare ROWS with ``base`` in three segments of ten rows and one of rows without a key."""
    lines: list[str] = []
    plan, held = memory_plan(NAMES, TYPES, 1, ranged=ranged), as_base(typed_table(NAMES, TYPES, base))
    budget = Budget(max_rows=10**9) if ranged else Budget()
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.register("base_table", held)
        view, observe = BaseView("base_table", held.schema, 42), nothing_on_its_way(connection)
        reader = RowsReader(typed_table(NAMES, TYPES, ROWS), plan)
        options = FullOptions(rows_per_segment=10, budget=budget, tell=lines.append)
        FullRun(view, ("id",), connection, reader, plan, observe, None, options, "run").compare()
    return [line for line in lines if not line.startswith("drilling")]


def test_segments_read_at_once_are_told_in_one_line() -> None:
    assert ["4 of 4 segments, 30 rows: all equal"] == told(ROWS, ranged=False)


def test_of_segments_read_at_once_those_that_differ_are_named() -> None:
    base = [(number, "other" if number in (4, 25) else text) for number, text in ROWS]

    assert ["4 of 4 segments, 30 rows: 2 different (below 10, from 20)"] == told(base, ranged=False)


def test_of_many_segments_that_differ_the_first_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_platform.reconcile.scan.MOST_NAMED", 1)
    base = [(number, "other") for number, _ in ROWS]

    assert ["4 of 4 segments, 30 rows: 3 different (below 10, …)"] == told(base, ranged=False)


def test_segments_read_one_by_one_are_told_as_they_come() -> None:
    base = [(number, "other" if number == 15 else text) for number, text in ROWS]

    assert [
        "1 of 4 segments, 10 rows: below 10 equal",
        "2 of 4 segments, 20 rows: from 10 to below 20 different",
        "3 of 4 segments, 30 rows: from 20 equal",
        "4 of 4 segments, 30 rows: rows without a key equal",
    ] == told(base, ranged=True)
