"""Where raw does not tell every change of a table, nothing is proven by what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psycopg
import pyarrow as pa
import pytest
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform.testing import write_change_file
from cdc_platform_tests.reconcile.shop import DAY, ToldPlatform
from cdc_platform_tests.reconcile.test_source_identity import MODES, ROWS, TYPES, ProvenShop, told

pytestmark = pytest.mark.postgres

CHILD = (
    "the source table has child tables, whose rows are read with it and whose changes are no changes of it"
)


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[ProvenShop]:
    found = ProvenShop(tmp_path, postgres_database, TYPES)
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text)",
        f"INSERT INTO item SELECT g, 'name ' || g FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    found.load_from_source()
    found.catch_up()
    yield found
    found.platform.lake.close()


def against_source(shop: ProvenShop, window: str = f"{DAY:%Y-%m-%d}") -> Comparison:
    return compare_window(shop.platform, "retail", "item", window).comparison(SOURCE_MATCHES_BASE)


def put_rows_into_a_child(shop: ProvenShop) -> None:
    shop.sql(
        "CREATE TABLE child (PRIMARY KEY (id)) INHERITS (item)",
        "WITH moved AS (DELETE FROM item WHERE id > 150 RETURNING *) INSERT INTO child SELECT * FROM moved",
    )


def test_a_change_of_a_child_table_of_which_no_file_tells_is_found_by_every_run(shop: ProvenShop) -> None:
    put_rows_into_a_child(shop)
    shop.prove("incremental")
    shop.sql("UPDATE child SET name = 'other' WHERE id = 155", "UPDATE child SET name = 'x' WHERE id = 290")

    verdict, carried, notes = told(shop.go_on("incremental"))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert CHILD in notes


@MODES
def test_a_change_of_an_unlogged_table_is_found_by_every_run(shop: ProvenShop, mode: str) -> None:
    shop.sql("ALTER TABLE item SET UNLOGGED", "ANALYZE item")
    shop.prove(mode)
    shop.sql("UPDATE item SET name = 'other' WHERE id = 1")

    verdict, carried, notes = told(shop.go_on(mode))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "the source table is unlogged" in notes


def test_a_window_of_a_table_with_a_child_table_is_not_verified(shop: ProvenShop) -> None:
    put_rows_into_a_child(shop)

    found = against_source(shop)

    assert (Verdict.UNVERIFIED, True) == (found.verdict, CHILD in found.reason)


def test_a_window_without_a_change_of_a_table_with_a_child_table_is_not_verified(shop: ProvenShop) -> None:
    put_rows_into_a_child(shop)

    found = against_source(shop, "2026-03-02")

    assert (Verdict.UNVERIFIED, True) == (found.verdict, CHILD in found.reason)


def test_a_key_that_changed_without_a_before_image_leaves_no_proof(shop: ProvenShop) -> None:
    shop.prove("incremental")
    shop.sql("UPDATE item SET id = 5000 WHERE id = 7")
    at = DAY.replace(minute=10)
    events = [{"Op": "U", "id": 5000, "name": "name 7"}]
    write_change_file(shop.raw, "public", "item", at=at, events=events, types=TYPES)
    shop.apply()

    verdict, carried, notes = told(shop.go_on("incremental"))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "its updates have no before image of the key" in notes


def test_inserts_without_before_images_end_no_proof(shop: ProvenShop) -> None:
    shop.prove("incremental")
    shop.sql("INSERT INTO item VALUES (5000, 'new')")
    shop.change({"Op": "I", "id": 5000, "name": "new"})
    shop.apply()

    verdict, carried, _ = told(shop.go_on("incremental"))

    assert (Verdict.MATCH, True) == (verdict, carried > 0)


def test_where_a_task_writes_inserts_alone_no_run_rests_on_what_raw_tells(shop: ProvenShop) -> None:
    source = shop.platform.config.sources["retail"]
    raw = source.raw.model_copy(update={"cdc_inserts_only": True})
    sources = {"retail": source.model_copy(update={"raw": raw})}
    shop.platform.lake.close()
    shop.platform = ToldPlatform(shop.platform.config.model_copy(update={"sources": sources}))
    shop.catch_up()
    shop.prove("incremental")
    shop.sql("UPDATE item SET name = 'other' WHERE id = 7")

    verdict, carried, notes = told(shop.go_on("incremental"))

    assert (Verdict.DIFFERENT, 0) == (verdict, carried)
    assert "the task writes inserts alone (CdcInsertsOnly)" in notes
    assert Verdict.UNVERIFIED is against_source(shop, "2026-03-02").verdict


@pytest.mark.parametrize(
    ("statements", "untold"),
    [
        (("CREATE TABLE seen (id bigint PRIMARY KEY, name text)",), ""),
        (("CREATE UNLOGGED TABLE seen (id bigint PRIMARY KEY, name text)",), "is unlogged"),
        (
            ("CREATE VIEW seen AS SELECT * FROM item",),
            "is a view, and changes of the tables below it are no changes of it",
        ),
        (
            ("CREATE MATERIALIZED VIEW seen AS SELECT * FROM item",),
            "is a materialized view, which capture does not follow",
        ),
        (
            (
                "CREATE FOREIGN DATA WRAPPER nowhere",
                "CREATE SERVER far FOREIGN DATA WRAPPER nowhere",
                "CREATE FOREIGN TABLE seen (id bigint NOT NULL, name text) SERVER far",
            ),
            "is a foreign table, which capture does not follow",
        ),
        (
            (
                "CREATE TABLE seen (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id)",
                "CREATE TABLE part PARTITION OF seen FOR VALUES FROM (0) TO (10)",
            ),
            "",
        ),
        (
            (
                "CREATE TABLE seen (id bigint PRIMARY KEY, name text) PARTITION BY RANGE (id)",
                "CREATE TABLE part PARTITION OF seen FOR VALUES FROM (0) TO (10) PARTITION BY RANGE (id)",
                "CREATE UNLOGGED TABLE half PARTITION OF part FOR VALUES FROM (0) TO (5)",
            ),
            "has a partition that is unlogged or foreign (half)",
        ),
    ],
)
def test_the_catalog_tells_which_tables_no_capture_follows(
    postgres_database: str, statements: tuple[str, ...], untold: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        for statement in ("CREATE TABLE item (id bigint PRIMARY KEY, name text)", *statements):
            connection.execute(statement)
    reader = PostgresReader(Connection(dsn=SecretStr(postgres_database)))
    held = pa.schema([("id", pa.int64()), ("name", pa.string())])

    assert untold == reader.plan("public", "seen", ["id"], held).table.untold
