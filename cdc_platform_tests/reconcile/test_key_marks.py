"""Keys of whole numbers: segments cut by what footers tell, and marks of the keys of each segment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.naming import sql_text
from cdc_platform.reconcile import cut_sides, full_run, key_statistics
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.cut_sides import make_sides
from cdc_platform.reconcile.digest import new_salt
from cdc_platform.reconcile.full_run import FullOptions, FullRun
from cdc_platform.reconcile.key_statistics import statistical_sample
from cdc_platform.reconcile.segments import Bound, Segments
from cdc_platform.reconcile.sides import Sides, base_digests
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.pairs import (
    RowsReader,
    as_base,
    memory_plan,
    nothing_on_its_way,
    typed_table,
)

NAMES, TYPES = ("id", "v"), (pa.int64(), pa.string())
LOWEST, HIGHEST = -(2**63), 2**63 - 1
PLAN = memory_plan(NAMES, TYPES, 1, ranged=False)
#: Four segments of eight keys each, and the first and the last without an end.
GRID: tuple[Bound, ...] = (("-8",), ("0",), ("8",))
Keys = Sequence[int | None]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        yield opened


def rows_of(keys: Keys) -> pa.Table:
    return typed_table(NAMES, TYPES, [(key, f"v{key}") for key in keys])


def marked(connection: duckdb.DuckDBPyConnection, keys: Keys, bounds: tuple[Bound, ...] = GRID) -> Sides:
    held = as_base(rows_of(keys))
    connection.register("base_table", held)
    view = BaseView("base_table", held.schema, 42)
    return make_sides(
        connection, PLAN, view, new_salt(), bounds=bounds, rows_per_segment=1, numbers_at_once=1000
    )


def segment_of(key: int) -> int:
    return sum(key >= int(bound) for (bound,) in GRID)


@settings(max_examples=150, deadline=None)
@given(
    keys=st.lists(
        st.one_of(st.none(), st.integers(-20, 20), st.sampled_from([LOWEST, LOWEST + 1, HIGHEST])),
        max_size=40,
    ),
    kept=st.booleans(),
)
def test_a_segment_is_marked_as_one_of_distinct_keys_only_where_no_two_of_its_keys_are_equal(
    connection: duckdb.DuckDBPyConnection, keys: list[int | None], kept: bool
) -> None:
    by_segment: dict[int, Counter[int]] = {}
    for key in keys:
        if key is not None:
            by_segment.setdefault(segment_of(key), Counter())[key] += 1
    alone = {number for number, found in by_segment.items() if found.most_common(1)[0][1] == 1}
    # keys a shift drops alike: a segment without an end is of several eights
    sure = {n for n in alone if max(Counter(key % 8 for key in by_segment[n]).values()) == 1}

    sides = marked(connection, keys)
    _, distinct = base_digests(connection, sides, "kept_pairs" if kept else None)

    assert sides.has_marks
    assert sure == distinct


def test_marks_are_made_only_where_they_fit_into_the_memory_numbers_may_take(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    wide: tuple[Bound, ...] = tuple((str(cell << 40),) for cell in range(3))

    assert not marked(connection, [1, 2], wide).has_marks
    assert not marked(connection, [1, 2], (("10",),)).has_marks


def footers(tmp_path: Path, keys: Keys, rows: int = 100, *, column: str = "id") -> BaseView:
    """Return base in one Parquet file with ``rows`` keys in a row group."""
    held, path = as_base(rows_of(keys)), str(tmp_path / "base.parquet")
    pq.write_table(held.rename_columns([column if n == "id" else n for n in held.schema.names]), path, rows)
    relation = f"(SELECT {column} AS id, * EXCLUDE ({column}) FROM read_parquet({sql_text(path)}))"
    return BaseView(relation, held.schema, 42, files=(path,))


def compared(
    connection: duckdb.DuckDBPyConnection, view: BaseView, keys: Keys, *, rows_per_segment: int = 100
) -> tuple[Verdict, list[int], int]:
    """Compare base with a source of the same rows; return verdict, differing keys and how many segments."""
    options = FullOptions(rows_per_segment=rows_per_segment)
    reader, observe = RowsReader(rows_of(keys), PLAN), nothing_on_its_way(connection)
    found = FullRun(view, ("id",), connection, reader, PLAN, observe, None, options, "run").compare()
    return found.verdict, sorted(one.key["id"] for one in found.comparison.discrepancies), len(found.segments)


ASCENDING = [key * 3 for key in range(5000)]


@pytest.mark.parametrize(
    "twice", [[], [0], [3 * 2500], [3 * 4999], [-900], [10**9], [6, 9, 3 * 1234, -900, HIGHEST]], ids=str
)
@pytest.mark.parametrize("most_kept", [0, 10**6])
def test_keys_of_several_rows_on_both_sides_are_each_found_wherever_they_lie(
    connection: duckdb.DuckDBPyConnection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    twice: list[int],
    most_kept: int,
) -> None:
    monkeypatch.setattr("cdc_platform.reconcile.scan.MOST_KEPT", most_kept)
    # keys the grid has no cell for are there once as well, and rows without a key
    once = [key for key in (*ASCENDING, -1000, 10**9 + 3) if key not in twice]
    keys: list[int | None] = [*once, *twice, *twice, None, None]
    view = footers(tmp_path, ASCENDING)
    held = as_base(rows_of(keys))
    connection.register("base_table", held)

    verdict, found, segments = compared(
        connection, BaseView("base_table", held.schema, 42, files=view.files), keys
    )

    assert segments > 32
    assert (Verdict.DIFFERENT if twice else Verdict.MATCH, sorted(twice)) == (verdict, found)


def test_where_every_segment_is_marked_distinct_no_key_is_read_again(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unsure: list[set[int]] = []
    sound = full_run.add_doubled_keys

    def noted(connection: duckdb.DuckDBPyConnection, sides: Sides, numbers: set[int], at_once: int) -> None:
        unsure.append(numbers)
        sound(connection, sides, numbers, at_once)

    monkeypatch.setattr(full_run, "add_doubled_keys", noted)
    monkeypatch.setattr(cut_sides, "read_numbers", None)

    assert Verdict.MATCH is compared(connection, footers(tmp_path, ASCENDING), ASCENDING)[0]
    assert [set()] == unsure


@pytest.mark.parametrize(
    "keys",
    [
        range(5000),
        [key * 7 - 500 for key in range(5000)],
        [HIGHEST - 5000 + key for key in range(5000)],
        [LOWEST + key for key in range(5000)],
        [key * (2**63 // 5000) for key in range(-2500, 2500)],
    ],
    ids=lambda keys: f"from {keys[0]} by {keys[1] - keys[0]}",
)
def test_footers_of_files_in_the_order_of_the_key_tell_how_it_lies(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, keys: Sequence[int]
) -> None:
    view = footers(tmp_path, keys)

    sample = statistical_sample(connection, view.files, "id", rows=len(keys), most=100)
    sides = make_sides(connection, PLAN, view, new_salt(), bounds=None, rows_per_segment=100)
    sizes = connection.execute(
        f"SELECT count(*) FROM {view.relation} b GROUP BY {sides.segments.number_sql(['b.id'])}"
    ).fetchall()

    assert sample is not None
    parts = [sample[len(sample) * part // 50] for part in range(50)]
    width = keys[1] - keys[0]
    assert all(abs(int(found) - key) <= 3 * width for found, key in zip(parts, keys[::100], strict=True))
    assert (True, 5000) == (sides.segments.step is not None, sum(size for (size,) in sizes))
    assert 200 >= max(size for (size,) in sizes)


@pytest.mark.parametrize(
    ("keys", "column", "rows"),
    [
        ([key * 1009 % 5000 for key in range(5000)], "id", 100),
        ([None] * 200 + [*range(4800)], "id", 100),
        (range(5000), "former_name", 100),
        ([*range(4999), 10**12], "id", 100),
        ([*range(4900), *range(10_000, 10_100)], "id", 5000),
    ],
    ids=["in no order", "without a number", "under another name", "one far off", "in one row group"],
)
def test_keys_that_footers_do_not_tell_are_cut_by_a_sample(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, keys: Keys, column: str, rows: int
) -> None:
    view = footers(tmp_path, keys, rows, column=column)

    assert (Verdict.MATCH, []) == compared(connection, view, keys)[:2]
    known = [key for key in keys if key is not None]
    sides = make_sides(connection, PLAN, view, new_salt(), bounds=None, rows_per_segment=100)
    sizes = connection.execute(
        f"SELECT count(*) FROM {view.relation} b WHERE id IS NOT NULL "
        f"GROUP BY {sides.segments.number_sql(['b.id'])}"
    ).fetchall()
    assert (len(known), True) == (sum(size for (size,) in sizes), max(size for (size,) in sizes) <= 200)


def test_footers_of_very_many_files_are_not_read(
    connection: duckdb.DuckDBPyConnection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    view = footers(tmp_path, range(5000))
    monkeypatch.setattr(key_statistics, "MOST_FILES", 1)

    sizes = {"rows": 5000, "most": 100}
    assert statistical_sample(connection, view.files, "id", **sizes) is not None
    assert statistical_sample(connection, (*view.files, "/no/such/file"), "id", **sizes) is None
    assert statistical_sample(connection, (), "id", **sizes) is None


@pytest.mark.parametrize(("step", "is_marked"), [(2**29, True), (2**30, False)])
def test_segments_wider_than_the_engine_can_mark_are_not_marked(step: int, is_marked: bool) -> None:
    segments = Segments(("BIGINT",), tuple((str(step * number),) for number in range(1, 4)))

    assert (step, is_marked) == (segments.step, segments.mark_bytes > 0)
