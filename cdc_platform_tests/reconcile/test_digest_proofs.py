"""What a digest rests on: each lane sees every value, no bit is biased, no way of storing rows changes it."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cdc_platform.reconcile.digest import RowDigest, Salt, duckdb_types

SALT = Salt(b"the salt of this test, no secret")
KINDS = (
    "BIGINT",
    "VARCHAR",
    "DOUBLE",
    "DECIMAL(38,4)",
    "BLOB",
    "TIMESTAMP WITH TIME ZONE",
    "BOOLEAN",
    "VARCHAR",
)
#: A row of each kind by its number, no two alike in any column but the boolean.
COLUMNS = (
    "i", "printf('text %d', i)", "i / 7.0", "(i / 3.0)::DECIMAL(38,4)", "printf('b%d', i)::BLOB",
    "make_timestamptz(i * 1000003)", "i % 2 = 0", "printf('%d', i)",
)  # fmt: skip
CHANGED = (
    "i + 1", "printf('text %d ', i)", "nextafter(i / 7.0, 1e300::DOUBLE)",
    "(i / 3.0)::DECIMAL(38,4) + 0.0001",
    "printf('b%d', i)::BLOB || '\\x00'::BLOB", "make_timestamptz(i * 1000003 + 1)", "i % 2 <> 0",
    "printf('%d.', i)",
)  # fmt: skip
ROWS = 4000


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


def lanes(values: tuple[str, ...], salt: Salt = SALT) -> tuple[str, str]:
    return RowDigest(KINDS, salt).lanes(values)


def one(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[Any, ...]:
    found = connection.execute(query).fetchone()
    assert found is not None
    return found


def far_from_half(counts: tuple[int, ...], of: int) -> float:
    """Return how many standard deviations the count furthest from a half is away."""
    return max(abs(count - of / 2) for count in counts) / math.sqrt(of / 4)


@pytest.mark.parametrize("place", range(len(KINDS)), ids=KINDS)
def test_i5_the_smallest_change_of_a_column_turns_every_bit_of_both_lanes_half_of_the_times(
    connection: duckdb.DuckDBPyConnection, place: int
) -> None:
    other = (*COLUMNS[:place], CHANGED[place], *COLUMNS[place + 1 :])
    for before, after in zip(lanes(COLUMNS), lanes(other), strict=True):
        turned = ", ".join(f"count(*) FILTER (d >> {bit} & 1 = 1)" for bit in range(64))
        counts = one(
            connection, f"SELECT {turned} FROM (SELECT xor({before}, {after}) AS d FROM range({ROWS}) r(i))"
        )

        # of 64 bits beyond 5 standard deviations: once in 27,000 columns
        assert far_from_half(counts, ROWS) < 5


def test_i5_no_bit_of_a_lane_and_no_two_bits_together_are_biased(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    first, second = lanes(COLUMNS)
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE lanes AS SELECT {first} AS a, {second} AS b FROM range(20000) r(i)"
    )
    bits = [f"({lane} >> {bit} & 1)" for lane in "ab" for bit in range(64)]
    ones = one(connection, f"SELECT {', '.join(f'sum({bit})::BIGINT' for bit in bits)} FROM lanes")
    chi_square = sum((count - 10_000) ** 2 / 5_000 for count in ones)
    pairs = [
        f"sum(xor({x}, {y}))::BIGINT"
        for x, y in itertools.islice(itertools.combinations(bits, 2), 0, None, 41)
    ]
    together = one(connection, f"SELECT {', '.join(pairs)} FROM lanes")

    # 128 degrees of freedom: beyond 210 once in 150,000 salts
    assert chi_square < 210
    assert far_from_half(together, 20_000) < 5.5


def test_i5_lanes_of_two_salts_and_the_lanes_of_one_have_nothing_in_common(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    first, second = lanes(COLUMNS)
    others = lanes(COLUMNS, Salt(b"another salt"))
    for here, there in ((first, second), (first, others[0]), (second, others[1])):
        turned = ", ".join(f"count(*) FILTER (d >> {bit} & 1 = 1)" for bit in range(64))
        counts = one(
            connection, f"SELECT {turned} FROM (SELECT xor({here}, {there}) AS d FROM range({ROWS}) r(i))"
        )

        assert far_from_half(counts, ROWS) < 5


def test_a2_each_lane_keeps_texts_apart_and_tells_null_from_every_value(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    two = RowDigest(("VARCHAR", "VARCHAR"), SALT)
    rows = [
        "'ab', 'c'",
        "'a', 'bc'",
        "'abc', ''",
        "'', 'abc'",
        "'c', 'ab'",
        "NULL, 'abc'",
        "'abc', NULL",
        "NULL, ''",
    ]
    values = ", ".join(f"({row})" for row in rows)
    found = one(
        connection,
        "SELECT count(DISTINCT {}), count(DISTINCT {}) FROM (VALUES {}) t(x, y)".format(
            *two.lanes(["x", "y"]), values
        ),
    )

    assert (len(rows), len(rows)) == found


def test_a2_bytes_and_texts_are_in_both_lanes(connection: duckdb.DuckDBPyConnection) -> None:
    kinds = ("BLOB", "BLOB")
    rows = [
        r"'a'::BLOB, 'b'::BLOB",
        r"'b'::BLOB, 'a'::BLOB",
        r"'ab'::BLOB, ''::BLOB",
        r"''::BLOB, 'ab'::BLOB",
    ]
    values = ", ".join(f"({row})" for row in rows)
    first, second = RowDigest(kinds, SALT).lanes(["x", "y"])
    query = f"SELECT count(DISTINCT {first}), count(DISTINCT {second}) FROM (VALUES {values}) t(x, y)"

    assert (len(rows), len(rows)) == one(connection, query)


# -- A7: the digest tells values apart just where they are --------------------------------------------------

_FLOATS = st.floats(width=64)
_VALUES: dict[pa.DataType, st.SearchStrategy[Any]] = {
    pa.int64(): st.integers(-(2**63), 2**63 - 1),
    pa.float64(): _FLOATS,
    pa.string(): st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    pa.binary(): st.binary(max_size=8),
    pa.decimal128(38, 6): st.decimals(-(10**30), 10**30, places=6),
    pa.bool_(): st.booleans(),
    pa.date32(): st.dates(),
    pa.time64("us"): st.times(),
    pa.timestamp("us"): st.datetimes(),
}


def value_of(value: Any) -> Any:
    """Return what a value is equal by: NaN equals NaN, and -0.0 equals 0.0."""
    return "NaN" if isinstance(value, float) and math.isnan(value) else value


@pytest.mark.parametrize("kind", _VALUES, ids=str)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a7_digests_are_equal_just_where_values_are(
    connection: duckdb.DuckDBPyConnection, kind: pa.DataType, data: st.DataObject
) -> None:
    strategy = st.none() | _VALUES[kind]
    row = data.draw(st.tuples(strategy, strategy))
    other = data.draw(st.sampled_from([row, row[::-1]]) | st.tuples(strategy, strategy))
    digest = RowDigest(duckdb_types(connection, [kind, kind]), SALT)
    found = []
    for pair in (row, other):
        connection.register("a_row", pa.table([pa.array([value], kind) for value in pair], names=["x", "y"]))
        found.append(one(connection, f"SELECT {digest.aggregates(['x', 'y'])} FROM a_row"))

    assert (found[0] == found[1]) == (tuple(map(value_of, row)) == tuple(map(value_of, other)))


# -- I4: how rows are stored and read says nothing ---------------------------------------------------------


@pytest.fixture(scope="module")
def rows(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    columns = ", ".join(
        f"CASE WHEN hash(i, {n}) % 9 > 0 THEN {sql} END::{kind} AS c{n}"
        for n, (sql, kind) in enumerate(zip(COLUMNS, KINDS, strict=True))
    )
    return connection.execute(f"SELECT {columns} FROM range({ROWS}) r(i)").to_arrow_table()


STORED: list[tuple[str, dict[str, Any]]] = [
    ("plain", {"use_dictionary": False, "compression": "none"}),
    ("dictionary", {"use_dictionary": True, "compression": "zstd"}),
    ("small pages and row groups", {"data_page_size": 512, "row_group_size": 300}),
    ("newer pages", {"data_page_version": "2.0", "compression": "gzip", "version": "2.4"}),
]


@pytest.mark.parametrize(("name", "how"), STORED, ids=[name for name, _ in STORED])
@pytest.mark.parametrize("threads", [1, 4])
def test_i4_order_files_encodings_and_threads_give_the_same_digest(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table, tmp_path: Path, name: str, how: Any, threads: int
) -> None:
    shuffled = rows.take([number * 7919 % ROWS for number in range(ROWS)])
    for part in range(5):
        pq.write_table(shuffled.slice(part * 900, 900), tmp_path / f"{part}.parquet", **how)
    digest = RowDigest(KINDS, SALT).aggregates(rows.column_names)
    connection.register("rows", rows)

    with duckdb.connect(config={"threads": threads}) as other:
        other.execute("SET TimeZone = 'UTC'")
        found = one(other, f"SELECT {digest} FROM read_parquet('{tmp_path}/*.parquet')")

    assert one(connection, f"SELECT {digest} FROM rows") == found


def test_i4_the_digest_of_a_table_is_the_sum_over_any_segments(
    connection: duckdb.DuckDBPyConnection, rows: pa.Table
) -> None:
    connection.register("rows", rows)
    digest = RowDigest(KINDS, SALT).aggregates(rows.column_names)
    whole = one(connection, f"SELECT {digest} FROM rows")
    for segments in (1, 2, 7, 256):
        parts = connection.execute(f"SELECT {digest} FROM rows GROUP BY hash(c0, c1) % {segments}").fetchall()

        assert whole == tuple(map(sum, zip(*parts, strict=True)))


def test_b2_money_compared_by_value_whatever_the_scale_it_is_kept_in(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    digest = RowDigest(("DECIMAL(38,4)",), SALT)
    forms = [(pa.decimal128(5, 2), "1.10"), (pa.decimal128(12, 4), "1.1000"), (pa.decimal128(38, 1), "1.1")]
    found = set()
    for kind, text in forms:
        connection.register("a_row", pa.table([pa.array([Decimal(text)], kind)], names=["x"]))
        found.add(one(connection, f"SELECT {digest.aggregates(['x'])} FROM a_row"))

    assert 1 == len(found)
