"""Keys left open are looked at again, and decided by position: at once, or as of the last look at them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.errors import StateError
from cdc_platform.pipeline import reconcile, take_in
from cdc_platform.raw.objects import FolderObjects
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.settle import SettleOptions, settle
from cdc_platform.reconcile.settling import (
    MOST_QUEUED,
    SETTLING_OBJECT,
    Look,
    Queue,
    Settled,
    note,
    read_queue,
    settle_queue,
)
from cdc_platform.reconcile.verdict import Reconciliation, Sighting, Verdict
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import DAY, ItemShop, log_position

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
WINDOW = "2026-03-01"
NOW = datetime(2026, 3, 1, tzinfo=UTC)


class Shop(ItemShop):
    """Rows 1 to 3, loaded; changes reach raw when the test says so."""

    def __init__(self, folder: Path, dsn: str) -> None:
        super().__init__(folder, dsn)
        self.minute = 0
        self.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        self.sql("INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, 'c')")
        rows = [{"id": n, "v": v} for n, v in enumerate("abc", 1)]
        write_load_file(self.raw, "public", "item", rows, at=DAY, types=TYPES)
        self.tell("U", 1, "a")
        self.apply()

    def change(self, number: int, value: str) -> None:
        """Change a row at the source alone."""
        self.sql(f"UPDATE item SET v = '{value}' WHERE id = {number}")

    def tell(self, op: str, number: int, value: str | None) -> None:
        """Let a raw file tell a change."""
        self.minute += 1
        moment = DAY + timedelta(minutes=self.minute)
        event: Mapping[str, Any] = {"Op": op, "id": number, "v": value}
        write_change_file(self.raw, "public", "item", at=moment, events=[event], types=TYPES)

    def window(self) -> Reconciliation:
        return reconcile(self.platform, "retail", "item", WINDOW)

    def settle(self, **options: timedelta) -> Reconciliation:
        found = settle(self.platform, "retail", "item", SettleOptions(**options))
        assert found is not None
        return found

    @property
    def queue(self) -> Queue:
        return read_queue(self.platform.objects("retail", "item"))


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    made = Shop(tmp_path, postgres_database)
    yield made
    made.platform.lake.close()


def counts(found: Reconciliation) -> tuple[int, int, int, int]:
    tally = found.comparisons[0].tally
    return tally.matched, tally.different, tally.in_flight, tally.unverified


@pytest.mark.postgres
def test_a_key_in_flight_is_queued_and_leaves_the_queue_once_it_is_equal(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "new")
    assert Verdict.IN_FLIGHT is shop.window().verdict
    assert [{"id": "1"}] == [one.key for one in shop.queue.entries.values()]

    shop.tell("U", 1, "new")
    shop.apply()
    shop.catch_up()
    found = shop.settle()

    assert (Verdict.MATCH, {}) == (found.verdict, shop.queue.entries)
    told = found.certificate["settling"]
    assert (1, 1, 0, None) == tuple(
        told[n] for n in ("looked_at", "settled_equal", "queued", "oldest_age_seconds")
    )
    assert settle(shop.platform, "retail", "item") is None


@pytest.mark.postgres
def test_a_lost_change_is_different_once_capture_has_come_past_it_and_stays_until_it_is_mended(
    shop: Shop,
) -> None:
    shop.fall_behind()
    shop.change(1, "lost")
    shop.window()
    shop.catch_up()

    found = shop.settle()

    (one,) = found.comparisons[0].discrepancies
    assert (Verdict.DIFFERENT, {"id": 1}, "lost", "a") == (
        one.verdict,
        one.key,
        one.expected["v"],  # type: ignore[index]
        one.actual["v"],  # type: ignore[index]
    )
    assert one.located is not None
    assert Fault.CAPTURE_LOST is one.located.fault
    assert Verdict.DIFFERENT is shop.settle().verdict
    assert 0 == shop.queue.in_flight
    shop.tell("U", 1, "lost")
    shop.apply()
    found = shop.settle()
    assert (Verdict.MATCH, 1, {}) == (
        found.verdict,
        found.certificate["settling"]["mended"],
        shop.queue.entries,
    )


@pytest.mark.postgres
def test_on_a_source_that_never_rests_a_loss_is_decided_as_of_the_last_look(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "lost")
    shop.window()
    assert Verdict.IN_FLIGHT is shop.settle().verdict
    looked_at = next(iter(shop.queue.entries.values())).look
    assert looked_at is not None

    shop.platform.captured = lambda: looked_at.position
    shop.change(2, "capture is always behind the newest change")
    found = shop.settle()

    assert (0, 1, 0, 0) == counts(found)
    assert (
        f"every change up to {looked_at.position} was captured"
        in found.comparisons[0].discrepancies[0].reason
    )


@pytest.mark.postgres
def test_on_a_source_that_never_rests_an_equal_key_is_settled_as_of_the_last_look(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "new")
    shop.window()
    shop.tell("U", 1, "new")
    shop.apply()
    assert (0, 0, 1, 0) == counts(shop.settle())
    looked_at = next(iter(shop.queue.entries.values())).look
    assert looked_at is not None

    shop.platform.captured = lambda: looked_at.position
    shop.change(2, "capture is always behind the newest change")

    assert (1, 0, 0, 0) == counts(shop.settle())


@pytest.mark.postgres
@pytest.mark.parametrize("side", ["source", "base"])
def test_a_key_that_changed_since_the_last_look_stays_open(shop: Shop, side: str) -> None:
    shop.fall_behind()
    shop.change(1, "first")
    shop.window()
    shop.settle()
    if side == "source":
        shop.change(1, "second")
    else:
        shop.tell("U", 1, "second")
        shop.apply()
    position = log_position(shop.dsn or "")
    shop.change(2, "capture is always behind the newest change")
    shop.platform.captured = lambda: position

    found = shop.settle()

    assert (0, 0, 1, 0) == counts(found)
    (entry,) = shop.queue.entries.values()
    assert (0 if side == "source" else 1) == entry.changes
    assert "it changed since the last look" in found.comparisons[0].discrepancies[0].reason


@pytest.mark.postgres
@pytest.mark.parametrize("change", ["an update", "a delete"])
def test_a_look_at_another_source_decides_nothing(shop: Shop, change: str) -> None:
    lost = (
        "UPDATE item SET v = 'lost' WHERE id = 1"
        if change == "an update"
        else "DELETE FROM item WHERE id = 1"
    )
    shop.fall_behind()
    shop.sql(lost)
    shop.window()
    shop.settle()
    position = log_position(shop.dsn or "")
    shop.sql(
        "CREATE TABLE restored AS SELECT * FROM item",
        "DROP TABLE item",
        "ALTER TABLE restored RENAME TO item",
        "ALTER TABLE item ADD PRIMARY KEY (id)",
    )
    shop.platform.captured = lambda: position

    found = shop.settle()

    assert (0, 0, 1, 0) == counts(found)
    assert "it changed since the last look" in found.comparisons[0].discrepancies[0].reason


@pytest.mark.postgres
def test_an_open_key_beyond_the_age_limit_is_unverified_with_its_age_and_stays(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "new")
    shop.window()

    found = shop.settle(max_age=timedelta())

    assert (0, 0, 0, 1) == counts(found)
    (one,) = found.comparisons[0].discrepancies
    assert Verdict.UNVERIFIED is one.verdict
    assert "open for 0:00:0" in one.reason
    assert 1 == len(shop.queue.entries)
    assert found.certificate["settling"]["oldest"][0]["key"] == {"id": "1"}
    assert settle(shop.platform, "retail", "item", SettleOptions(min_age=timedelta(hours=1))) is None


@pytest.mark.postgres
def test_what_capture_does_not_tell_is_unverified_and_stays(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "new")
    shop.window()
    shop.platform.captured = lambda: None

    assert (0, 0, 0, 1) == counts(shop.settle())
    assert 1 == len(shop.queue.entries)


@pytest.mark.postgres
def test_an_equal_key_that_a_file_on_its_way_changes_is_not_settled(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "new")
    shop.window()
    shop.change(1, "a")
    shop.tell("U", 1, "new")
    take_in(shop.platform, "retail")
    shop.catch_up()

    assert (0, 0, 1, 0) == counts(shop.settle())
    shop.apply()
    assert (0, 1, 0, 0) == counts(shop.settle())


@pytest.mark.postgres
def test_a_full_run_queues_what_is_in_flight(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(2, "new")

    assert Verdict.IN_FLIGHT is reconcile_full(shop.platform, "retail", "item", FullOptions()).verdict
    assert [({"id": "2"}, "full")] == [(one.key, one.found_by) for one in shop.queue.entries.values()]


@pytest.mark.postgres
def test_a_source_that_cannot_be_read_leaves_the_queue_as_it_is(shop: Shop) -> None:
    shop.fall_behind()
    shop.change(1, "new")
    shop.window()
    before = shop.queue
    shop.sql("ALTER TABLE item RENAME TO gone")

    assert Verdict.ERROR is shop.settle().verdict
    assert before == shop.queue


def sighting(number: int, *, different: bool = False) -> Sighting:
    return Sighting({"id": str(number)}, "0/10", different)


def test_a_key_another_run_put_in_again_while_it_was_decided_stays(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    note(objects, [sighting(1), sighting(2)], found_by=WINDOW, at=NOW)
    decided = {t: Settled(one.sightings, None) for t, one in read_queue(objects).entries.items()}

    note(objects, [sighting(1)], found_by=WINDOW, at=NOW)
    left = settle_queue(objects, decided, 7)

    assert [({"id": "1"}, 1)] == [(one.key, one.sightings) for one in left.entries.values()]
    assert left == read_queue(objects)


def test_changes_are_counted_over_looks(tmp_path: Path) -> None:
    objects, look = FolderObjects(tmp_path), Look("0/10", "s", "b", NOW.isoformat())
    note(objects, [sighting(1)], found_by=WINDOW, at=NOW)

    for changes in (2, 0, 3):
        (text,) = read_queue(objects).entries
        settle_queue(objects, {text: Settled(1, look, changes)}, 7)

    assert [(5, look, 1)] == [
        (one.changes, one.look, one.sightings) for one in read_queue(objects).entries.values()
    ]


def test_the_queue_is_bounded_and_says_how_much_was_left_out(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)

    note(objects, map(sighting, range(MOST_QUEUED + 5)), found_by="full", at=NOW)

    queue = read_queue(objects)
    assert (MOST_QUEUED, 5) == (len(queue.entries), queue.left_out)


def test_a_queue_of_another_form_is_begun_anew(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.put(SETTLING_OBJECT, b'{"form": 99}')

    assert Queue() == read_queue(objects)


def test_a_damaged_queue_is_an_error_that_says_to_remove_it(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)
    objects.put(SETTLING_OBJECT, b'{"form": 1, "entr')

    with pytest.raises(StateError, match=r"settling\.json.*remove it"):
        read_queue(objects)
