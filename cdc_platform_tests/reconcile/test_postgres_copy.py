"""Rows by COPY equal rows by query, and a stream that is not whole is an error."""

from __future__ import annotations

import time
import tracemalloc
from itertools import pairwise
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.sources import KEY_NUMBER, ReadPlan

pytestmark = pytest.mark.postgres

BASE = pa.schema(
    [
        ("id", pa.int64()), ("small", pa.int32()), ("big", pa.int64()), ("r", pa.float32()),
        ("d", pa.float64()), ("n", pa.decimal128(20, 4)), ("b", pa.bool_()), ("t", pa.string()),
        ("c", pa.string()), ("y", pa.binary()), ("day", pa.date32()), ("clock", pa.time64("us")),
        ("at", pa.timestamp("us", tz="UTC")), ("local", pa.timestamp("us")), ("u", pa.string()),
        ("j", pa.string()), ("p", pa.decimal128(12, 2)), ("q", pa.decimal128(18, 6)),
        ("z", pa.decimal128(6, 0)), ("s", pa.decimal128(4, 4)),
    ]
)  # fmt: skip
DDL = """CREATE TABLE item (id bigint PRIMARY KEY, small smallint, big bigint, r real, d float8,
    n numeric(20,4), b boolean, t text, c char(5), y bytea, day date, clock time, at timestamptz,
    local timestamp, u uuid, j jsonb, p numeric(12,2), q numeric(18,6),
    z numeric(4,-2), s numeric(2,4))"""
ROWS = """INSERT INTO item
    SELECT g, -g, 9223372036854775807 - g, g / 7.0, g / 3.0, g * 1.25 - 7, g % 2 = 0,
           repeat('é', g % 40), 'c' || g % 9, decode(md5(g::text), 'hex'), DATE '1900-01-01' + g,
           TIME '00:00' + g * interval '1.5 s', TIMESTAMPTZ 'epoch' + g * interval '1 day 1 us',
           TIMESTAMP '1960-01-01' + g * interval '1 us', md5(g::text)::uuid, jsonb_build_object('g', g),
           (g - 150) * 12345678.91, -999999999999.123456 + g, (g - 150) * 1234, g % 100 / 10000.0
    FROM generate_series(1, 300) g"""
ODD = """INSERT INTO item (id, d, n, t, day, at) VALUES
    (1001, 'NaN', 'NaN', '', 'infinity', '-infinity'), (1002, '-Infinity', 0, E'a\\tb\\n', '-infinity', NULL),
    (1003, NULL, -0.0001, NULL, '0044-03-15 BC', '20000-01-01')"""
DECIMALS = """UPDATE item SET p = CASE id WHEN 1001 THEN 'NaN' WHEN 1002 THEN 0 ELSE -9999999999.99 END,
    q = CASE id WHEN 1001 THEN 0.000001 WHEN 1002 THEN 999999999999.999999 ELSE 10000 END
    WHERE id > 1000"""


@pytest.fixture
def reader(postgres_database: str) -> PostgresReader:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        for statement in (DDL, ROWS, ODD, DECIMALS, "ANALYZE item"):
            connection.execute(statement)
    return PostgresReader(Connection(dsn=SecretStr(postgres_database)))


def test_a_stream_holds_the_rows_a_query_gives_bit_by_bit(reader: PostgresReader) -> None:
    plan = reader.plan("public", "item", ("id",), BASE)
    keys = pa.table({"id": pa.array([*range(1, 301), 1001, 1002, 1003], pa.int64())})
    with reader.snapshot() as snapshot:
        streamed = pa.Table.from_batches(snapshot.rows_between(None, None, plan)).sort_by("id")
        asked = snapshot.rows_of(keys, plan).drop_columns([KEY_NUMBER]).sort_by("id")

    assert (303, len(BASE)) == (streamed.num_rows, len(plan.columns))
    for name in streamed.column_names:
        left, right = streamed.column(name).cast(asked.column(name).type), asked.column(name)
        assert str(right.combine_chunks()) == str(left.combine_chunks()), name


@pytest.mark.parametrize("key", [("id",), ("t",), ("u",), ("id", "t"), ("small", "y")], ids=", ".join)
def test_a_stream_of_keys_holds_the_rows_a_query_gives_for_them(
    reader: PostgresReader, key: tuple[str, ...]
) -> None:
    plan = reader.plan("public", "item", key, BASE)
    with reader.snapshot() as snapshot:
        whole = pa.Table.from_batches(snapshot.rows_between(None, None, plan)).sort_by("id")
        known = whole.filter(pc.field("t").is_valid() & pc.field("u").is_valid())
        keys = pa.concat_tables([known.select(key).slice(3, 50), known.select(key).slice(100, 3)])
        keys = keys.group_by(list(key)).aggregate([])
        batches = snapshot.rows_among(keys, plan)
        assert batches is not None
        streamed = pa.Table.from_batches(batches, whole.schema).sort_by("id")
        asked = snapshot.rows_of(keys, plan).drop_columns([KEY_NUMBER]).sort_by("id")

    assert keys.num_rows <= streamed.num_rows < whole.num_rows
    for name in streamed.column_names:
        left, right = streamed.column(name).cast(asked.column(name).type), asked.column(name)
        assert str(right.combine_chunks()) == str(left.combine_chunks()), name


