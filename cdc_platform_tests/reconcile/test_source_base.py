"""Source against base: typed values from a real PostgreSQL, judged by log position."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.source_base import compare_source_base
from cdc_platform.reconcile.sources import KEY_NUMBER, ReadPlan
from cdc_platform.reconcile.verdict import Comparison, Kind, Verdict
from cdc_platform_tests.reconcile.witnesses import Case, event, row

pytestmark = pytest.mark.postgres

CAUGHT_UP = Capture("FFFFFFFF/0")


class Source:
    """A PostgreSQL database under test."""

    def __init__(self, dsn: str) -> None:
        self.dsn = dsn
        self.reader_type = PostgresReader

    def run(self, *statements: str) -> None:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    @property
    def reader(self) -> PostgresReader:
        return self.reader_type(Connection(dsn=SecretStr(self.dsn)))

    def compare(
        self,
        case: Case,
        base: Sequence[Mapping[str, Any]],
        keys: Sequence[Mapping[str, Any]],
        *,
        capture: Capture = CAUGHT_UP,
        awaited: Sequence[int] = (),
        while_reading: Callable[[], None] = lambda: None,
        soft: bool = False,
    ) -> Comparison:
        """Compare the table ``t`` with ``base`` for ``keys``; ``awaited`` numbers the keys on their way."""
        changed = case.file(*(event("U", 1, **{**dict.fromkeys(case.columns), **key}) for key in keys))
        with case.loaded([changed], case.base(*base), soft=soft) as (connection, events, view):
            plan = self.reader.plan("public", "t", case.key, view.columns)

            def observe(position: str) -> Capture:
                while_reading()
                _await(connection, awaited)
                return capture

            assert events.keys == len(keys)
            return compare_source_base(connection, self.reader, plan, view, observe=observe)


def _await(connection: duckdb.DuckDBPyConnection, key_ids: Sequence[int]) -> None:
    connection.execute("CREATE OR REPLACE TEMP TABLE awaited (key_id BIGINT)")
    for key_id in key_ids:
        connection.execute(f"INSERT INTO awaited VALUES ({key_id})")


@pytest.fixture(scope="module")
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """One database for this module: a fresh one per test costs more than the test."""
    name = f"reconcile_{uuid.uuid4().hex[:12]}"
    dsn = postgres_server.create_database(name)
    Source(dsn).run(
        "CREATE SCHEMA elsewhere",
        "CREATE TYPE elsewhere.mood AS ENUM ('sad', 'glad')",
        "CREATE DOMAIN elsewhere.code AS text",
    )
    yield dsn
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def source(database: str) -> Iterator[Source]:
    yield Source(database)
    Source(database).run("DROP TABLE IF EXISTS t")


TEXT = Case({"id": pa.int64(), "v": pa.string()})


def test_a_key_whose_row_is_equal_in_the_source_matches(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, NULL)")

    compared = source.compare(
        TEXT, [row(1, id=1, v="a"), row(1, id=2, v=None)], [{"id": 1}, {"id": 2}, {"id": 3}]
    )

    assert (Verdict.MATCH, 3, 3) == (compared.verdict, compared.tally.compared, compared.tally.matched)
    assert compared.source_position is not None


def test_only_the_keys_of_the_window_are_compared(source: Source) -> None:
    source.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'other')"
    )

    compared = source.compare(TEXT, [row(1, id=1, v="a"), row(1, id=2, v="base")], [{"id": 1}])

    assert (Verdict.MATCH, {"source rows": 1, "base rows": 1}) == (compared.verdict, compared.rows)


@pytest.mark.parametrize(
    ("declared", "written", "type_", "held"),
    [
        ("smallint", "'-5'", pa.int32(), -5),
        ("bigint", "9223372036854775807", pa.int64(), 2**63 - 1),
        ("real", "0.1", pa.float32(), 0.1),
        ("double precision", "0.1::float8 + 0.2::float8", pa.float64(), 0.1 + 0.2),
        ("double precision", "'NaN'", pa.float64(), float("nan")),
        ("double precision", "'-Infinity'", pa.float64(), float("-inf")),
        ("double precision", "'-0'", pa.float64(), 0.0),
        ("numeric(10,2)", "1.1", pa.decimal128(10, 2), Decimal("1.10")),
        ("numeric(38,10)", "-1234567890123456789012345678.0123456789", pa.decimal128(38, 10),
         Decimal("-1234567890123456789012345678.0123456789")),
        ("numeric", "1.23456789", pa.decimal128(28, 6), Decimal("1.234568")),
        ("numeric", "-0.000000499", pa.decimal128(28, 6), Decimal(0)),
        ("numeric", "-1.500", pa.decimal128(10, 2), Decimal("-1.50")),
        ("numeric", "-12", pa.decimal128(38, 0), Decimal(-12)),
        ("numeric", "-0.0625", pa.decimal128(6, 6), Decimal("-0.0625")),
        ("numeric", "1.23456789", pa.decimal128(38, 10), Decimal("1.23456789")),
        ("numeric", "'NaN'", pa.decimal128(28, 6), None),
        ("numeric(10,2)", "'NaN'", pa.decimal128(10, 2), None),
        ("money", "12.34", pa.decimal128(38, 4), Decimal("12.34")),
        ("boolean", "true", pa.string(), "true"),
        ("boolean", "false", pa.bool_(), False),
        ("text", "''", pa.string(), ""),
        ("text", "E'a\\tб\\n\U0001f600'", pa.string(), "a\tб\n\U0001f600"),
        ("varchar(3)", "'ab '", pa.string(), "ab "),
        ("char(5)", "'ab'", pa.string(), "ab"),
        ("char(5)", "'ab'", pa.string(), "ab   "),
        ("bytea", "'\\x00ff'", pa.binary(), b"\x00\xff"),
        ("uuid", "'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", pa.string(),
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("json", """'{"b": 1.10, "a":2}'""", pa.string(), '{"b": 1.10, "a":2}'),
        ("jsonb", """'{"b": 1.10, "a":2}'""", pa.string(), '{"a": 2, "b": 1.10}'),
        ("integer[]", "'{1,NULL,3}'", pa.string(), "{1,NULL,3}"),
        ("interval", "'1 mon 2 days 03:04:05.6'", pa.string(), "1 mon 2 days 03:04:05.6"),
        ("date", "'0001-01-01'", pa.date32(), date(1, 1, 1)),
        ("date", "'infinity'", pa.date32(), date(9999, 12, 31)),
        ("date", "'0044-03-15 BC'", pa.date32(), date(1, 1, 1)),
        ("numeric(4,-2)", "123456", pa.decimal128(6, 0), Decimal(123500)),
        ("numeric(2,4)", "0.0012", pa.decimal128(4, 4), Decimal("0.0012")),
        ("time", "'23:59:59.999999'", pa.time64("us"), time(23, 59, 59, 999999)),
        ("time", "'23:59:59.999999'", pa.time64("us"), time(23, 59, 59, 999000)),
        ("time", "'24:00:00'", pa.time64("us"), time(23, 59, 59, 999000)),
        ("timetz", "'12:30:00.5+09'", pa.time64("us"), time(12, 30, 0, 500000)),
        ("timestamp", "'20000-01-01'", pa.timestamp("us", tz="UTC"),
         datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)),
        ("timestamptz", "'2026-03-01 12:00:00.000001+09'", pa.timestamp("us", tz="UTC"),
         datetime(2026, 3, 1, 3, 0, 0, 1, tzinfo=UTC)),
        ("timestamp", "'2026-03-01 12:00:00'", pa.timestamp("us", tz="UTC"),
         datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("timestamp", "'2026-03-01 12:00:00'", pa.timestamp("us"), datetime(2026, 3, 1, 12)),
        ("timestamptz", "'infinity'", pa.timestamp("us", tz="UTC"),
         datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("timestamptz", "'-infinity'", pa.timestamp("us", tz="UTC"), datetime(1, 1, 1, tzinfo=UTC)),
        ("timestamp", "'infinity'", pa.timestamp("us"), datetime(9999, 12, 31, 23, 59, 59, 999000)),
        ("timestamp", "'0044-03-15 BC'", pa.timestamp("us"), datetime(1, 1, 1)),
        ("timestamp", "'1969-07-20 20:17:40'", pa.timestamp("us", tz="UTC"),
         datetime(1969, 7, 20, 20, 17, 40, tzinfo=UTC)),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_equals_the_form_dms_gives_it(
    source: Source, declared: str, written: str, type_: pa.DataType, held: object
) -> None:
    source.run(
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared})",
        f"INSERT INTO t VALUES (1, {written}), (2, NULL)",
    )
    case = Case({"id": pa.int64(), "v": type_})

    compared = source.compare(case, [row(1, id=1, v=held), row(1, id=2, v=None)], [{"id": 1}, {"id": 2}])

    assert (Verdict.MATCH, (), ("id", "v")) == (compared.verdict, compared.excluded, compared.columns)


@pytest.mark.parametrize(
    ("declared", "written", "type_", "held"),
    [
        ("double precision", "0.3", pa.float64(), 0.1 + 0.2),
        ("double precision", "'NaN'", pa.float64(), None),
        ("numeric(10,2)", "1.11", pa.decimal128(10, 2), Decimal("1.10")),
        ("numeric(10,4)", "1.1001", pa.decimal128(10, 2), Decimal("1.10")),
        ("numeric", "1.2345678", pa.decimal128(28, 6), Decimal("1.234567")),
        ("numeric", "123456789012345678901234567", pa.decimal128(28, 6), None),
        # what 128 bits make of it is the value of base
        ("numeric", "340282366920938463463374607431769.711456", pa.decimal128(28, 6), Decimal("1.5")),
        ("numeric", "1e60", pa.decimal128(38, 6), Decimal("5")),
        ("numeric", "1.494", pa.decimal128(10, 0), Decimal(1)),
        ("numeric", "1.494", pa.decimal128(28, 2), Decimal("1.49")),
        ("numeric", "1.4999999", pa.decimal128(38, 0), Decimal(1)),
        ("text", "''", pa.string(), None),
        ("text", "'a '", pa.string(), "a"),
        ("text", "'A'", pa.string(), "a"),
        ("char(5)", "'ab'", pa.string(), " ab"),
        ("boolean", "true", pa.string(), "t"),
        ("jsonb", """'{"a": 1}'""", pa.string(), '{"a":1}'),
        ("time", "NULL", pa.time64("us"), time(23, 59, 59, 999000)),
        ("time", "'23:59:59.999999'", pa.time64("us"), None),
        ("date", "'infinity'", pa.date32(), date(2026, 1, 1)),
        ("date", "'infinity'", pa.date32(), None),
        ("date", "'9999-12-30'", pa.date32(), date(9999, 12, 31)),
        ("date", "'infinity'", pa.date32(), date(9999, 12, 30)),
        ("date", "'0044-03-15 BC'", pa.date32(), date(1, 1, 2)),
        ("timestamptz", "'infinity'", pa.timestamp("us", tz="UTC"),
         datetime(9999, 12, 31, 3, 33, tzinfo=UTC)),
        ("timestamptz", "'infinity'", pa.timestamp("us", tz="UTC"), datetime(9999, 12, 31, tzinfo=UTC)),
        ("timestamptz", "'10000-06-15 08:00+00'", pa.timestamp("us", tz="UTC"),
         datetime(9999, 12, 31, 23, 59, 59, 999998, tzinfo=UTC)),
        ("timestamptz", "'-infinity'", pa.timestamp("us", tz="UTC"), datetime(1, 1, 1, 17, 5, tzinfo=UTC)),
        ("timestamp", "'infinity'", pa.timestamp("us"), datetime(9999, 12, 31, 12)),
        ("timestamp", "'-infinity'", pa.timestamp("us", tz="UTC"),
         datetime(1, 1, 1, 0, 0, 0, 1, tzinfo=UTC)),
        ("timestamp", "'infinity'", pa.timestamp("us", tz="UTC"), datetime(1, 1, 1, tzinfo=UTC)),
        ("timestamp", "'9999-12-31 23:59:59.999999'", pa.timestamp("us", tz="UTC"),
         datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ("time", "'12:00:00.002'", pa.time64("us"), time(12, 0, 0, 1000)),
        ("time", "'12:00:00.0015'", pa.time64("us"), time(12, 0, 0, 1400)),
        ("timestamptz", "'2026-03-01 12:00:00.000001+00'", pa.timestamp("us", tz="UTC"),
         datetime(2026, 3, 1, 12, tzinfo=UTC)),
        ("timestamp", "'2026-03-01 12:00:00'", pa.timestamp("us", tz="UTC"),
         datetime(2026, 3, 1, 12, tzinfo=UTC) - timedelta(hours=9)),
    ],
    ids=repr,
)  # fmt: skip
def test_a_value_that_differs_is_found(
    source: Source, declared: str, written: str, type_: pa.DataType, held: object
) -> None:
    source.run(
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared})", f"INSERT INTO t VALUES (1, {written})"
    )
    case = Case({"id": pa.int64(), "v": type_})

    compared = source.compare(case, [row(1, id=1, v=held)], [{"id": 1}])

    assert (Verdict.DIFFERENT, Kind.CHANGED, ("v",)) == (
        compared.verdict,
        compared.discrepancies[0].kind,
        compared.discrepancies[0].columns,
    )


def test_a_number_no_decimal_holds_is_shown_as_the_source_has_it(source: Source) -> None:
    source.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v numeric)", "INSERT INTO t VALUES (1, 1e33), (2, 1.494)"
    )
    case = Case({"id": pa.int64(), "v": pa.decimal128(28, 2)})
    base = [row(1, id=1, v=Decimal(5)), row(1, id=2, v=Decimal("1.49"))]

    compared = source.compare(case, base, [{"id": 1}, {"id": 2}])
    found = {one.key["id"]: one for one in compared.discrepancies}

    assert {1: f"1{'0' * 33}.000000", 2: "1.494000"} == {
        number: (one.expected or {})["v"] for number, one in found.items()
    }
    assert {"v": "rounded to 2 decimals in base"} == {
        column: class_.label for column, class_ in found[2].classes.items()
    }
    assert [("other", 1), ("rounded to 2 decimals in base", 1)] == [
        (share.label, share.keys) for share in compared.column_differences[0].classes
    ]


@pytest.mark.parametrize(
    ("declared", "type_", "expected"),
    [
        ("real", pa.float32(), "float, 1 ULP apart"),
        ("real", pa.float64(), "float, 1 ULP apart"),
        ("float8", pa.float64(), "other"),
    ],
)
def test_the_next_32_bit_float_is_one_unit_in_the_last_place_off_where_a_column_has_32_bits(
    source: Source, declared: str, type_: pa.DataType, expected: str
) -> None:
    source.run(
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared})",
        "INSERT INTO t VALUES (1, 0.10000000149011612)",
    )
    case = Case({"id": pa.int64(), "v": type_})

    compared = source.compare(case, [row(1, id=1, v=0.10000000894069672)], [{"id": 1}])

    (share,) = compared.column_differences[0].classes
    of_row = compared.discrepancies[0].classes.get("v")
    assert (expected, expected) == (share.label, of_row.label if of_row else "other")


@pytest.mark.parametrize(
    ("declared", "written", "type_"),
    [
        ("numeric", "NaN", pa.decimal128(28, 6)),
        ("numeric", "Infinity", pa.decimal128(28, 6)),
        ("numeric", "-Infinity", pa.decimal128(28, 6)),
        ("numeric(10,2)", "NaN", pa.decimal128(10, 2)),
    ],
)
def test_a_number_that_is_not_finite_beside_one_in_base_is_shown_and_called_what_it_is(
    source: Source, declared: str, written: str, type_: pa.DataType
) -> None:
    source.run(
        f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared}, w {declared})",
        f"INSERT INTO t VALUES (1, '{written}', 1), (2, NULL, 2), (3, 3, 3), (4, '{written}', 4)",
    )
    case = Case({"id": pa.int64(), "v": type_, "w": type_})
    base = [row(1, id=n, v=None if n == 4 else Decimal(9), w=Decimal(n)) for n in (1, 2, 3, 4)]

    compared = source.compare(case, base, [{"id": n} for n in (1, 2, 3, 4)])
    found = {one.key["id"]: one for one in compared.discrepancies}

    odd, null = "NaN or infinity in source, a number in base", "a value in base, NULL in source"
    three = "3.000000" if declared == "numeric" else "3.00"
    assert {1: written, 2: None, 3: three} == {key: (one.expected or {})["v"] for key, one in found.items()}
    assert {1: {"v": odd}, 2: {"v": null}, 3: {}} == {
        key: {column: one.label for column, one in each.classes.items()} for key, each in found.items()
    }
    assert {odd: 1, null: 1, "other": 1} == {
        share.label: share.keys for share in compared.column_differences[0].classes
    }
    assert 1 == compared.tally.matched


def test_a_row_that_base_lacks_is_shown_with_the_number_that_is_not_finite(source: Source) -> None:
    source.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v numeric)", "INSERT INTO t VALUES (1, 'NaN'), (2, NULL)"
    )
    case = Case({"id": pa.int64(), "v": pa.decimal128(28, 6)})

    compared = source.compare(case, [], [{"id": 1}, {"id": 2}])

    assert ["NaN", None] == [(one.expected or {})["v"] for one in compared.discrepancies]


@pytest.mark.parametrize("written", ["1e33", "340282366920938463463374607431769.711456"])
def test_a_key_no_decimal_holds_is_an_error_that_names_its_column(source: Source, written: str) -> None:
    source.run(
        "CREATE TABLE t (n numeric PRIMARY KEY, v text)", f"INSERT INTO t VALUES ({written}, 'a'), (1.5, 'a')"
    )
    base = pa.schema([("n", pa.decimal128(28, 6)), ("v", pa.string())])
    plan = source.reader.plan("public", "t", ["n"], base)

    with (
        source.reader.snapshot() as snapshot,
        pytest.raises(SourceUnavailable, match="a value of 'n' cannot"),
    ):
        list(snapshot.rows_between(None, None, plan))


def test_session_settings_of_the_role_change_no_value(source: Source) -> None:
    source.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, f float8, i interval, b bytea)",
        "INSERT INTO t VALUES (1, 0.1::float8 + 0.2::float8, '1 day', 'x')",
        "ALTER ROLE CURRENT_USER SET extra_float_digits = -10",
        "ALTER ROLE CURRENT_USER SET TimeZone = 'Asia/Tokyo'",
        "ALTER ROLE CURRENT_USER SET IntervalStyle = 'iso_8601'",
        "ALTER ROLE CURRENT_USER SET bytea_output = 'escape'",
        "ALTER ROLE CURRENT_USER SET DateStyle = 'German'",
    )
    case = Case({"id": pa.int64(), "f": pa.float64(), "i": pa.string(), "b": pa.binary()})
    try:
        compared = source.compare(case, [row(1, id=1, f=0.1 + 0.2, i="1 day", b=b"x")], [{"id": 1}])
    finally:
        source.run("ALTER ROLE CURRENT_USER RESET ALL")

    assert compared.verdict is Verdict.MATCH


def test_rules_and_excluded_columns_are_named(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, ok boolean, price integer, fresh text)")
    case = Case({"id": pa.int64(), "ok": pa.string(), "price": pa.string(), "gone": pa.string()})

    compared = source.compare(case, [], [{"id": 1}])

    assert {"ok": "boolean travels as the text 'true' or 'false'"} == dict(compared.rules)
    reasons = {excluded.column: excluded.reason for excluded in compared.excluded}
    assert {"price", "gone", "fresh"} == set(reasons)
    assert "integer in the source and string in base" in reasons["price"]
    assert reasons["gone"].startswith("in base and not in the source")
    assert reasons["fresh"].startswith("in the source and not in base")
    assert Verdict.UNVERIFIED is compared.verdict
    assert "2 columns could not be compared: price (integer" in compared.reason


@pytest.mark.parametrize(
    ("capture", "verdict"),
    [
        (CAUGHT_UP, Verdict.DIFFERENT),
        (Capture("0/1"), Verdict.IN_FLIGHT),
        (Capture(None), Verdict.UNVERIFIED),
        (Capture("not a position"), Verdict.UNVERIFIED),
        (Capture("FFFFFFFF/0", unaccepted=1), Verdict.IN_FLIGHT),
        (Capture("FFFFFFFF/0", source_now="0/10"), Verdict.UNVERIFIED),
    ],
    ids=repr,
)
def test_a_difference_is_judged_by_how_far_capture_has_come(
    source: Source, capture: Capture, verdict: Verdict
) -> None:
    source.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'new'), (2, 'same')"
    )

    compared = source.compare(
        TEXT, [row(1, id=1, v="old"), row(1, id=2, v="same")], [{"id": 1}, {"id": 2}], capture=capture
    )

    assert (verdict, 1, verdict) == (
        compared.verdict,
        compared.tally.matched,
        compared.discrepancies[0].verdict,
    )


def test_a_key_that_a_waiting_file_changes_is_in_flight_even_when_it_is_equal_now(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a'), (2, 'b')")

    compared = source.compare(
        TEXT, [row(1, id=1, v="a"), row(1, id=2, v="x")], [{"id": 1}, {"id": 2}], awaited=[1, 2]
    )

    assert (Verdict.IN_FLIGHT, 0, 2) == (compared.verdict, compared.tally.matched, compared.tally.in_flight)


def test_a_source_row_that_moves_while_it_is_compared_is_in_flight(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'old')")

    compared = source.compare(
        TEXT,
        [row(1, id=1, v="new")],
        [{"id": 1}],
        while_reading=lambda: source.run("UPDATE t SET v = 'new'"),
    )

    assert Verdict.IN_FLIGHT is compared.verdict
    assert "changed while it was compared" in compared.discrepancies[0].reason


def test_rows_missing_and_unexpected_in_base_are_told_apart(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")

    compared = source.compare(TEXT, [row(1, id=2, v="b")], [{"id": 1}, {"id": 2}])

    found = {one.kind: (one.expected, one.actual) for one in compared.discrepancies}
    assert {
        Kind.MISSING: ({"id": 1, "v": "a"}, None),
        Kind.UNEXPECTED: (None, {"id": 2, "v": "b"}),
    } == found


def test_a_soft_deleted_base_row_equals_a_row_the_source_has_not(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (2, 'b')")
    base = [row(1, op="D", id=1, v="a"), row(1, op="D", id=2, v="b")]

    compared = source.compare(TEXT, base, [{"id": 1}, {"id": 2}], soft=True)

    assert [Kind.MISSING] == [one.kind for one in compared.discrepancies]
    assert compared.tally.matched == 1


def test_a_key_that_is_not_one_row_of_the_source_is_reported(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint, v text)", "INSERT INTO t VALUES (1, 'a'), (1, 'b')")

    compared = source.compare(TEXT, [row(1, id=1, v="a")], [{"id": 1}])

    assert (Verdict.DIFFERENT, Kind.DUPLICATE) == (compared.verdict, compared.discrepancies[0].kind)


class LaxReader(PostgresReader):
    """A source whose collation takes 'a' for 'A'."""

    @contextmanager
    def snapshot(self) -> Iterator[Any]:
        class Snapshot:
            position = "0/10"

            def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
                return pa.table({KEY_NUMBER: pa.array([0], pa.int64()), "id": ["A"], "v": ["x"]})

        yield Snapshot()


def test_a_row_equal_to_a_key_only_by_collation_is_not_its_row(source: Source) -> None:
    source.run("CREATE TABLE t (id text, v text)")
    source.reader_type = LaxReader
    case = Case({"id": pa.string(), "v": pa.string()})

    compared = source.compare(case, [row(1, id="a", v="x")], [{"id": "a"}])

    assert (Kind.CHANGED, ("id",)) == (compared.discrepancies[0].kind, compared.discrepancies[0].columns)


@pytest.mark.parametrize(
    ("declared", "written", "type_", "key"),
    [
        ("uuid", "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", pa.string(),
         "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        ("numeric(20,0)", "18446744073709551615", pa.decimal128(20, 0), Decimal(18446744073709551615)),
        ("char(4)", "'ab'", pa.string(), "ab"),
        ("char(4)", "'ab'", pa.string(), "ab  "),
        ("timestamptz", "'2026-03-01 12:00:00.000001+00'", pa.timestamp("us", tz="UTC"),
         datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)),
        ("date", "'2026-03-01'", pa.date32(), date(2026, 3, 1)),
        ("bytea", "'\\x00'", pa.binary(), b"\x00"),
        ("boolean", "true", pa.string(), "true"),
        ("float8", "0.1", pa.float64(), 0.1),
        ("text", """'it''s {"a", \\ NULL}'""", pa.string(), """it's {"a", \\ NULL}"""),
        ("smallint", "7", pa.int32(), 7),
        ("numeric", "12.500", pa.decimal128(28, 6), Decimal("12.5")),
        ("numeric", "12", pa.decimal128(38, 0), Decimal(12)),
        ("elsewhere.mood", "'glad'", pa.string(), "glad"),
        ("elsewhere.code", "'a'", pa.string(), "a"),
    ],
    ids=repr,
)  # fmt: skip
def test_a_key_of_any_type_finds_its_row(
    source: Source, declared: str, written: str, type_: pa.DataType, key: object
) -> None:
    source.run(
        f"CREATE TABLE t (id {declared} PRIMARY KEY, v text)", f"INSERT INTO t VALUES ({written}, 'x')"
    )
    case = Case({"id": type_, "v": pa.string()})

    compared = source.compare(case, [row(1, id=key, v="x")], [{"id": key}])

    assert (Verdict.MATCH, 1) == (compared.verdict, compared.rows["source rows"])


