"""What the source's catalog says of a table, and the types that follow from it."""

from __future__ import annotations

import psycopg
import pytest

from cdc_platform.reconcile.postgres_catalog import describe_table, reads_ranges
from cdc_platform.reconcile.postgres_types import iceberg_type
from cdc_platform.reconcile.sources import SourceTable

pytestmark = pytest.mark.postgres


def described(dsn: str, *statements: str, table: str = "t") -> SourceTable | None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
        return describe_table(connection, "public", table)


def test_columns_come_in_order_with_the_iceberg_types_dms_gives_them(postgres_database: str) -> None:
    found = described(
        postgres_database,
        "CREATE DOMAIN amount AS numeric(12,3)",
        "CREATE DOMAIN total AS amount",
        "CREATE TYPE mood AS ENUM ('ok')",
        """CREATE TABLE t (
            a smallint, b integer, c bigint NOT NULL, d real, e double precision, f numeric, g numeric(10,2),
            h numeric(40,2), i total, j money, k boolean, l text, m varchar(5), n char(3), o bytea, p date,
            q time, r timestamp, s timestamptz, t uuid, u jsonb, v integer[], w mood, x interval,
            y numeric(3,-2))""",
    )

    assert found is not None
    types = {column.name: iceberg_type(column) for column in found.columns}
    expected = (
        "int int long float double decimal(28,6) decimal(10,2) string decimal(12,3) decimal(38,4) boolean "
        "string string string binary date time timestamptz timestamptz string string string string string "
        "decimal(5,0)"
    )
    assert dict(zip("abcdefghijklmnopqrstuvwxy", expected.split(), strict=True)) == types
    assert ["c"] == [column.name for column in found.columns if not column.nullable]


def test_the_primary_key_comes_in_its_own_order(postgres_database: str) -> None:
    found = described(postgres_database, 'CREATE TABLE t (a int, "B" int, c int, PRIMARY KEY (c, "B"))')

    assert found is not None
    assert ("c", "B") == found.primary_key


def test_a_table_without_a_primary_key_has_none(postgres_database: str) -> None:
    found = described(postgres_database, "CREATE TABLE t (a int UNIQUE)")

    assert found is not None
    assert () == found.primary_key


def test_dropped_columns_and_partitions_are_no_columns(postgres_database: str) -> None:
    found = described(
        postgres_database,
        "CREATE TABLE t (a int, b int, c int) PARTITION BY RANGE (a)",
        "ALTER TABLE t DROP COLUMN b",
    )

    assert found is not None
    assert ["a", "c"] == [column.name for column in found.columns]


def test_a_name_is_found_by_its_exact_case_only(postgres_database: str) -> None:
    assert described(postgres_database, "CREATE TABLE t (a int)", table="T") is None


@pytest.mark.parametrize(
    ("statements", "unique"),
    [
        (["CREATE TABLE t (a int PRIMARY KEY)", "CREATE TABLE u () INHERITS (t)"], ()),
        (["CREATE TABLE s (a int)", "CREATE TABLE t (PRIMARY KEY (a)) INHERITS (s)"], ("a",)),
        (
            [
                "CREATE TABLE t (a int PRIMARY KEY) PARTITION BY RANGE (a)",
                "CREATE TABLE u PARTITION OF t DEFAULT",
            ],
            ("a",),
        ),
        (
            [
                "CREATE TABLE t (a int NOT NULL) PARTITION BY RANGE (a)",
                "CREATE TABLE u PARTITION OF t DEFAULT",
                "ALTER TABLE ONLY t ADD PRIMARY KEY (a)",
            ],
            (),
        ),
    ],
    ids=["has a child", "is a child", "partitioned", "partitions not indexed yet"],
)
def test_a_primary_key_is_unique_of_what_is_read_where_it_spans_it(
    postgres_database: str, statements: list[str], unique: tuple[str, ...]
) -> None:
    found = described(postgres_database, *statements)

    assert found is not None
    assert unique == found.unique_key


@pytest.mark.parametrize(
    ("collation", "ranged"),
    [('pg_catalog."C"', True), ('elsewhere."C"', False), ('elsewhere."default"', False)],
)
def test_ranges_are_read_under_the_system_s_own_collations_alone(
    postgres_database: str, collation: str, ranged: bool
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        for statement in (
            "CREATE SCHEMA elsewhere",
            """CREATE COLLATION elsewhere."C" (provider = builtin, locale = 'C.UTF-8')""",
            """CREATE COLLATION elsewhere."default" (provider = builtin, locale = 'C.UTF-8')""",
            f"CREATE TABLE t (id text COLLATE {collation} PRIMARY KEY)",
            "INSERT INTO t SELECT to_char(n, 'FM0000') FROM generate_series(1, 100) n",
            "ANALYZE t",
        ):
            connection.execute(statement)
        table = describe_table(connection, "public", "t")
        assert table is not None

        assert ranged is reads_ranges(connection, table, ["id"])
