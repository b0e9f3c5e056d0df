"""Pairs of key and digest kept while the source is read: what differs is found without a second read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.reconcile import drill, scan
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.pairs import (
    Row,
    RowsReader,
    RowsSnapshot,
    as_base,
    memory_plan,
    nothing_on_its_way,
    typed_table,
)

NAMES, TYPES = ("id", "v", "w"), (pa.int64(), pa.string(), pa.int64())
ROWS: list[Row] = [(number, f"text {number}", number % 3) for number in range(200)]
#: One row in each of the twenty segments has another text.
SCATTERED: list[Row] = [(key, "other" if key % 10 == 5 else text, rest) for key, text, rest in ROWS]


@dataclass(frozen=True)
class CountedReader(RowsReader):
    """A source that remembers which ranges were read of it."""

    asked: list[tuple[Any, Any]] = field(default_factory=list)

    @contextmanager
    def snapshot(self) -> Iterator[RowsSnapshot]:
        yield CountedSnapshot(self.rows, asked=self.asked)


@dataclass(frozen=True)
class CountedSnapshot(RowsSnapshot):
    asked: list[tuple[Any, Any]] = field(default_factory=list)

    def rows_between(self, low: Any, high: Any, plan: Any) -> Iterator[pa.RecordBatch]:
        self.asked.append((low, high))
        yield from RowsSnapshot.rows_between(self, low, high, plan)


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        yield opened


def compared(
    connection: duckdb.DuckDBPyConnection, base: list[Row], *, ranged: bool
) -> tuple[FullComparison, int]:
    """Compare ROWS with ``base`` in segments of ten rows; return how many ranges of the source were read."""
    plan, held = memory_plan(NAMES, TYPES, 1, ranged=ranged), as_base(typed_table(NAMES, TYPES, base))
    connection.register("base_table", held)
    reader = CountedReader(typed_table(NAMES, TYPES, ROWS), plan)
    options = FullOptions(rows_per_segment=10, budget=Budget(max_rows=10**9) if ranged else Budget())
    observe = nothing_on_its_way(connection)
    view = BaseView("base_table", held.schema, 42)
    run = FullRun(view, ("id",), connection, reader, plan, observe, None, options, "run")
    return run.compare(), len(reader.asked)


@pytest.mark.parametrize(("ranged", "reads"), [(False, 1), (True, 20)])
def test_differences_all_over_the_table_are_each_found_though_the_source_is_read_once(
    connection: duckdb.DuckDBPyConnection, ranged: bool, reads: int
) -> None:
    found, asked = compared(connection, SCATTERED, ranged=ranged)

    assert (20, 180, 0) == _counts(found)
    assert (False, ("v",), reads) == (found.is_systemic, found.guilty_columns, asked)


@pytest.mark.parametrize(("ranged", "reads"), [(False, 2), (True, 28)])
def test_where_pairs_are_not_kept_a_sample_of_many_segments_is_read_again(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, ranged: bool, reads: int
) -> None:
    monkeypatch.setattr(scan, "MOST_KEPT", 0)

    found, asked = compared(connection, SCATTERED, ranged=ranged)

    assert (8, 72, 120) == _counts(found)
    assert (True, ("v",), reads) == (found.is_systemic, found.guilty_columns, asked)


def test_more_differing_keys_than_may_be_looked_up_all_over_the_table_are_systemic(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_SCATTERED", 19)

    found, asked = compared(connection, SCATTERED, ranged=False)

    assert (8, 72, 120) == _counts(found)
    assert (True, 1) == (found.is_systemic, asked)


def test_of_a_table_read_by_ranges_no_more_pairs_are_kept_than_allowed(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "MOST_KEPT", 25)
    base = [(key, "other" if key < 50 else text, rest) for key, text, rest in ROWS]

    found, asked = compared(connection, base, ranged=True)

    # two segments are kept, three of those that differ are read again
    assert ((50, 150, 0), 23) == (_counts(found), asked)


@pytest.mark.parametrize("base", [[], ROWS[:20], [(key, "other", rest) for key, _, rest in ROWS[40:60]]])
def test_of_a_source_far_larger_than_base_no_more_pairs_are_kept_than_allowed(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch, base: list[Row]
) -> None:
    monkeypatch.setattr(scan, "MOST_KEPT", 25)
    alike = len(set(base) & set(ROWS))

    found, asked = compared(connection, base, ranged=False)

    assert (Verdict.DIFFERENT, (200 - alike, alike, 0), 2) == (found.verdict, _counts(found), asked)
    assert [(200 - alike,)] == connection.execute("SELECT count(*) FROM differing_keys").fetchall()
    assert 0 == len(connection.execute("FROM duckdb_tables() WHERE table_name = 'source_kept'").fetchall())


@pytest.mark.parametrize("ranged", [False, True])
def test_a_row_that_one_side_has_twice_is_found_by_its_kept_pairs(
    connection: duckdb.DuckDBPyConnection, ranged: bool
) -> None:
    found, _ = compared(connection, [*ROWS, ROWS[17]], ranged=ranged)

    assert Verdict.DIFFERENT is found.verdict
    assert [17] == [one.key["id"] for one in found.comparison.discrepancies]


def test_what_an_earlier_comparison_kept_is_forgotten(connection: duckdb.DuckDBPyConnection) -> None:
    compared(connection, SCATTERED, ranged=True)

    found, _ = compared(connection, [(0, "other", 0), *ROWS[1:]], ranged=True)

    assert [0] == [one.key["id"] for one in found.comparison.discrepancies]
    assert "1 of 1 suspicious keys differ" == found.segments[0].reason


def _counts(found: FullComparison) -> tuple[int, int, int]:
    tally = found.comparison.tally
    return tally.different, tally.matched, tally.unverified
