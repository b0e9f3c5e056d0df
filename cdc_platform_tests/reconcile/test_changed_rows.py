"""The first look at changed keys: it calls no key equal that is not, and looks no further than it may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget, BudgetSpent, Spending
from cdc_platform.reconcile.changed_rows import FirstLook, look_at_changed
from cdc_platform.reconcile.cut_sides import make_sides
from cdc_platform.reconcile.digest import new_salt
from cdc_platform.reconcile.drill import no_suspects
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform_tests.reconcile.pairs import (
    Pair,
    Row,
    RowsSnapshot,
    as_base,
    memory_plan,
    random_pair,
    typed_table,
)

KINDS = (pa.int64(), pa.string())


@dataclass(frozen=True)
class StreamingSnapshot(RowsSnapshot):
    """A source in memory whose streams end with ``error``, if there is one, after what they give."""

    error: Exception | None = None
    asked: list[int] = field(default_factory=list)

    def rows_among(self, keys: pa.Table, plan: ReadPlan) -> Iterator[pa.RecordBatch]:
        self.asked.append(keys.num_rows)
        yield from self.rows_of(keys, plan).drop_columns(["_cdc_key_number"]).to_batches(max_chunksize=3)
        if self.error is not None:
            raise self.error


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        opened.execute("SET preserve_insertion_order = false")
        yield opened


def look(
    connection: duckdb.DuckDBPyConnection,
    pair: Pair,
    keys: Sequence[Row],
    *,
    awaited: Sequence[Row] = (),
    budget: Budget | None = None,
    error: Exception | None = None,
) -> tuple[FirstLook, set[Row], list[int]]:
    """Return what the look at ``keys`` says, the suspects, and how many keys the source was asked for."""
    source, base = (typed_table(pair.names, pair.types, rows) for rows in (pair.source, pair.base))
    connection.register("base_table", as_base(base))
    plan = memory_plan(pair.names, pair.types, pair.key, ranged=False)
    view = BaseView("base_table", as_base(base).schema, 42)
    sides = make_sides(connection, plan, view, new_salt(), bounds=(), rows_per_segment=1)
    names, kinds = [f"k{place}" for place in range(pair.key)], pair.types[: pair.key]
    for table, rows in (("changed", keys), ("changed_keys", awaited)):
        connection.register("given", typed_table(names, kinds, rows))
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {table} AS SELECT 0 AS segment, * FROM given ORDER BY ALL"
        )
    no_suspects(connection, sides)
    snapshot = StreamingSnapshot(source, error=error)
    spending = Spending(budget or Budget())
    found = look_at_changed(connection, snapshot, sides, lambda: "base_table", spending)
    suspects = connection.execute(f"SELECT {', '.join(names)} FROM suspects").fetchall()
    assert len(suspects) == len(set(suspects))
    return found, set(suspects), snapshot.asked


def of_numbers(source: Sequence[tuple[int, str]], base: Sequence[tuple[int, str]]) -> Pair:
    return Pair(("id", "v"), KINDS, 1, tuple(source), tuple(base))


@pytest.mark.parametrize("number", range(60))
def test_the_suspects_are_the_keys_that_differ_by_an_oracle_of_plain_python(
    connection: duckdb.DuckDBPyConnection, number: int
) -> None:
    random = Random(number)
    pair = random_pair(random)
    rows = [row for row in (*pair.source, *pair.base) if None not in row[: pair.key]]
    keys = sorted({row[: pair.key] for row in rows if random.random() < 0.9}, key=repr)

    found, suspects, _ = look(connection, pair, keys)

    differing = pair.differing_keys() & set(keys)
    equal = found.equal.get(0)
    assert differing == suspects
    assert len(keys) - len(differing) == (equal.keys if equal else 0)


def test_a_key_that_neither_side_has_is_equal_and_none_of_their_rows(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    found, suspects, _ = look(connection, of_numbers([(1, "a")], [(1, "a")]), [(1,), (2,)])

    counts = found.equal[0]
    assert (2, 1, 1, 1) == (counts.keys, counts.equal, counts.in_base, counts.in_source)
    assert set() == suspects


def test_two_equal_rows_of_a_key_on_both_sides_are_suspect(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [(1, "a"), (1, "a"), (2, "b")]

    found, suspects, _ = look(connection, of_numbers(rows, rows), [(1,), (2,)])

    assert ({(1,)}, 1) == (suspects, found.equal[0].keys)


def test_equal_keys_of_files_on_their_way_are_suspect(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [(1, "a"), (2, "b")]

    _, suspects, _ = look(connection, of_numbers(rows, rows), [(1,), (2,)], awaited=[(2,), (2,), (7,)])

    assert {(2,)} == suspects


def test_a_stream_that_breaks_off_leaves_all_its_keys_to_the_look_up(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    rows = [(1, "a")]

    found, suspects, _ = look(
        connection, of_numbers(rows, rows), [(1,), (2,)], error=SourceUnavailable("refused", mend="")
    )

    assert ({(1,), (2,)}, {}, "") == (suspects, found.equal, found.left_over)


def test_any_other_error_of_a_stream_ends_the_look(connection: duckdb.DuckDBPyConnection) -> None:
    with pytest.raises(LookupError, match="unforeseen"):
        look(connection, of_numbers([], []), [(1,)], error=LookupError("unforeseen"))


def test_keys_a_budget_of_rows_does_not_suffice_for_are_neither_equal_nor_suspect(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    rows = [(number, "a") for number in range(10)]

    found, suspects, asked = look(
        connection, of_numbers(rows, rows), [(number,) for number in range(12)], budget=Budget(max_rows=4)
    )

    assert ({0: 8}, 4, set(), [4]) == (found.keys_left, found.equal[0].keys, suspects, asked)
    assert "the budget of 4 source rows was spent: 8 of 12 changed keys were not looked up" == found.left_over


def test_keys_of_a_stream_the_time_ran_out_in_are_left_over(connection: duckdb.DuckDBPyConnection) -> None:
    rows = [(number, "a") for number in range(10)]

    found, suspects, _ = look(
        connection, of_numbers(rows, rows), [(1,), (2,), (77,)], error=BudgetSpent("the time was spent")
    )

    assert ({0: 3}, {}, set()) == (found.keys_left, found.equal, suspects)


def test_keys_are_asked_for_in_batches_that_begin_small(connection: duckdb.DuckDBPyConnection) -> None:
    rows: list[Any] = [(number, "a") for number in range(3000)]

    found, _, asked = look(connection, of_numbers(rows, rows), [(number,) for number, _ in rows])

    assert (1000, 3000, 3000) == (asked[0], sum(asked), found.equal[0].equal)
