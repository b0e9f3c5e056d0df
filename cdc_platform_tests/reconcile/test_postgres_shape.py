"""What the catalog tells of changes that no change event carries."""

from __future__ import annotations

import uuid

import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.postgres_shape import shape_of
from cdc_platform.reconcile.sources import ReadPlan, Shape

pytestmark = pytest.mark.postgres

SETUP = """
    CREATE TYPE colour AS ENUM ('red', 'blue');
    CREATE DOMAIN tint AS colour;
    CREATE TYPE paint AS (coat colour, layers int);
    CREATE TABLE item (id bigint PRIMARY KEY, a text, b text, other text);
    INSERT INTO item SELECT g, 'a' || g, 'b' || g FROM generate_series(1, 10) g;
    CREATE TABLE listed (id bigint PRIMARY KEY, a colour[], b text);
    CREATE TABLE tinted (id bigint PRIMARY KEY, a tint, b text);
    CREATE TABLE painted (id bigint PRIMARY KEY, a paint, b text);
    CREATE TABLE parted (id bigint PRIMARY KEY, a text, b text) PARTITION BY RANGE (id);
    CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (10);
    CREATE FUNCTION shouted(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1 || ''!''';
    CREATE VIEW seen AS SELECT id, shouted(a) AS a, b FROM item;
    CREATE VIEW seen_tinted AS SELECT id, a::text AS a, b FROM tinted;
    CREATE VIEW seen_twice AS SELECT * FROM seen;
    CREATE TABLE more (id bigint PRIMARY KEY, a text, b text);
    CREATE FUNCTION whispered(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN lower($1);
    CREATE FUNCTION told(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN whispered($1);
    CREATE VIEW seen_told AS SELECT id, told(a) AS a, b FROM more;
    CREATE OPERATOR !! (FUNCTION = whispered, RIGHTARG = text);
    CREATE VIEW seen_by_operator AS SELECT id, !! a AS a, b FROM more;
    CREATE FUNCTION first_of(text, text) RETURNS text IMMUTABLE LANGUAGE sql RETURN coalesce($1, $2);
    CREATE AGGREGATE any_of(text) (SFUNC = first_of, STYPE = text);
    CREATE VIEW seen_any AS SELECT id, any_of(a) AS a, any_of(b) AS b FROM more GROUP BY id;
    CREATE FUNCTION hidden(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS
        'BEGIN RETURN whispered($1)~ END';
    CREATE VIEW seen_hidden AS SELECT id, hidden(a) AS a, b FROM more;
    CREATE FUNCTION looked_up(bigint) RETURNS text STABLE LANGUAGE sql BEGIN ATOMIC
        SELECT c.b FROM listed c WHERE c.id = $1 ~ END;
    CREATE VIEW seen_looked_up AS SELECT id, looked_up(id) AS a, b FROM more;
"""
ALTERED = {
    "columns": [
        (
            "item",
            "ALTER TABLE item RENAME a TO c; ALTER TABLE item RENAME b TO a; ALTER TABLE item RENAME c TO b",
        ),
        ("item", "ALTER TABLE item DROP b CASCADE; ALTER TABLE item ADD b text DEFAULT 'new'"),
    ],
    "files": [
        ("item", "DROP VIEW seen CASCADE; ALTER TABLE item ALTER b TYPE text USING upper(b)"),
        ("item", "TRUNCATE item"),
        ("item", "CLUSTER item USING item_pkey"),
        ("parted", "TRUNCATE part"),
        ("seen", "TRUNCATE item"),
        ("seen_twice", "TRUNCATE item"),
        ("seen_looked_up", "TRUNCATE listed"),
    ],
    "types": [
        (table, "ALTER TYPE colour RENAME VALUE 'red' TO 'crimson'")
        for table in ("listed", "tinted", "painted", "seen_tinted")
    ],
    "parts": [
        ("parted", "CREATE TABLE another PARTITION OF parted FOR VALUES FROM (10) TO (20)"),
        ("parted", "ALTER TABLE parted DETACH PARTITION part"),
        (
            "parted",
            "ALTER TABLE parted DETACH PARTITION part;"
            "ALTER TABLE parted ATTACH PARTITION part FOR VALUES FROM (0) TO (10)",
        ),
        ("item", "CREATE TABLE child () INHERITS (item)"),
    ],
    "views": [
        ("seen", "CREATE OR REPLACE VIEW seen AS SELECT id, upper(a) AS a, b FROM item"),
        ("seen_twice", "CREATE OR REPLACE VIEW seen AS SELECT id, upper(a) AS a, b FROM item"),
        (
            "seen",
            "CREATE OR REPLACE FUNCTION shouted(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1'",
        ),
        *(
            (view, "CREATE OR REPLACE FUNCTION whispered(text) RETURNS text IMMUTABLE LANGUAGE sql RETURN $1")
            for view in ("seen_told", "seen_by_operator", "seen_hidden", "seen")
        ),
        (
            "seen_any",
            "CREATE OR REPLACE FUNCTION first_of(text, text) RETURNS text IMMUTABLE LANGUAGE sql "
            "RETURN coalesce($2, $1)",
        ),
        (
            "seen_any",
            "CREATE OR REPLACE AGGREGATE any_of(text) (SFUNC = first_of, STYPE = text, INITCOND = 'x')",
        ),
    ],
}
CASES = [(fact, table, statement) for fact, cases in ALTERED.items() for table, statement in cases]


