"""What base has of a type without one of its own: the text PostgreSQL itself writes, not a cast to text.

The oracle is COPY in its text format, written by the types' output functions, as logical decoding is.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import psycopg
import pyarrow as pa
import pytest

from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.reconcile.verdict import Kind, Verdict
from cdc_platform_tests.reconcile.test_source_base import Source
from cdc_platform_tests.reconcile.witnesses import Case, row

pytestmark = pytest.mark.postgres

#: Types of a schema on the path and of another, with casts to text that are not what is written of a value.
OWN_TYPES = (
    "CREATE SCHEMA elsewhere",
    "CREATE TYPE mood AS ENUM ('ok', 'ok2', 'sad')",
    """CREATE FUNCTION label(mood) RETURNS text LANGUAGE sql IMMUTABLE AS
       $$ SELECT CASE $1 WHEN 'ok2' THEN 'ok' ELSE enum_out($1)::text END $$""",
    "CREATE CAST (mood AS text) WITH FUNCTION label(mood)",
    "CREATE TYPE pair AS (a int, b text)",
    "CREATE FUNCTION label(pair) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a pair' $$",
    "CREATE CAST (pair AS text) WITH FUNCTION label(pair) AS IMPLICIT",
    "CREATE TYPE elsewhere.text AS ENUM ('a', 'b')",
    "CREATE FUNCTION elsewhere.label(elsewhere.text) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a' $$",
    "CREATE CAST (elsewhere.text AS text) WITH FUNCTION elsewhere.label(elsewhere.text)",
    "CREATE TYPE elsewhere.bool AS ENUM ('t')",
    "CREATE TYPE span AS RANGE (subtype = inet)",
    "CREATE DOMAIN address AS inet",
    "CREATE DOMAIN inner_address AS address",
    "CREATE DOMAIN feeling AS mood",
    "CREATE DOMAIN addresses AS inet[]",
)
VALUES = [
    ("inet", "10.0.0.1"),
    ("inet", "10.0.0.0/8"),
    ("inet", "::1"),
    ("cidr", "10.0.0.0/8"),
    ("address", "10.0.0.1"),
    ("inner_address", "10.0.0.1"),
    ("mood", "ok2"),
    ("feeling", "ok2"),
    ("pair", '(1,"a b")'),
    ("pair", "(1,)"),
    ("pair", "(,)"),
    ("elsewhere.text", "b"),
    ("elsewhere.bool", "t"),
    ("inet[]", "{10.0.0.1,NULL}"),
    ("addresses", "{10.0.0.1}"),
    ("mood[]", "{ok2,ok}"),
    ("span", "[10.0.0.1,10.0.0.9)"),
    ('"char"', "\\303"),
    ("refcursor", ""),
    ("uuid", "6e6ba2e4-0000-0000-0000-00000000000a"),
    ("jsonb", '{"a": "%s {}"}'),
    ("interval", "1 mon -2 days"),
    ("bit(3)", "101"),
    ("numeric(50,2)", "12345678901234567890123456789012345678901234.10"),
]
KEYS = [
    one for one in VALUES if one[0] not in ("bit(3)", "numeric(50,2)", "jsonb", "refcursor", '"char"', "pair")
]


@pytest.fixture(scope="module")
def database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    name = f"own_text_{uuid.uuid4().hex[:12]}"
    dsn = postgres_server.create_database(name)
    Source(dsn).run(*OWN_TYPES)
    yield dsn
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def source(database: str) -> Iterator[Source]:
    yield Source(database)
    Source(database).run("DROP TABLE IF EXISTS t")


def copied(source: Source, column: str) -> list[str | None]:
    """Return what COPY writes of a column, in the order of rows."""
    # the separator is in none of the values, so that nothing but a backslash is escaped
    query = f"COPY (SELECT {column} FROM t) TO STDOUT (DELIMITER E'\\x01')"
    with psycopg.connect(source.dsn) as connection, connection.cursor().copy(query) as copy:
        lines = [bytes(line).decode().removesuffix("\n") for line in copy]
    return [None if line == "\\N" else line.replace("\\\\", "\\") for line in lines]


def streamed(source: Source, columns: pa.Schema, name: str) -> list[str | None]:
    """Return a column as a whole table's comparison reads it."""
    plan = source.reader.plan("public", "t", ("id",), columns)
    with source.reader.snapshot() as snapshot:
        batches = list(snapshot.rows_between(None, None, plan))
    return [value for batch in batches for value in batch.column(name).to_pylist()]