def test_names_that_need_quoting_are_read(source: Source) -> None:
    source.run(
        'CREATE TABLE t ("Order" bigint PRIMARY KEY, "100% ""x""" text)', "INSERT INTO t VALUES (1, 'a')"
    )
    case = Case({"order": pa.int64(), "_100_x": pa.string()}, key=("order",))

    compared = source.compare(case, [row(1, order=1, _100_x="a")], [{"order": 1}])

    assert (Verdict.MATCH, ()) == (compared.verdict, compared.excluded)


def test_thousands_of_keys_are_read_in_chunks_and_every_one_is_compared(source: Source) -> None:
    source.run(
        "CREATE TABLE t (id bigint, part text, v text, PRIMARY KEY (id, part))",
        "INSERT INTO t SELECT g, 'p' || g % 3, md5(g::text) FROM generate_series(1, 7000) g",
    )
    case = Case({"id": pa.int64(), "part": pa.string(), "v": pa.string()}, key=("id", "part"))
    with psycopg.connect(source.dsn) as connection:
        rows = connection.execute("SELECT id, part, v FROM t").fetchall()
    base = [row(1, id=id_, part=part, v=v) for id_, part, v in rows if id_ != 6999]

    compared = source.compare(case, base, [{"id": id_, "part": part} for id_, part, _ in rows])

    assert (7000, 6999, 1) == (compared.tally.compared, compared.tally.matched, compared.tally.different)
    assert {"id": 6999, "part": "p0"} == compared.discrepancies[0].key


