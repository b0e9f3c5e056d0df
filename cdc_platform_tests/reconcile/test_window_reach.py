"""A window is MATCH only if somebody was asked: capture, the source, and base's record of applied files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.lake.applied import read_applied
from cdc_platform.lsn import lsn_text, lsn_value
from cdc_platform.pipeline import reconcile, take_in
from cdc_platform.raw.manifests import window_key
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.subject import pin
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.reconcile.window_reach import reach_of
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.line import Line
from cdc_platform_tests.reconcile.shop import DAY, ItemShop, log_position

pytestmark = pytest.mark.postgres

WINDOW, NEXT_WINDOW, EMPTY = "2026-03-01", "2026-03-02", "2026-03-05"
TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string()}
BOTH_MATCH = [Verdict.MATCH, Verdict.MATCH]


class Shop(ItemShop):
    def load(self, *rows: dict[str, Any]) -> None:
        write_load_file(self.raw, "public", "item", rows, at=DAY, types=TYPES)

    def change(self, name: str, at: datetime, **options: Any) -> None:
        self.sql(f"UPDATE item SET name = '{name}' WHERE id = 1")
        event = {"Op": "U", "id": 1, "name": name}
        write_change_file(self.raw, "public", "item", at=at, events=[event], types=TYPES, **options)

    def reconcile(self, window: str = WINDOW) -> Reconciliation:
        return reconcile(self.platform, "retail", "item", window)

    def verdicts(self, window: str = WINDOW) -> list[Verdict]:
        return [one.verdict for one in self.reconcile(window).comparisons]

    def put_forward(self) -> None:
        self.sql("CREATE TABLE IF NOT EXISTS elsewhere (n int)", "INSERT INTO elsewhere VALUES (1)")


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    """Two rows loaded and one of them changed; capture stands where it was, and the source went on."""
    found = Shop(tmp_path, postgres_database)
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text)",
        "INSERT INTO item VALUES (1, 'pen'), (2, 'ink')",
    )
    found.load({"id": 1, "name": "pen"}, {"id": 2, "name": "ink"})
    found.change("gel pen", DAY + timedelta(minutes=10))
    found.apply()
    found.fall_behind()
    found.put_forward()
    yield found
    found.platform.lake.close()


# -- capture


@pytest.mark.parametrize("window", [WINDOW, EMPTY])
def test_a_window_is_in_flight_while_capture_is_behind_the_source_and_nothing_shows_it_passed_the_end(
    shop: Shop, window: str
) -> None:
    found = shop.reconcile(window)

    assert [Verdict.MATCH, Verdict.IN_FLIGHT] == [one.verdict for one in found.comparisons]
    assert "capture has come to" in found.comparisons[1].reason


@pytest.mark.parametrize("window", [WINDOW, EMPTY])
def test_a_window_is_not_verified_where_capture_tells_no_position(shop: Shop, window: str) -> None:
    shop.platform.captured = lambda: None

    found = shop.reconcile(window)

    assert [Verdict.MATCH, Verdict.UNVERIFIED] == [one.verdict for one in found.comparisons]
    assert "capture's position is not known" in found.comparisons[1].reason


@pytest.mark.parametrize("window", [WINDOW, EMPTY])
def test_a_window_matches_once_capture_has_come_to_where_the_source_was_read(shop: Shop, window: str) -> None:
    shop.catch_up()

    found = shop.reconcile(window)

    assert BOTH_MATCH == [one.verdict for one in found.comparisons]
    assert lsn_value(found.certificate["source_position"]) <= lsn_value(log_position(shop.dsn or ""))


@pytest.mark.parametrize(
    ("after", "verdict"),
    [(timedelta(minutes=5), Verdict.MATCH), (timedelta(minutes=4, seconds=59), Verdict.IN_FLIGHT)],
    ids=str,
)
def test_a_change_committed_well_after_its_end_shows_that_capture_has_passed_a_window(
    shop: Shop, after: timedelta, verdict: Verdict
) -> None:
    shop.change("newer pen", datetime(2026, 3, 2, tzinfo=UTC) + after)
    shop.apply()
    shop.put_forward()

    assert [Verdict.MATCH, verdict] == shop.verdicts(WINDOW)
    assert [Verdict.MATCH, Verdict.IN_FLIGHT] == shop.verdicts(NEXT_WINDOW)


def test_a_change_committed_before_the_end_shows_nothing_however_late_its_file_was_made(shop: Shop) -> None:
    event = {"Op": "U", "id": 1, "name": "gel pen"}
    committed = datetime(2026, 3, 2, tzinfo=UTC) - timedelta(minutes=1)
    key = write_change_file(shop.raw, "public", "item", at=committed, events=[event], types=TYPES)
    made = Path(shop.raw) / key
    made.rename(made.with_name(f"20260302-001000000{''.join(made.suffixes)}"))
    shop.apply()
    shop.put_forward()

    assert [Verdict.MATCH, Verdict.IN_FLIGHT] == shop.verdicts(WINDOW)


def test_such_a_change_counts_before_it_is_merged_as_in_a_backfill(shop: Shop) -> None:
    shop.sql("INSERT INTO item VALUES (9, 'of day 3')")
    row = {"Op": "I", "id": 9, "name": "of day 3"}
    write_change_file(shop.raw, "public", "item", at=DAY + timedelta(days=3), events=[row], types=TYPES)
    take_in(shop.platform, "retail")
    shop.put_forward()

    assert BOTH_MATCH == shop.verdicts(WINDOW)
    assert BOTH_MATCH == shop.verdicts(NEXT_WINDOW)


def test_a_run_after_its_end_shows_it_for_the_next_run_once_capture_has_come_to_where_it_read(
    shop: Shop,
) -> None:
    assert [Verdict.MATCH, Verdict.IN_FLIGHT] == shop.verdicts()
    shop.fall_behind()
    shop.put_forward()

    found = shop.reconcile()

    assert BOTH_MATCH == [one.verdict for one in found.comparisons]
    assert "where the source stood at" in found.comparisons[1].notes[0]


def test_a_run_before_its_end_shows_nothing_once_a_window_is_over(shop: Shop) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    window = tomorrow.strftime("%Y-%m-%d")
    shop.reconcile(window)
    shop.fall_behind()
    shop.put_forward()
    position, subject = log_position(shop.dsn or ""), pin(shop.platform, "retail", "item", window)

    found = reach_of(subject, position, Capture(shop.platform.captured()), now=tomorrow + timedelta(days=2))

    assert Verdict.IN_FLIGHT is found.verdict


def test_capture_that_stands_still_is_not_believed_however_often_one_asks(shop: Shop) -> None:
    assert [[Verdict.MATCH, Verdict.IN_FLIGHT]] * 3 == [shop.verdicts() for _ in range(3)]


def test_another_servers_position_proves_no_window(shop: Shop) -> None:
    shop.change("newer pen", DAY + timedelta(days=3))
    shop.apply()
    shop.platform.captured = lambda: lsn_text(lsn_value(log_position(shop.dsn or "")) + (1 << 30))

    assert [Verdict.MATCH, Verdict.UNVERIFIED] == shop.verdicts(EMPTY)
    assert [Verdict.MATCH, Verdict.UNVERIFIED] == shop.verdicts(NEXT_WINDOW)


def test_a_window_whose_capture_stopped_in_its_middle_is_in_flight(
    tmp_path: Path, postgres_database: str
) -> None:
    line = Line(tmp_path, postgres_database, rows=10)
    try:
        line.write(1, "captured")
        line.arrive()
        assert [Verdict.MATCH] == [run.verdict for run in line.windows()]
        line.task.stop()
        line.sql(
            "INSERT INTO item VALUES (77, 'not captured')",
            "UPDATE item SET v = 'not captured' WHERE id = 77",
        )

        assert [Verdict.IN_FLIGHT] == [run.verdict for run in line.windows()]
    finally:
        line.close()


# -- the source


@pytest.mark.parametrize("statement", ["DROP TABLE item", "ALTER TABLE item RENAME TO goods"])
def test_a_window_without_changes_is_an_error_where_the_source_does_not_have_the_table(
    shop: Shop, statement: str
) -> None:
    shop.sql(statement)
    shop.catch_up()

    found = shop.reconcile(EMPTY)

    assert [Verdict.MATCH, Verdict.ERROR] == [one.verdict for one in found.comparisons]
    assert "the source has no such table" in found.comparisons[1].reason


def test_a_window_without_changes_is_an_error_where_the_source_cannot_be_reached(
    shop: Shop, tmp_path: Path
) -> None:
    away = Shop(tmp_path, "postgresql://etl:hush-hush@127.0.0.1:1/shop")

    assert [Verdict.MATCH, Verdict.ERROR] == away.verdicts(EMPTY)


def test_a_window_without_changes_is_not_verified_without_a_connection(shop: Shop, tmp_path: Path) -> None:
    assert [Verdict.MATCH, Verdict.UNVERIFIED] == Shop(tmp_path, None).verdicts(EMPTY)


def test_a_window_of_a_table_that_is_nowhere_is_an_error(tmp_path: Path, postgres_database: str) -> None:
    shop = Shop(tmp_path, postgres_database)
    shop.catch_up()

    assert [Verdict.MATCH, Verdict.ERROR] == shop.verdicts(EMPTY)


def test_a_window_of_a_table_that_was_never_merged_is_not_verified(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = Shop(tmp_path, postgres_database)
    shop.sql("CREATE TABLE item (id bigint PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'pen')")
    shop.catch_up()

    assert [Verdict.MATCH, Verdict.UNVERIFIED] == shop.verdicts(EMPTY)


# -- base's record


def test_a_window_whose_files_are_gone_from_raw_and_from_its_manifest_is_not_verified(shop: Shop) -> None:
    shop.change("of another day", DAY + timedelta(days=1))
    shop.apply()
    shop.catch_up()
    assert BOTH_MATCH == shop.verdicts(NEXT_WINDOW)
    objects = shop.platform.objects("retail", "item")
    for file in json.loads(objects.get(window_key(NEXT_WINDOW)) or b"")["files"]:
        (shop.raw / file["key"]).unlink()
    objects.delete(window_key(NEXT_WINDOW))

    assert [Verdict.UNVERIFIED, Verdict.UNVERIFIED] == shop.verdicts(NEXT_WINDOW)
    assert "raw holds them no more" in shop.reconcile(NEXT_WINDOW).comparisons[0].reason
    assert BOTH_MATCH == shop.verdicts(WINDOW)


def test_the_files_of_a_load_are_missed_in_the_window_they_were_applied_in(shop: Shop) -> None:
    shop.catch_up()
    record = read_applied(shop.platform.lake.load("retail", "item"), shop.platform.objects("retail", "item"))
    assert any("LOAD" in key for key, _ in record.files)
    for path in (shop.raw / "public/item").iterdir():
        path.unlink()
    shop.platform.objects("retail", "item").delete(window_key(WINDOW))

    assert [Verdict.UNVERIFIED, Verdict.UNVERIFIED] == shop.verdicts(WINDOW)
    assert "2 files of this window" in shop.reconcile(WINDOW).comparisons[0].reason
    assert BOTH_MATCH == shop.verdicts(EMPTY)