@pytest.fixture(scope="module")
def prepared(postgres_server: EmbeddedPostgres) -> str:
    """The DSN of a database with the tables, which tests leave as they are."""
    dsn = postgres_server.create_database(f"shapes_{uuid.uuid4().hex[:12]}")
    run(dsn, SETUP)
    return dsn


def plan_of(dsn: str, table: str) -> ReadPlan:
    reader = PostgresReader(Connection(dsn=SecretStr(dsn)))
    held = pa.schema([("id", pa.int64()), ("a", pa.string()), ("b", pa.string())])
    return reader.plan("public", table, ["id"], held)


def shape(dsn: str, table: str) -> Shape:
    return plan_of(dsn, table).shape_read


def run(dsn: str, statements: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements.split(";"):
            if statement.strip():
                # a tilde ends a statement within a body
                connection.execute(statement.replace("~", ";"))


@pytest.mark.parametrize(("fact", "table", "statement"), CASES)
def test_what_no_event_carries_changes_a_fact(prepared: str, fact: str, table: str, statement: str) -> None:
    with psycopg.connect(prepared) as connection:
        before = shape_of(connection, "public", table)
        connection.execute(statement)
        after = shape_of(connection, "public", table)
        connection.rollback()

    changed = {name for name in before if before[name] != after[name]}
    # a partition that came or went is a file that did
    assert {fact} == changed - ({"files"} if fact == "parts" else set())


def test_changes_of_rows_and_upkeep_and_of_columns_nobody_compares_change_no_fact(
    postgres_database: str,
) -> None:
    run(postgres_database, SETUP)
    before = {table: shape(postgres_database, table) for table in ("item", "parted", "seen")}

    run(
        postgres_database,
        "UPDATE item SET a = 'x'; DELETE FROM item WHERE id = 2; INSERT INTO parted VALUES (1, 'a', 'b');"
        "VACUUM item; ANALYZE item; ANALYZE parted; CREATE INDEX ON item (a); GRANT SELECT ON item TO PUBLIC;"
        "ALTER TABLE item RENAME other TO another; ALTER TABLE item DROP another;"
        "ALTER TABLE item ADD more int",
    )

    assert before == {table: shape(postgres_database, table) for table in before}


@pytest.mark.parametrize("is_open", [False, True])
def test_a_table_truncated_between_the_plan_and_the_first_row_read_is_refused(
    postgres_database: str, is_open: bool
) -> None:
    run(postgres_database, SETUP)
    plan = plan_of(postgres_database, "item")
    reader = PostgresReader(Connection(dsn=SecretStr(postgres_database)))
    if not is_open:
        run(postgres_database, "TRUNCATE item")

    with reader.snapshot() as snapshot:
        if is_open:
            run(postgres_database, "TRUNCATE item")
        with pytest.raises(SourceUnavailable, match="now altered, truncated or rewritten"):
            list(snapshot.rows_between(None, None, plan))


UNSEEN = {
    "clock_of_day": "SELECT id, a, b FROM item WHERE id < extract(day FROM CURRENT_DATE)",
    "clock": "SELECT id, now()::text AS a, b FROM item",
    "chance": "SELECT id, random()::text AS a, b FROM item",
    "lookup": "SELECT id, stable_of(a) AS a, b FROM item",
    "by_way": "SELECT id, by_way(a) AS a, b FROM item",
}


@pytest.mark.parametrize("view", UNSEEN)
def test_a_view_that_reads_the_clock_or_calls_what_may_read_anything_changes_unseen(
    prepared: str, view: str
) -> None:
    with psycopg.connect(prepared) as connection:
        connection.execute(
            "CREATE FUNCTION stable_of(text) RETURNS text STABLE LANGUAGE sql AS 'SELECT b FROM listed'"
        )
        connection.execute("CREATE FUNCTION by_way(text) RETURNS text LANGUAGE sql RETURN stable_of($1)")
        connection.execute(f"CREATE VIEW {view} AS {UNSEEN[view]}")
        found = shape_of(connection, "public", view)["unseen"]
        connection.rollback()

    assert found.keys() == {""}


@pytest.mark.parametrize("table", ["item", "parted", "seen", "seen_told", "seen_looked_up", "seen_hidden"])
def test_of_tables_and_of_views_over_functions_that_promise_it_nothing_changes_unseen(
    prepared: str, table: str
) -> None:
    with psycopg.connect(prepared) as connection:
        assert {} == shape_of(connection, "public", table)["unseen"]
