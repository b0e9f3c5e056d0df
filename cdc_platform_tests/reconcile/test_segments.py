"""Segments cut all keys into disjoint ranges, whatever the keys are."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.reconcile.segments import Segments, quantile_segments

INTEGERS = st.one_of(st.integers(-20, 20), st.sampled_from([-(2**63), 2**63 - 1, 10**12, 0]))
TEXTS = st.text(st.sampled_from("aAéß😀 '0"), max_size=4)
FLOATS = st.one_of(st.floats(width=64), st.sampled_from([-0.0, 0.0, float("inf"), float("-inf")]))
KEYS: list[tuple[tuple[str, ...], tuple[pa.DataType, ...], st.SearchStrategy[Any]]] = [
    (("BIGINT",), (pa.int64(),), st.tuples(st.none() | INTEGERS)),
    (("VARCHAR",), (pa.string(),), st.tuples(st.none() | TEXTS)),
    (("DOUBLE",), (pa.float64(),), st.tuples(st.none() | FLOATS)),
    (
        ("BIGINT", "VARCHAR"),
        (pa.int64(), pa.string()),
        st.tuples(st.none() | st.integers(0, 3), st.none() | TEXTS),
    ),
]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        yield opened


def numbers(
    connection: duckdb.DuckDBPyConnection, segments: Segments, names: Sequence[str]
) -> list[tuple[int, list[bool]]]:
    conditions = ", ".join(
        f"coalesce({segments.condition_sql(names, number)}, false)" for number in range(segments.ranges + 1)
    )
    query = f"SELECT {segments.number_sql(names)}, [{conditions}] FROM keys"
    return connection.execute(query).fetchall()


@pytest.mark.parametrize(("kinds", "types", "strategy"), KEYS, ids=lambda value: str(value)[:30])
def test_every_key_lies_in_exactly_one_segment_which_its_condition_names(
    connection: duckdb.DuckDBPyConnection, kinds: Any, types: Any, strategy: Any
) -> None:
    names = [f"c{place}" for place in range(len(kinds))]
    schema = pa.schema(list(zip(names, types, strict=True)))

    @settings(max_examples=25)
    @given(rows=st.lists(strategy, max_size=60), rows_per_segment=st.integers(1, 20))
    def check(rows: list[tuple[Any, ...]], rows_per_segment: int) -> None:
        table = pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema)
        connection.register("keys", table)
        segments = quantile_segments(
            connection, "keys", names, kinds, rows=len(rows), rows_per_segment=rows_per_segment
        )
        assert sorted(segments.bounds) == sorted(set(segments.bounds))
        for number, in_segments in numbers(connection, segments, names):
            assert [place == number for place in range(segments.ranges + 1)] == in_segments

    check()


@pytest.mark.parametrize("key", [-(2**63), 9, 10, 11, 19, 20, 21, 2**63 - 1])
def test_d1_a_key_on_a_boundary_is_in_the_segment_above_it(
    connection: duckdb.DuckDBPyConnection, key: int
) -> None:
    segments = Segments(("BIGINT",), (("10",), ("20",)))

    (found,) = connection.execute(f"SELECT {segments.number_sql([f'({key})::BIGINT'])}").fetchall()

    assert ((key >= 10) + (key >= 20),) == found


def test_d1_keys_beyond_what_base_holds_lie_in_the_first_and_last_segment(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    segments = quantile_segments(
        connection, "range(100, 200) r(id)", ["id"], ["BIGINT"], rows=100, rows_per_segment=10
    )

    found = connection.execute(
        f"SELECT {segments.number_sql(['id'])} FROM (VALUES (-5::BIGINT), (10000), (NULL)) v(id)"
    ).fetchall()
    assert [(0,), (segments.ranges - 1,), (segments.keyless,)] == found


WIDTHS = {"TINYINT": 8, "SMALLINT": 16, "INTEGER": 32, "BIGINT": 64}


@settings(max_examples=60)
@given(data=st.data(), kind=st.sampled_from(sorted(WIDTHS)), count=st.sampled_from([2, 3, 17, 253, 254, 255]))
def test_d1_a_shift_finds_the_segment_the_bounds_say(
    connection: duckdb.DuckDBPyConnection, data: st.DataObject, kind: str, count: int
) -> None:
    lowest, highest = -(2 ** (WIDTHS[kind] - 1)), 2 ** (WIDTHS[kind] - 1) - 1
    # as wide a step as there is room for, or less
    shift = data.draw(st.integers(0, max(0, WIDTHS[kind] - count.bit_length())))
    cells = st.integers(lowest >> shift, max(lowest >> shift, (highest >> shift) - count + 1))
    first = data.draw(cells)
    bounds = [cell << shift for cell in range(first, first + count) if cell << shift <= highest]
    near = [bound + step for bound in bounds for step in (-1, 0, 1) if lowest <= bound + step <= highest]
    keys = [*near, lowest, highest, *data.draw(st.lists(st.integers(lowest, highest), max_size=10))]

    segments = Segments((kind,), tuple((str(bound),) for bound in bounds))
    connection.register("keys", pa.table({"k": pa.array([*keys, None], f"int{WIDTHS[kind]}")}))
    found = connection.execute(f"SELECT {segments.number_sql(['k'])} FROM keys").fetchall()

    assert [*[bisect_right(bounds, key) for key in keys], segments.keyless] == [number for (number,) in found]


@pytest.mark.parametrize(
    "key",
    [
        "i",
        "-i",
        "i * 7 - 500",
        "1000000007 + i + i // 50 * 20",
        "9223372036854775807 - i",
        "CASE i WHEN 0 THEN -9000000000000000000 WHEN 1 THEN 9000000000000000000 ELSE i END",
    ],
)
def test_whole_numbers_that_lie_evenly_are_cut_into_segments_a_shift_tells(
    connection: duckdb.DuckDBPyConnection, key: str
) -> None:
    relation = f"(SELECT ({key})::BIGINT AS id FROM range(5000) r(i))"
    segments = quantile_segments(connection, relation, ["id"], ["BIGINT"], rows=5000, rows_per_segment=100)
    sizes = Counter(
        number
        for (number,) in connection.execute(
            f"SELECT {segments.number_sql(['id'])} FROM {relation}"
        ).fetchall()
    )

    assert ">>" in segments.number_sql(["id"])
    assert 50 <= segments.ranges < 100
    assert 200 >= max(sizes.values())


@pytest.mark.parametrize("key", ["i * i", "CASE WHEN i < 4000 THEN i ELSE i + 1000000000000 END"])
def test_whole_numbers_that_lie_unevenly_are_cut_into_equal_parts(
    connection: duckdb.DuckDBPyConnection, key: str
) -> None:
    relation = f"(SELECT ({key})::BIGINT AS id FROM range(5000) r(i))"
    segments = quantile_segments(connection, relation, ["id"], ["BIGINT"], rows=5000, rows_per_segment=100)
    sizes = Counter(
        number
        for (number,) in connection.execute(
            f"SELECT {segments.number_sql(['id'])} FROM {relation}"
        ).fetchall()
    )

    assert dict.fromkeys(range(50), 100) == sizes


def test_d2_text_is_ordered_by_its_bytes(connection: duckdb.DuckDBPyConnection) -> None:
    segments = Segments(("VARCHAR",), (("a",),))

    found = [
        connection.execute(f"SELECT {segments.number_sql([key])}").fetchone() for key in ("'A'", "'a'", "'é'")
    ]

    assert [(0,), (1,), (1,)] == found


def test_d2_a_constant_leading_column_still_gives_segments(connection: duckdb.DuckDBPyConnection) -> None:
    relation = "(SELECT 7::BIGINT AS a, i AS b FROM range(1000) r(i))"
    segments = quantile_segments(
        connection, relation, ["a", "b"], ["BIGINT", "BIGINT"], rows=1000, rows_per_segment=100
    )
    sizes = connection.execute(
        f"SELECT count(*) FROM {relation} GROUP BY {segments.number_sql(['a', 'b'])}"
    ).fetchall()

    assert (10, 1000) == (len(sizes), sum(size for (size,) in sizes))


def test_a_table_of_one_key_value_is_one_range(connection: duckdb.DuckDBPyConnection) -> None:
    segments = quantile_segments(
        connection, "(SELECT 1::BIGINT AS id FROM range(1000))", ["id"], ["BIGINT"], rows=1000,
        rows_per_segment=10,
    )  # fmt: skip

    assert 2 >= segments.ranges


def test_the_name_of_a_segment_shows_what_of_its_bounds_is_not_seen() -> None:
    cut = Segments(("VARCHAR",), (("a\u202eb",), ("c\x00",)))

    found = [cut.label(number) for number in range(3)]

    assert ["below a<U+202E>b", "from a<U+202E>b to below c<U+0000>", "from c<U+0000>"] == found