def test_a_stream_of_keys_their_type_cannot_hold_is_an_error_the_snapshot_survives(
    reader: PostgresReader,
) -> None:
    plan = reader.plan("public", "item", ("small",), BASE)
    with reader.snapshot() as snapshot:
        batches = snapshot.rows_among(pa.table({"small": pa.array([-5, 70_000], pa.int32())}), plan)
        assert batches is not None
        with pytest.raises(SourceUnavailable, match="out of range"):
            list(batches)

        (found,) = snapshot.rows_of(pa.table({"small": pa.array([-5], pa.int32())}), plan).to_pylist()

    assert 5 == found["id"]


@pytest.mark.parametrize("key", ["n", "day", "c", "at"])
def test_keys_of_types_with_forms_of_their_own_are_not_streamed(reader: PostgresReader, key: str) -> None:
    plan = reader.plan("public", "item", (key,), BASE)
    with reader.snapshot() as snapshot:
        assert snapshot.rows_among(pa.table({key: pa.array([None], BASE.field(key).type)}), plan) is None


def lengths_read(reader: PostgresReader, plan: ReadPlan) -> dict[str, list[int | None]]:
    """Return the lengths of the values of one batch, of which nothing is left then."""
    with reader.snapshot() as snapshot:
        (batch,) = snapshot.rows_between(None, None, plan)
        return {name: pc.binary_length(batch.column(name)).to_pylist() for name in ("v", "b")}


@pytest.mark.parametrize(("column", "made"), [("v", "{}"), ("b", "{}::bytea")])
def test_a_long_value_is_read_in_a_small_multiple_of_its_size(
    postgres_database: str, column: str, made: str
) -> None:
    size = 32 << 20
    long = made.format(f"repeat('abcdefgh', {size // 8})")
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE long (id bigint PRIMARY KEY, v text, b bytea)")
        connection.execute("INSERT INTO long VALUES (1, 'short', 'short'), (2, NULL, NULL)")
        connection.execute(f"UPDATE long SET {column} = {long} WHERE id = 1")
    base = pa.schema([("id", pa.int64()), ("v", pa.string()), ("b", pa.binary())])
    reader = PostgresReader(Connection(dsn=SecretStr(postgres_database)))
    plan = reader.plan("public", "long", ("id",), base)
    usual, counted = pa.default_memory_pool(), pa.proxy_memory_pool(pa.default_memory_pool())
    pa.set_memory_pool(counted)
    tracemalloc.start()

    try:
        lengths = lengths_read(reader, plan)
        # the driver's own buffers, which neither counts, are as large as the value and its row
        peak = tracemalloc.get_traced_memory()[1] + (counted.max_memory() or 0)
    finally:
        tracemalloc.stop()
        pa.set_memory_pool(usual)

    assert {name: [None, size if name == column else 5] for name in ("v", "b")} == lengths
    assert peak < 5 * size


def test_d1_ranges_of_keys_are_half_open_and_together_the_table(reader: PostgresReader) -> None:
    plan = reader.plan("public", "item", ("id",), BASE)
    bounds: list[Any] = [None, ("1",), ("150",), ("300",), ("1003",), None]
    with reader.snapshot() as snapshot:
        parts = [
            [
                one
                for batch in snapshot.rows_between(low, high, plan)
                for one in batch.column("id").to_pylist()
            ]
            for low, high in pairwise(bounds)
        ]

    assert plan.ranged
    assert [0, 149, 150, 3, 1] == [len(part) for part in parts]
    assert 303 == len({one for part in parts for one in part})


def cut(dsn: str) -> None:
    """End every session of a reconciliation in the database, as a failing network would."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name LIKE 'cdc-platform%' AND datname = current_database()"
        )


def test_a_stream_whose_connection_is_cut_is_an_error(reader: PostgresReader, postgres_database: str) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute(
            "INSERT INTO item (id, t) SELECT g, repeat('x', 2000) FROM generate_series(5000, 25000) g"
        )
    plan = reader.plan("public", "item", ("id",), BASE)

    def read_and_cut() -> None:
        with reader.snapshot() as snapshot:
            stream = snapshot.rows_between(None, None, plan)
            next(stream)
            cut(postgres_database)
            for _ in stream:
                pass

    with pytest.raises(SourceUnavailable, match=r"cannot read public\.item"):
        read_and_cut()


def test_a_stream_nobody_reads_to_its_end_leaves_no_query_behind(
    reader: PostgresReader, postgres_database: str
) -> None:
    plan = reader.plan("public", "item", ("id",), BASE)
    with reader.snapshot() as snapshot:
        stream = snapshot.rows_between(None, None, plan)
        next(stream)
        stream.close()  # type: ignore[attr-defined]

    query = (
        "SELECT count(*) FROM pg_stat_activity"
        " WHERE application_name LIKE 'cdc-platform%' AND datname = current_database()"
    )
    deadline = time.monotonic() + 30
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        while connection.execute(query).fetchone() != (0,):
            assert time.monotonic() < deadline
