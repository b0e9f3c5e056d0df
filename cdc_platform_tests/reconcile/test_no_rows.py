"""A table that is empty at the source, of which no file ever came: no row on either side, if that is sure."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from cdc_platform.fleet.figures import TableFigures
from cdc_platform.fleet.words import whole_sentence
from cdc_platform.pipeline import take_in
from cdc_platform.reconcile.full import FullOptions, reconcile_full, verification_ages
from cdc_platform.reconcile.recent_runs import recent_runs
from cdc_platform.reconcile.report import headline
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
ROW = {"id": 1, "v": "one"}
MODES: list[dict[str, Any]] = [{}, {"incremental": True}, {"keys_only": True}]


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """An empty table, all of whose changes were captured: there was none."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
    found.catch_up()
    yield found
    found.platform.lake.close()


@pytest.mark.parametrize("options", MODES)
def test_neither_side_has_a_row_so_they_are_equal(shop: WholeShop, options: dict[str, Any]) -> None:
    found = shop.compare(**options)

    (told,) = found.certificate["comparisons"]
    assert Verdict.MATCH is found.verdict
    assert "neither side has a row" in told["reason"]
    assert {"source rows": 0, "base rows": 0} == told["rows"]
    assert (None, True) == (found.certificate["snapshot_id"], bool(found.certificate["source_position"]))


def test_the_age_of_a_table_without_a_row_is_that_of_the_run_that_found_none(shop: WholeShop) -> None:
    never = verification_ages(shop.platform, "retail", "item")
    run = reconcile_full(shop.platform, "retail", "item", FullOptions())

    ages = verification_ages(shop.platform, "retail", "item")

    assert (None, False) == (never.oldest, never.is_kept)
    assert (run.started_at, run.started_at, True) == (ages.oldest, ages.last_run, ages.is_kept)
    later = replace(ages, now=run.started_at + timedelta(minutes=3))
    assert "neither side had a row 3.0 minutes ago" == later.sentence


def test_rows_that_came_since_a_table_was_found_empty_were_never_compared(shop: WholeShop) -> None:
    reconcile_full(shop.platform, "retail", "item", FullOptions())
    shop.change({"Op": "I", **ROW})
    shop.apply()

    ages = verification_ages(shop.platform, "retail", "item")

    assert (None, False) == (ages.oldest, ages.is_kept)
    assert "the table was never compared as a whole with its source" == ages.sentence


def test_the_report_and_the_page_of_the_table_say_that_there_is_no_row(shop: WholeShop) -> None:
    found = reconcile_full(shop.platform, "retail", "item", FullOptions())
    runs = recent_runs(shop.platform.objects("retail", "item"))

    said = whole_sentence(TableFigures("retail", "item", "public.item", runs=runs), found.certificate)

    assert "Neither base nor the source has a row." == headline(found)
    assert said.startswith("Of the whole table, held against the source, neither side has a row (source at ")


@pytest.mark.parametrize("options", MODES)
def test_a_base_whose_rows_were_all_deleted_is_equal_to_an_empty_source(
    shop: WholeShop, options: dict[str, Any]
) -> None:
    shop.change({"Op": "I", **ROW}, {"Op": "D", **ROW})
    shop.apply()

    found = shop.compare(**options)

    assert (Verdict.MATCH, True) == (found.verdict, bool(found.certificate["snapshot_id"]))
    assert {"source rows": 0, "base rows": 0} == found.comparisons[0].rows


def test_a_table_without_a_key_may_be_empty_on_both_sides(tmp_path: Path, postgres_database: str) -> None:
    shop = WholeShop(tmp_path, postgres_database, TYPES, merge_key=(), no_key="multiset")
    shop.sql("CREATE TABLE item (id bigint, v text)")
    shop.catch_up()

    assert Verdict.MATCH is shop.compare().verdict
    shop.platform.lake.close()


@pytest.mark.parametrize(
    ("position", "says"),
    [
        (None, "capture's position is not known"),
        ("0/1", "capture has come to 0/1"),
        ("FFFFFFFF/0", "beyond the source's own"),
    ],
)
def test_capture_that_has_not_told_all_there_was_proves_nothing(
    shop: WholeShop, position: str | None, says: str
) -> None:
    shop.platform.captured = lambda: position

    found = shop.compare()

    assert Verdict.UNVERIFIED is found.verdict
    assert says in found.comparisons[0].reason


def _accepted(shop: WholeShop) -> None:
    shop.load([ROW])
    take_in(shop.platform, "retail")


def _refused(shop: WholeShop) -> None:
    _write(shop, "LOAD00000001.parquet", b"no Parquet")
    shop.apply()


def _odd_name(shop: WholeShop) -> None:
    _write(shop, "what.parquet", b"")


def _only_remembered(shop: WholeShop) -> None:
    _accepted(shop)
    for path in shop.raw.rglob("*.parquet"):
        path.unlink()


def _write(shop: WholeShop, name: str, data: bytes) -> None:
    path = shop.raw / "public/item" / name
    path.parent.mkdir(parents=True)
    path.write_bytes(data)


@pytest.mark.parametrize(
    "happens", [lambda shop: shop.load([ROW]), _accepted, _refused, _odd_name, _only_remembered]
)
def test_a_file_of_the_table_may_tell_of_a_row_whatever_became_of_it(
    shop: WholeShop, happens: Callable[[WholeShop], None]
) -> None:
    happens(shop)

    for options in MODES:
        found = shop.compare(**options)
        assert Verdict.UNVERIFIED is found.verdict
        assert "base has no snapshot yet" in found.comparisons[0].reason


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO item VALUES (1, 'one')",
        "CREATE TABLE more () INHERITS (item); INSERT INTO more VALUES (1, 'one')",
    ],
)
def test_a_row_at_the_source_that_nobody_captured_is_no_match(shop: WholeShop, statement: str) -> None:
    shop.sql(statement)

    found = shop.compare()

    assert (Verdict.UNVERIFIED, True) == (found.verdict, "no snapshot yet" in found.comparisons[0].reason)


def test_a_table_the_source_does_not_have_is_an_error_and_not_empty(shop: WholeShop) -> None:
    shop.sql("DROP TABLE item")

    found = shop.compare()

    assert (Verdict.ERROR, True) == (found.verdict, "no such table" in found.comparisons[0].reason)


def test_a_table_whose_rows_are_hidden_is_an_error_and_not_empty(shop: WholeShop, tmp_path: Path) -> None:
    user = f"limited_{uuid.uuid4().hex[:12]}"
    shop.sql(
        "INSERT INTO item VALUES (1, 'one')",
        "ALTER TABLE item ENABLE ROW LEVEL SECURITY",
        f"CREATE ROLE {user} LOGIN PASSWORD 'pw-of-limited'",
        f"GRANT SELECT ON item TO {user}",
    )
    try:
        dsn = psycopg.conninfo.make_conninfo(shop.dsn or "", user=user, password="pw-of-limited")
        hidden = WholeShop(tmp_path, dsn, TYPES)
        hidden.platform.captured = shop.platform.captured
        found = hidden.compare()
        hidden.platform.lake.close()
    finally:
        shop.sql(f"DROP OWNED BY {user}", f"DROP ROLE {user}")

    assert Verdict.ERROR is found.verdict
    assert "row-level security hides rows" in found.comparisons[0].reason