def test_the_source_is_read_in_one_snapshot(source: Source) -> None:
    source.run("CREATE TABLE t (id bigint PRIMARY KEY, v text)", "INSERT INTO t VALUES (1, 'a')")
    plan = source.reader.plan("public", "t", ("id",), pa.schema([("id", pa.int64()), ("v", pa.string())]))
    keys = pa.table({"id": pa.array([1], pa.int64())})

    with source.reader.snapshot() as snapshot:
        before = snapshot.rows_of(keys, plan).column("v").to_pylist()
        source.run("UPDATE t SET v = 'b'")
        after = snapshot.rows_of(keys, plan).column("v").to_pylist()

    assert (["a"], ["a"]) == (before, after)


def test_a_snapshot_cannot_write(source: Source) -> None:
    with source.reader.snapshot() as snapshot, pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        snapshot._connection.execute("CREATE TABLE mine (id int)")


def test_a_table_that_is_missing_is_named(source: Source) -> None:
    with pytest.raises(SourceUnavailable, match=r"public\.t: the source has no such table"):
        source.reader.plan("public", "t", ("id",), pa.schema([("id", pa.int64())]))


def test_a_key_column_the_source_lacks_is_named(source: Source) -> None:
    source.run("CREATE TABLE t (v text)")
    with pytest.raises(SourceUnavailable, match="merge key column 'id' cannot be compared"):
        source.reader.plan("public", "t", ("id",), pa.schema([("id", pa.int64())]))