@pytest.mark.parametrize(("declared", "value"), VALUES, ids=lambda one: str(one))
def test_a_value_is_read_as_a_copy_writes_it(source: Source, declared: str, value: str) -> None:
    source.run(f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared})")
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO t VALUES (1, %s), (2, NULL)", [value])
    written = copied(source, "v")
    case = Case({"id": pa.int64(), "v": pa.string()})

    found = streamed(source, pa.schema([("id", pa.int64()), ("v", pa.string())]), "v")
    compared = source.compare(
        case, [row(1, id=n, v=v) for n, v in enumerate(written, start=1)], [{"id": 1}, {"id": 2}]
    )

    assert ([value, None], written, Verdict.MATCH, 2) == (
        written,
        found,
        compared.verdict,
        compared.rows["source rows"],
    )


@pytest.mark.parametrize(("declared", "value"), KEYS, ids=lambda one: str(one))
def test_a_key_is_looked_up_by_what_a_copy_writes_of_it(source: Source, declared: str, value: str) -> None:
    source.run(f"CREATE TABLE t (id {declared} PRIMARY KEY)")
    with psycopg.connect(source.dsn, autocommit=True) as connection:
        connection.execute("INSERT INTO t VALUES (%s)", [value])

    compared = source.compare(Case({"id": pa.string()}), [row(1, id=value)], [{"id": value}])

    assert ([value], Verdict.MATCH, 1) == (
        streamed(source, pa.schema([("id", pa.string())]), "id"),
        compared.verdict,
        compared.rows["source rows"],
    )


@pytest.mark.parametrize("declared", ["mood", "feeling"])
def test_values_that_a_cast_to_text_makes_one_differ(source: Source, declared: str) -> None:
    source.run(f"CREATE TABLE t (id bigint PRIMARY KEY, v {declared})", "INSERT INTO t VALUES (1, 'ok2')")
    case = Case({"id": pa.int64(), "v": pa.string()})

    compared = source.compare(case, [row(1, id=1, v="ok")], [{"id": 1}])

    assert (Verdict.DIFFERENT, Kind.CHANGED, ("v",)) == (
        compared.verdict,
        compared.discrepancies[0].kind,
        compared.discrepancies[0].columns,
    )


def test_a_key_without_equality_is_compared_by_what_is_written_of_it(source: Source) -> None:
    source.run(
        "CREATE TYPE spot AS (at point)",
        "CREATE FUNCTION label(spot) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT 'a spot' $$",
        "CREATE CAST (spot AS text) WITH FUNCTION label(spot)",
        "CREATE TABLE t (id spot, v text)",
        """INSERT INTO t VALUES ('("(1,2)")', 'a')""",
    )
    case = Case({"id": pa.string(), "v": pa.string()})

    compared = source.compare(case, [row(1, id='("(1,2)")', v="a")], [{"id": '("(1,2)")'}])

    assert (Verdict.MATCH, 1) == (compared.verdict, compared.rows["source rows"])


@pytest.mark.parametrize("declared", ["grade", "graded"])
def test_a_key_is_found_whatever_a_cast_of_text_makes_of_it(source: Source, declared: str) -> None:
    source.run(
        "DROP TYPE IF EXISTS grade CASCADE",
        "CREATE TYPE grade AS ENUM ('a', 'b')",
        "CREATE DOMAIN graded AS grade",
        "CREATE OR REPLACE FUNCTION graded(text) RETURNS grade LANGUAGE sql AS $$ SELECT 'b'::grade $$",
        "CREATE CAST (text AS grade) WITH FUNCTION graded(text)",
        f"CREATE TABLE t (id {declared} PRIMARY KEY)",
        "INSERT INTO t VALUES ('a')",
    )

    compared = source.compare(Case({"id": pa.string()}), [row(1, id="a")], [{"id": "a"}])

    assert (Verdict.MATCH, 1) == (compared.verdict, compared.rows["source rows"])


def test_a_key_that_is_equal_and_written_otherwise_is_neither_missing_nor_unexpected(source: Source) -> None:
    source.run("CREATE TABLE t (id interval PRIMARY KEY, v text)", "INSERT INTO t VALUES ('1 mon', 'a')")
    case = Case({"id": pa.string(), "v": pa.string()})

    compared = source.compare(case, [row(1, id="30 days", v="a")], [{"id": "30 days"}])
    (found,) = compared.discrepancies

    assert (Verdict.DIFFERENT, Kind.CHANGED, ("id",), {"id": "1 mon"}, {"id": "30 days"}) == (
        found.verdict,
        found.kind,
        found.columns,
        {"id": (found.expected or {})["id"]},
        {"id": (found.actual or {})["id"]},
    )
    assert "equal by its type and written otherwise" in found.reason


def test_a_key_that_was_written_otherwise_and_is_gone_from_base_is_no_difference(source: Source) -> None:
    source.run("CREATE TABLE t (id interval PRIMARY KEY, v text)", "INSERT INTO t VALUES ('1 mon', 'a')")
    case = Case({"id": pa.string(), "v": pa.string()})

    compared = source.compare(case, [row(1, id="1 mon", v="a")], [{"id": "30 days"}, {"id": "1 mon"}])

    assert (Verdict.MATCH, 2) == (compared.verdict, compared.tally.matched)
