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
"""
ALTERED = {
    "columns": [
        (
            "item",
            "ALTER TABLE item RENAME a TO c; ALTER TABLE item RENAME b TO a; ALTER TABLE item RENAME c TO b",
        ),
        ("item", "ALTER TABLE item DROP b; ALTER TABLE item ADD b text DEFAULT 'new'"),
    ],
    "files": [
        ("item", "ALTER TABLE item ALTER b TYPE text USING upper(b)"),
        ("item", "TRUNCATE item"),
        ("item", "CLUSTER item USING item_pkey"),
        ("parted", "TRUNCATE part"),
    ],
    "types": [
        (table, "ALTER TYPE colour RENAME VALUE 'red' TO 'crimson'")
        for table in ("listed", "tinted", "painted")
    ],
    "parts": [
        ("parted", "CREATE TABLE more PARTITION OF parted FOR VALUES FROM (10) TO (20)"),
        ("parted", "ALTER TABLE parted DETACH PARTITION part"),
        (
            "parted",
            "ALTER TABLE parted DETACH PARTITION part;"
            "ALTER TABLE parted ATTACH PARTITION part FOR VALUES FROM (0) TO (10)",
        ),
        ("item", "CREATE TABLE child () INHERITS (item)"),
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
                connection.execute(statement)


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
    before = {table: shape(postgres_database, table) for table in ("item", "parted")}

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
