"""Reconciling a window on the real platform: raw files in a folder, an Iceberg lake, a real PostgreSQL."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.lake.quarantine import discard, list_items
from cdc_platform.pipeline import complete_load, reconcile, take_in
from cdc_platform.reconcile.results import latest_verdicts
from cdc_platform.reconcile.verdict import Kind, Reconciliation, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import DAY, ItemShop, log_position

pytestmark = pytest.mark.postgres

WINDOW, NEXT_WINDOW = "2026-03-01", "2026-03-02"
TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string(), "price": pa.decimal128(10, 2)}


class Shop(ItemShop):
    """One table, its raw folder, its base and its source."""

    def load(self, *rows: dict[str, Any], at: datetime = DAY) -> None:
        write_load_file(self.raw, "public", "item", rows, at=at, types=TYPES)

    def change(self, *events: dict[str, Any], minutes: int = 10, types: Any = None) -> None:
        moment = DAY + timedelta(minutes=minutes)
        write_change_file(self.raw, "public", "item", at=moment, events=events, types=types or TYPES)

    def reconcile(self, window: str = WINDOW) -> Reconciliation:
        return compare_window(self.platform, "retail", "item", window)

    def verdicts(self, window: str = WINDOW) -> tuple[Verdict, Verdict]:
        found = self.reconcile(window)
        return found.comparison("raw_matches_base").verdict, found.comparison("source_matches_base").verdict


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    """Two rows loaded, one changed, one inserted; source, raw and base agree."""
    found = Shop(tmp_path, postgres_database)
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item VALUES (1, 'pen', 1.50), (2, 'ink', 3), (3, 'nib', NULL)",
    )
    found.load(
        {"id": 1, "name": "pen", "price": Decimal("1")}, {"id": 2, "name": "ink", "price": Decimal("3")}
    )
    found.change(
        {"Op": "U", "id": 1, "name": "pen", "price": Decimal("1.5")}, {"id": 3, "name": "nib", "price": None}
    )
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


def test_a_window_whose_three_witnesses_agree_matches(shop: Shop) -> None:
    found = shop.reconcile()

    assert (Verdict.MATCH, Verdict.MATCH, Verdict.MATCH) == (
        found.verdict,
        *(comparison.verdict for comparison in found.comparisons),
    )
    assert [3, 3] == [comparison.tally.matched for comparison in found.comparisons]


def test_a_run_is_recorded_with_its_report_and_the_next_one_shows_it(shop: Shop) -> None:
    first = reconcile(shop.platform, "retail", "item", WINDOW)
    shop.tamper("DELETE FROM base WHERE id = 2")
    second = reconcile(shop.platform, "retail", "item", WINDOW)

    assert first.report is not None
    assert second.report is not None
    assert first.run_id in Path(second.report).read_text()
    assert first.run_id not in "".join(Path(first.report).read_text().partition("<h2>Runs")[0])
    assert {("retail", "item"): {WINDOW: "DIFFERENT"}} == latest_verdicts(shop.platform.lake)


def test_a_window_that_is_none_is_refused_with_the_form_of_one(shop: Shop) -> None:
    with pytest.raises(ConfigError, match="'yesterday' is not a daily window"):
        shop.reconcile("yesterday")


def test_the_certificate_says_what_was_compared_with_what(shop: Shop) -> None:
    certificate = json.loads(json.dumps(shop.reconcile().certificate))

    base = shop.platform.lake.load("retail", "item")
    assert base is not None
    assert str(base.current_snapshot().snapshot_id) == certificate["snapshot_id"]  # type: ignore[union-attr]
    assert "/" in certificate["source_position"]
    assert ("retail", "public.item", WINDOW, "MATCH") == (
        certificate["source"],
        certificate["table"],
        certificate["window"]["key"],
        certificate["verdict"],
    )
    raw, source = certificate["comparisons"]
    assert ["id", "name", "price"] == [column["name"] for column in raw["columns"]]
    assert {"source rows": 3, "base rows": 3} == source["rows"]
    assert certificate["not_covered"]


def test_a_tampered_base_row_is_found_by_both_comparisons_with_both_values(shop: Shop) -> None:
    shop.tamper("UPDATE base SET name = 'pencil' WHERE id = 1")

    found = shop.reconcile()

    assert Verdict.DIFFERENT is found.verdict
    for comparison in found.comparisons:
        (one,) = comparison.discrepancies
        assert (Kind.CHANGED, ("name",), "pen", "pencil") == (
            one.kind,
            one.columns,
            one.expected["name"],  # type: ignore[index]
            one.actual["name"],  # type: ignore[index]
        )


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("DELETE FROM base WHERE id = 2", Kind.MISSING),
        ("INSERT INTO base FROM base WHERE id = 2", Kind.DUPLICATE),
        ("UPDATE base SET price = NULL WHERE id = 2", Kind.CHANGED),
        ("UPDATE base SET id = 22 WHERE id = 2", Kind.MISSING),
    ],
)
def test_whatever_is_done_to_base_behind_the_platforms_back_is_found(
    shop: Shop, statement: str, kind: Kind
) -> None:
    shop.tamper(statement)

    found = shop.reconcile()

    assert [(Verdict.DIFFERENT, kind)] * 2 == [
        (c.verdict, c.discrepancies[0].kind) for c in found.comparisons
    ]


def test_a_change_capture_lost_is_found_against_the_source_only(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")
    shop.catch_up()

    assert (Verdict.MATCH, Verdict.DIFFERENT) == shop.verdicts()


def test_a_change_not_captured_yet_is_in_flight(shop: Shop) -> None:
    shop.fall_behind()
    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")

    found = shop.reconcile()

    assert [Verdict.MATCH, Verdict.IN_FLIGHT] == [comparison.verdict for comparison in found.comparisons]
    assert "capture has come to" in found.comparisons[1].discrepancies[0].reason


def test_without_a_captured_position_neither_equality_nor_a_difference_is_verified(shop: Shop) -> None:
    shop.platform.captured = lambda: None
    assert (Verdict.MATCH, Verdict.UNVERIFIED) == shop.verdicts()

    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")
    assert (Verdict.MATCH, Verdict.UNVERIFIED) == shop.verdicts()


def test_a_file_accepted_and_not_applied_leaves_its_keys_in_flight(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")
    shop.change({"Op": "U", "id": 1, "name": "gel pen", "price": Decimal("1.5")}, minutes=20)
    take_in(shop.platform, "retail")
    shop.catch_up()

    assert (Verdict.IN_FLIGHT, Verdict.IN_FLIGHT) == shop.verdicts()
    shop.apply()
    assert (Verdict.MATCH, Verdict.MATCH) == shop.verdicts()


def test_a_file_of_another_window_not_applied_yet_holds_back_only_the_source_comparison(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")
    shop.change({"Op": "U", "id": 1, "name": "gel pen", "price": Decimal("1.5")}, minutes=24 * 60)
    take_in(shop.platform, "retail")
    shop.catch_up()

    found = shop.reconcile()

    assert [Verdict.MATCH, Verdict.IN_FLIGHT] == [comparison.verdict for comparison in found.comparisons]
    assert 1 == found.comparisons[1].tally.in_flight
    shop.apply()
    found = shop.reconcile()
    assert [Verdict.MATCH, Verdict.MATCH] == [comparison.verdict for comparison in found.comparisons]
    assert 1 == found.comparisons[0].tally.superseded


def test_a_file_nobody_accepted_yet_makes_no_difference_final(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")
    shop.change({"Op": "U", "id": 1, "name": "gel pen", "price": Decimal("1.5")}, minutes=20)
    shop.catch_up()

    assert (Verdict.IN_FLIGHT, Verdict.IN_FLIGHT) == shop.verdicts()


def test_a_file_that_becomes_visible_while_the_source_is_read_is_seen(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'gel pen' WHERE id = 1")

    def capture() -> str:
        shop.change({"Op": "U", "id": 1, "name": "gel pen", "price": Decimal("1.5")}, minutes=24 * 60)
        return log_position(shop.dsn or "")

    shop.platform.captured = capture

    assert (Verdict.MATCH, Verdict.IN_FLIGHT) == shop.verdicts()


def test_deletes_and_key_changes_agree_with_the_source(shop: Shop) -> None:
    shop.sql("DELETE FROM item WHERE id = 2", "UPDATE item SET id = 30 WHERE id = 3")
    shop.change(
        {"Op": "D", "id": 2, "name": None, "price": None, "BI_id": 2},
        {"Op": "U", "id": 30, "name": "nib", "price": None, "BI_id": 3},
        minutes=20,
    )
    shop.apply()
    shop.catch_up()

    found = shop.reconcile()

    assert Verdict.MATCH is found.verdict
    assert [4, 4] == [comparison.tally.matched for comparison in found.comparisons]


def test_a_row_deleted_in_a_later_window_is_explained_by_its_tombstone(shop: Shop) -> None:
    shop.sql("DELETE FROM item WHERE id = 1")
    shop.change({"Op": "D", "id": 1, "name": None, "price": None}, minutes=24 * 60)
    shop.apply()
    shop.catch_up()

    assert (Verdict.MATCH, Verdict.MATCH) == shop.verdicts()
    assert (Verdict.MATCH, Verdict.MATCH) == shop.verdicts(NEXT_WINDOW)


def test_a_reload_supersedes_what_it_does_not_contain(shop: Shop) -> None:
    shop.sql("DELETE FROM item WHERE id = 2")
    shop.load(
        {"id": 1, "name": "pen", "price": Decimal("1.5")},
        {"id": 3, "name": "nib", "price": None},
        at=DAY + timedelta(days=1),
    )
    shop.apply()
    complete_load(shop.platform, "retail", "item")
    shop.apply()
    shop.catch_up()

    first, second = shop.reconcile(), shop.reconcile(NEXT_WINDOW)

    assert (Verdict.MATCH, Verdict.MATCH) == (first.verdict, second.verdict)
    assert "superseded generations" in first.comparisons[0].notes[0]


def test_a_column_added_later_is_null_in_older_rows_and_compared_in_newer(shop: Shop) -> None:
    shop.sql("ALTER TABLE item ADD COLUMN colour text", "UPDATE item SET colour = 'red' WHERE id = 1")
    shop.change(
        {"Op": "U", "id": 1, "name": "pen", "price": Decimal("1.5"), "colour": "red"},
        minutes=20,
        types={**TYPES, "colour": pa.string()},
    )
    shop.apply()
    shop.catch_up()

    found = shop.reconcile()

    assert Verdict.MATCH is found.verdict
    assert "colour" in found.comparisons[1].columns


def test_a_quarantined_row_stands_against_a_match_until_it_is_discarded(shop: Shop) -> None:
    good = {"Op": "U", "id": 1, "name": "pen", "price": Decimal("1.50")}
    shop.change({"Op": "X", "id": 9, "name": "?", "price": Decimal(1)}, good, good, minutes=20)
    shop.apply()
    shop.catch_up()

    assert (Verdict.UNVERIFIED, Verdict.UNVERIFIED) == shop.verdicts()
    (item,) = list_items(shop.platform.lake, "retail", "item")
    discard(shop.platform.lake, "retail", "item", item.id)
    assert (Verdict.MATCH, Verdict.MATCH) == shop.verdicts()


@pytest.mark.parametrize("name", ["20260301-130000000.parquet", "final(2).parquet"])
def test_a_file_that_was_given_up_is_named_by_the_window_it_is_of(shop: Shop, name: str) -> None:
    path = shop.raw / "public/item" / name
    path.write_bytes(b"PAR1 not parquet PAR1")
    at = datetime(2026, 3, 1, 13, tzinfo=UTC).timestamp()
    os.utime(path, (at, at))
    shop.apply()
    shop.catch_up()
    (item,) = list_items(shop.platform.lake, "retail", "item")
    discard(shop.platform.lake, "retail", "item", item.id)

    found = shop.reconcile().comparisons[0]

    assert (Verdict.MATCH, (f"public/item/{name}",)) == (found.verdict, found.given_up)
    assert "1 file discarded from quarantine, not compared" in found.reason


def test_a_quarantined_file_stands_against_a_match(shop: Shop) -> None:
    (shop.raw / "public/item/20260301-130000000.parquet").write_bytes(b"PAR1 not parquet PAR1")
    shop.apply()
    shop.catch_up()

    assert (Verdict.UNVERIFIED, Verdict.UNVERIFIED) == shop.verdicts()


def test_a_raw_file_that_vanished_after_it_was_applied_is_not_verified(shop: Shop) -> None:
    (shop.raw / "public/item/LOAD00000001.parquet").unlink()

    found = shop.reconcile()

    assert Verdict.UNVERIFIED is found.comparisons[0].verdict
    assert "can no longer be read" in found.comparisons[0].reason


def test_an_empty_window_matches_over_zero_keys_where_capture_has_passed_it(shop: Shop) -> None:
    found = shop.reconcile("2026-03-05")

    assert Verdict.MATCH is found.verdict
    assert "raw was listed and holds no file of it" in found.comparisons[0].reason
    assert "no key was changed in this window" == found.comparisons[1].reason
    assert "/" in found.certificate["source_position"]


def test_a_raw_location_that_cannot_be_listed_is_an_error_never_a_match(shop: Shop) -> None:
    shop.raw.rename(shop.raw.with_name("elsewhere"))

    found = shop.reconcile("2026-03-05")

    assert [Verdict.ERROR, Verdict.ERROR] == [comparison.verdict for comparison in found.comparisons]


def test_a_source_that_cannot_be_reached_is_an_error_and_raw_is_compared_all_the_same(
    shop: Shop, tmp_path: Path
) -> None:
    away = Shop(tmp_path, "postgresql://etl:hush-hush@127.0.0.1:1/shop")

    found = away.reconcile()

    assert [Verdict.MATCH, Verdict.ERROR] == [comparison.verdict for comparison in found.comparisons]
    assert Verdict.ERROR is found.verdict
    assert "hush-hush" not in found.comparisons[1].reason
    assert "cannot connect to the source" in found.comparisons[1].reason


def test_a_source_without_a_connection_is_not_verified(shop: Shop, tmp_path: Path) -> None:
    assert (Verdict.MATCH, Verdict.UNVERIFIED) == Shop(tmp_path, None).verdicts()


def test_a_table_dropped_at_the_source_is_an_error(shop: Shop) -> None:
    shop.sql("DROP TABLE item")

    assert (Verdict.MATCH, Verdict.ERROR) == shop.verdicts()


def test_a_window_whose_rows_have_values_of_a_dropped_column_is_no_match_unless_it_is_left_out(
    shop: Shop, tmp_path: Path
) -> None:
    shop.sql("ALTER TABLE item DROP COLUMN price")
    chosen = Shop(tmp_path, shop.dsn, not_compared=("price",))
    chosen.platform.captured = shop.platform.captured

    found, meant = shop.reconcile(), chosen.reconcile()

    assert [Verdict.MATCH, Verdict.UNVERIFIED] == [one.verdict for one in found.comparisons]
    assert "price (in base and not in the source: dropped there" in found.comparisons[1].reason
    assert Verdict.MATCH is meant.verdict
    assert ["price"] == [one.column for one in meant.comparisons[1].excluded]


def test_files_that_wait_for_their_first_merge_are_in_flight(tmp_path: Path, postgres_database: str) -> None:
    shop = Shop(tmp_path, postgres_database)
    shop.sql("CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))")
    shop.load({"id": 1, "name": "pen", "price": Decimal("1")})
    take_in(shop.platform, "retail")

    assert (Verdict.IN_FLIGHT, Verdict.IN_FLIGHT) == shop.verdicts()


@pytest.mark.parametrize(
    ("statement", "kinds"),
    [
        (None, set()),
        ("UPDATE base SET name = 'x' WHERE id = 3", {Kind.MISSING, Kind.UNEXPECTED}),
        ("UPDATE base SET name = 'x' WHERE id = 1", {Kind.MISSING}),
        ("DELETE FROM base WHERE id = 3", {Kind.MISSING}),
        ("INSERT INTO base FROM base WHERE id = 3", {Kind.DUPLICATE}),
    ],
)
def test_a_table_that_keeps_every_row_is_compared_with_raw_as_a_bag(
    tmp_path: Path, statement: str | None, kinds: set[Kind]
) -> None:
    shop = Shop(tmp_path, None, merge_key=(), no_key="append")
    twice = {"id": 1, "name": "pen", "price": Decimal(1)}
    shop.load(twice, twice)
    shop.change({"id": 3, "name": "nib", "price": None}, {"id": 3, "name": None, "price": None})
    shop.change({"Op": "D", "id": 3, "name": "nib", "price": None}, minutes=20)
    shop.apply()
    if statement:
        shop.tamper(statement.replace("id = 3", "id = 3 AND name = 'nib'"))

    found = shop.reconcile()

    verdict = Verdict.DIFFERENT if statement else Verdict.MATCH
    assert [verdict, Verdict.UNVERIFIED] == [comparison.verdict for comparison in found.comparisons]
    assert kinds == {one.kind for one in found.comparisons[0].discrepancies}


def test_a_table_kept_as_a_multiset_is_not_verified_by_window(tmp_path: Path) -> None:
    shop = Shop(tmp_path, None, merge_key=(), no_key="multiset")

    assert (Verdict.UNVERIFIED, Verdict.UNVERIFIED) == shop.verdicts()


def test_a_soft_deleted_row_agrees_with_its_absence_in_the_source(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = Shop(tmp_path, postgres_database, delete_mode="soft")
    shop.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item VALUES (2, 'ink', 3)",
    )
    shop.load(
        {"id": 1, "name": "pen", "price": Decimal("1")}, {"id": 2, "name": "ink", "price": Decimal("3")}
    )
    shop.change({"Op": "D", "id": 1, "name": None, "price": None})
    shop.apply()
    shop.catch_up()

    assert (Verdict.MATCH, Verdict.MATCH) == shop.verdicts()