@pytest.fixture
def limited(source: Source) -> Iterator[Source]:
    """The same database for a user without any right."""
    user = f"limited_{uuid.uuid4().hex[:12]}"
    source.run(
        "CREATE TABLE t (id bigint PRIMARY KEY, v text, secret text)",
        "INSERT INTO t VALUES (1, 'a', 's')",
        f"CREATE ROLE {user} LOGIN PASSWORD 'pw-of-limited'",
    )
    other = Source(psycopg.conninfo.make_conninfo(source.dsn, user=user, password="pw-of-limited"))
    other.owner, other.user = source, user  # type: ignore[attr-defined]
    yield other
    source.run(f"DROP OWNED BY {user}", f"DROP ROLE {user}")


BASE_OF_LIMITED = pa.schema([("id", pa.int64()), ("v", pa.string()), ("secret", pa.string())])


def test_a_column_that_may_not_be_read_is_named(limited: Any) -> None:
    limited.owner.run(f"GRANT SELECT (id, v) ON t TO {limited.user}")

    plan = limited.reader.plan("public", "t", ("id",), BASE_OF_LIMITED)

    assert {"secret": "column 'secret' may not be read by the reconciliation user"} == {
        column: refusal.what for column, refusal in plan.refused.items()
    }


def test_row_level_security_that_hides_rows_is_refused(limited: Any) -> None:
    limited.owner.run(f"GRANT SELECT ON t TO {limited.user}", "ALTER TABLE t ENABLE ROW LEVEL SECURITY")

    with pytest.raises(SourceUnavailable, match="row-level security hides rows"):
        limited.reader.plan("public", "t", ("id",), BASE_OF_LIMITED)


@pytest.mark.parametrize("change", ["password", "host"])
def test_a_source_that_cannot_be_reached_is_named_without_its_password(source: Source, change: str) -> None:
    wrong = {
        "password": {"user": "nobody", "password": "hush-hush"},
        "host": {"host": "127.0.0.1", "port": "1"},
    }
    dsn = psycopg.conninfo.make_conninfo(source.dsn, **{"password": "hush-hush", **wrong[change]})

    with pytest.raises(SourceUnavailable, match="cannot connect to the source") as caught:
        Source(dsn).reader.position()

    assert "hush-hush" not in str(caught.value)
    assert "connection" in str(caught.value)
