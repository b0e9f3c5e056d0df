"""What gave a row its value, and everything that befell it, told from real files and tables."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.errors import ConfigError, MergeError
from cdc_platform.events import Position
from cdc_platform.lake import quarantine
from cdc_platform.pipeline import Platform, merge_table, take_in
from cdc_platform.row_history import RowHistory, RowLineage, row_history, row_lineage, what_is_wanted
from cdc_platform.testing import write_change_file, write_load_file

CONFIG = """\
version: 1
sources:
  shop:
    raw:
      location: raw
      timestamp_column: dms_timestamp
      change_sequence_column: cdc_change_seq
      stream_position_column: cdc_position
      before_image_prefix: BI_
    window: {start: 2024-05-01}
    tables:
      - {name: public.orders, merge_key: [id]}
      - {name: public.lines, merge_key: [Order No, sku]}
      - {name: public.log, no_key: append}
      - {name: public.plain, merge_key: [id], raw: {location: raw, timestamp_column: dms_timestamp}}
"""
LOADED = datetime(2024, 5, 1, 8, tzinfo=UTC)
FIRST = LOADED + timedelta(hours=1)


class Shop:
    """A folder of raw files, and the tables made of them."""

    def __init__(self, folder: Path) -> None:
        self.raw = folder / "raw"
        (folder / "cdc.yaml").write_text(CONFIG)
        self.platform = Platform.open(folder / "cdc.yaml")

    def load(self, table: str, *rows: dict[str, Any], at: datetime = LOADED) -> str:
        return write_load_file(self.raw, "public", table, rows, at=at, options=self.options(table))

    def change(self, table: str, hours: float, *events: dict[str, Any], **options: Any) -> str:
        at = LOADED + timedelta(hours=hours)
        given = {"options": self.options(table), **options}
        return write_change_file(self.raw, "public", table, at=at, events=events, **given)

    def options(self, table: str) -> Any:
        return self.platform.source("shop").raw_of(self.platform.table("shop", table))

    def apply(self, table: str) -> str:
        take_in(self.platform, "shop", [table])
        return merge_table(self.platform, "shop", table).batch_id

    def lineage(self, table: str, *key: str, position: str | None = None) -> RowLineage:
        wanted = what_is_wanted(self.platform, "shop", table, key, position)
        return row_lineage(self.platform, "shop", table, wanted)

    def history(self, table: str, *key: str, windows: list[str] | None = None) -> RowHistory:
        wanted = what_is_wanted(self.platform, "shop", table, key, None)
        return row_history(self.platform, "shop", table, wanted, windows)

    def fates(self, table: str, *key: str, windows: list[str] | None = None) -> list[str]:
        return told(self.history(table, *key, windows=windows))


def told(history: RowHistory) -> list[str]:
    return [f"{one.event.op} {one.fate}" for one in history.events]


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def carried(lineage: RowLineage) -> tuple[str, int]:
    """Return the raw file and row of the one event that was found."""
    (carrier,) = lineage.carriers
    assert carrier is not None
    return carrier.event.file.file.key, carrier.event.row


def test_a_row_is_traced_to_its_data_file_snapshot_batch_and_raw_row(shop: Shop) -> None:
    shop.load("orders", {"id": 1, "note": "a"}, {"id": 2, "note": "b"})
    shop.apply("orders")
    key = shop.change("orders", 1, {"Op": "U", "id": 1, "note": "A"}, {"Op": "U", "id": 2, "note": "B"})
    batch = shop.apply("orders")

    lineage = shop.lineage("orders", "2")

    (row,) = lineage.rows
    (carrier,) = lineage.carriers
    table = shop.platform.lake.load("shop", "orders")
    assert table is not None
    assert ("B", batch, table.metadata.current_snapshot_id) == (
        row.values["note"],
        row.added_by.batch_id,
        row.added_by.snapshot_id,
    )
    assert 2 == data_rows(row.data_file)[row.data_row]["id"]
    assert (key, 1) == carried(lineage)
    assert carrier is not None
    assert carrier.batch is not None
    assert (batch, row.added_by) == (carrier.batch.batch_id, carrier.batch.snapshot)
    assert carrier.event.position == row.position


def data_rows(path: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(path.removeprefix("file://")).to_pylist()
    return rows


def test_a_row_of_the_load_is_traced_to_the_load_file(shop: Shop) -> None:
    key = shop.load("orders", {"id": 1, "note": "a"}, {"id": 2, "note": "b"})
    shop.apply("orders")

    assert (key, 1) == carried(shop.lineage("orders", "2"))


def test_a_composite_key_is_given_by_column_and_typed_by_the_table(shop: Shop) -> None:
    types = {"Order No": pa.decimal128(12, 0), "sku": pa.string()}
    lines = [{"Order No": Decimal(7), "sku": "A=1"}, {"Order No": Decimal(7), "sku": "B"}]
    write_load_file(shop.raw, "public", "lines", lines, at=LOADED, types=types, options=shop.options("lines"))
    shop.apply("lines")

    lineage = shop.lineage("lines", "Order No=7.0", "sku=A=1")

    assert [(Decimal(7), "A=1")] == [(r.values["order_no"], r.values["sku"]) for r in lineage.rows]
    assert 0 == carried(lineage)[1]


@pytest.mark.parametrize(
    ("table", "key", "says"),
    [
        ("orders", ("x",), "'x' is not a value of id, which is BIGINT"),
        ("lines", ("order_no=7",), "the key needs sku"),
        ("lines", ("7", "sku=A"), "'7' names no column of the merge key"),
        ("orders", ("1", "2"), "given twice"),
        ("log", ("1",), "the table has no merge key"),
    ],
)
def test_a_key_that_does_not_fit_is_told_with_the_form_it_should_have(
    shop: Shop, table: str, key: tuple[str, ...], says: str
) -> None:
    shop.load("orders", {"id": 1})
    shop.load("lines", {"Order No": 7, "sku": "A"})
    shop.load("log", {"line": "x"})
    for one in ("orders", "lines", "log"):
        shop.apply(one)

    with pytest.raises(ConfigError, match=says):
        shop.lineage(table, *key)


def test_a_table_that_was_never_merged_is_told(shop: Shop) -> None:
    with pytest.raises(MergeError, match="no base table yet"):
        shop.lineage("orders", "1")


def test_a_deleted_row_is_explained_by_its_tombstone_and_the_delete(shop: Shop) -> None:
    shop.load("orders", {"id": 1, "note": "a"}, {"id": 2, "note": "b"})
    key = shop.change("orders", 1, {"Op": "U", "id": 2, "note": "B"}, {"Op": "D", "id": 1, "note": "a"})
    shop.apply("orders")

    lineage = shop.lineage("orders", "1")

    assert () == lineage.rows
    assert lineage.tombstone is not None
    assert (key, 1) == carried(lineage)
    assert ["L overtaken", "D current"] == shop.fates("orders", "1")


def test_a_key_that_never_was_has_no_trace(shop: Shop) -> None:
    shop.load("orders", {"id": 1})
    shop.apply("orders")

    lineage = shop.lineage("orders", "77")

    assert ((), None, ()) == (lineage.rows, lineage.tombstone, lineage.carriers)
    assert () == shop.history("orders", "77").events


def test_a_row_of_a_table_without_a_key_is_named_by_its_position(shop: Shop) -> None:
    key = shop.change("log", 1, {"Op": "I", "line": "x"}, {"Op": "I", "line": "y"})
    shop.apply("log")
    at = Position(0, 2024050109000000 * 10**22 + 2)

    lineage = shop.lineage("log", position=f"{at.generation}:{at.sequence}")

    assert ["y"] == [row.values["line"] for row in lineage.rows]
    assert (key, 1) == carried(lineage)


def test_a_position_made_of_the_files_time_names_its_file(shop: Shop) -> None:
    shop.change("plain", 1, {"Op": "I", "id": 1, "note": "a"})
    key = shop.change("plain", 2, {"Op": "I", "id": 2, "note": "b"}, {"Op": "U", "id": 1, "note": "A"})
    shop.change("plain", 3, {"Op": "I", "id": 3, "note": "c"})
    shop.apply("plain")

    assert (key, 1) == carried(shop.lineage("plain", "1"))


def test_every_event_of_a_row_is_told_with_what_became_of_it(shop: Shop) -> None:
    shop.load("orders", {"id": 1, "note": "load"})
    shop.change("orders", 2, {"Op": "U", "id": 1, "note": "second"}, {"Op": "U", "id": 9, "note": "other"})
    shop.apply("orders")
    shop.change("orders", 1, {"Op": "U", "id": 1, "note": "late"})
    shop.apply("orders")
    events = ({"Op": "U", "id": 1, "note": "third"}, {"Op": "U", "id": 1, "note": "fourth"})
    shop.change("orders", 3, *events)
    batch = shop.apply("orders")
    shop.change("orders", 4, {"Op": "D", "id": 1, "note": "fourth"})
    take_in(shop.platform, "shop", ["orders"])

    history = shop.history("orders", "1")

    assert [
        ("load", "overtaken"),
        ("late", "stale"),
        ("second", "applied"),
        ("third", "overtaken"),
        ("fourth", "current"),
        ("fourth", "pending"),
    ] == [(str(one.event.after["note"]), one.fate.value) for one in history.events]
    assert [batch, batch, None] == [one.batch_id for one in history.events[-3:]]
    assert 5 == history.files_read


def test_a_replay_of_other_rows_of_the_file_changes_no_fate(shop: Shop) -> None:
    good = [{"Op": "I", "id": number, "note": "n"} for number in range(2, 6)]
    both = [{"Op": "I", "id": 1, "note": "a"}, {"Op": "U", "id": 1, "note": "b"}]
    shop.change("orders", 1, *both, {"Op": "I", "id": None, "note": "odd"}, *good)
    shop.apply("orders")
    shop.change("orders", 2, {"Op": "U", "id": 1, "note": "c"})
    shop.apply("orders")
    before = shop.fates("orders", "1")
    for item in quarantine.list_items(shop.platform.lake, "shop", "orders"):
        quarantine.release(shop.platform.lake, "shop", "orders", item.id)
    shop.apply("orders")

    assert ["I overtaken", "U applied", "U current"] == before
    assert before == shop.fates("orders", "1")


def test_a_row_that_changed_its_key_is_followed_by_both_keys(shop: Shop) -> None:
    shop.change("orders", 1, {"Op": "I", "id": 1, "note": "a"})
    moved = {"Op": "U", "id": 5, "note": "a", "BI_id": 1}
    shop.change("orders", 2, moved)
    shop.apply("orders")

    assert ["I overtaken", "U current"] == shop.fates("orders", "1")
    assert ["U current"] == shop.fates("orders", "5")
    assert 1 == shop.history("orders", "5").events[0].event.before["id"]


def test_events_of_before_a_complete_reload_are_superseded(shop: Shop) -> None:
    shop.load("orders", {"id": 1, "note": "old"}, {"id": 2, "note": "gone"})
    shop.change("orders", 1, {"Op": "U", "id": 1, "note": "changed"})
    shop.apply("orders")
    shop.load("orders", {"id": 1, "note": "new"}, at=LOADED + timedelta(hours=2))
    shop.change("orders", 3, {"Op": "I", "id": 3, "note": "c"})
    shop.apply("orders")

    assert ["U superseded", "L current"] == shop.fates("orders", "1")
    assert ((), None) == (shop.lineage("orders", "2").rows, shop.lineage("orders", "2").tombstone)


def test_quarantined_rows_of_a_key_are_told_with_their_reason(shop: Shop) -> None:
    good = [{"Op": "I", "id": number, "note": "n"} for number in range(2, 6)]
    shop.change("orders", 1, {"Op": "X", "id": 1, "note": "odd"}, *good)
    shop.apply("orders")

    history = shop.history("orders", "1")

    assert () == history.events
    (item,) = history.unreadable
    assert (0, quarantine.QuarantineState.OPEN) == (item.row, item.state)


def test_a_row_that_was_given_up_stays_in_the_history_of_its_key(shop: Shop) -> None:
    good = [{"Op": "I", "id": number, "note": "n"} for number in range(2, 6)]
    shop.change("orders", 1, {"Op": "X", "id": 1, "note": "odd"}, *good)
    shop.apply("orders")
    (waiting,) = shop.history("orders", "1").unreadable
    quarantine.discard(shop.platform.lake, "shop", "orders", waiting.id)

    (item,) = shop.history("orders", "1").unreadable

    assert (0, quarantine.QuarantineState.DISCARDED) == (item.row, item.state)


@pytest.mark.parametrize("others", [0, 4], ids=["the file waits", "the row waits"])
def test_a_row_set_aside_that_gave_the_key_up_is_told_by_its_image_before(shop: Shop, others: int) -> None:
    shop.load("orders", {"id": 1, "note": "a"})
    good = [{"Op": "I", "id": number, "note": "n"} for number in range(2, 2 + others)]
    types = {"id": pa.int64(), "note": pa.string()}
    shop.change("orders", 1, {"Op": "U", "id": None, "BI_id": 1, "note": "a"}, *good, types=types)
    shop.apply("orders")

    history = shop.history("orders", "1")

    assert ["L current"] == told(history)
    assert [(0, "the merge key is NULL")] == [(one.row, one.reason) for one in history.unreadable]
    assert () == shop.history("orders", "1", windows=["2024-04-30"]).unreadable


def test_a_file_that_is_gone_is_told_and_the_others_are_read(shop: Shop) -> None:
    gone = shop.change("orders", 1, {"Op": "I", "id": 1, "note": "a"})
    shop.change("orders", 2, {"Op": "U", "id": 1, "note": "b"})
    shop.apply("orders")
    (shop.raw / gone).unlink()

    history = shop.history("orders", "1")

    assert [gone] == list(history.unread)
    assert ["b"] == [one.event.after["note"] for one in history.events]


def test_a_history_may_be_narrowed_to_windows(shop: Shop) -> None:
    shop.change("orders", 1, {"Op": "I", "id": 1, "note": "a"})
    shop.change("orders", 25, {"Op": "U", "id": 1, "note": "b"})
    shop.apply("orders")

    history = shop.history("orders", "1", windows=["2024-05-02"])

    assert (["b"], 1) == ([one.event.after["note"] for one in history.events], history.files_read)


def two_days(shop: Shop) -> str:
    """Merge rows 1 and 2, changed on the first day; on the second 1 changes again and 2 is deleted."""
    shop.load("orders", {"id": 1, "note": "a"}, {"id": 2, "note": "b"})
    shop.change("orders", 1, {"Op": "U", "id": 1, "note": "A"})
    last = {"Op": "U", "id": 1, "note": "last"}, {"Op": "D", "id": 2, "note": "b"}
    key = shop.change("orders", 25, *last)
    shop.apply("orders")
    return key


@pytest.mark.parametrize(
    ("key", "fates", "is_of_row", "row"),
    [("1", ["L overtaken", "U overtaken"], True, 0), ("2", ["L overtaken"], False, 1)],
)
def test_no_event_of_a_window_is_current_when_another_window_has_what_made_the_row(
    shop: Shop, key: str, fates: list[str], is_of_row: bool, row: int
) -> None:
    file = two_days(shop)

    history = shop.history("orders", key, windows=["2024-05-01"])

    assert fates == told(history)
    assert history.maker is not None
    assert history.maker.event is not None
    assert (is_of_row, file, row) == (
        history.maker.is_of_row,
        history.maker.event.file.file.key,
        history.maker.event.row,
    )


@pytest.mark.parametrize(("key", "fates"), [("1", ["L overtaken", "U overtaken"]), ("2", ["L applied"])])
def test_no_event_is_current_when_the_file_of_what_made_the_row_is_gone(
    shop: Shop, key: str, fates: list[str]
) -> None:
    (shop.raw / two_days(shop)).unlink()

    history = shop.history("orders", key)

    assert fates == told(history)
    assert history.maker is not None
    assert (True, history.maker.event is None) == (history.maker.position.sequence > 0, True)


def test_whoever_made_the_row_is_current_where_it_was_read(shop: Shop) -> None:
    two_days(shop)

    assert ["L overtaken", "U overtaken", "U current"] == shop.fates("orders", "1")
    assert ["U current"] == shop.fates("orders", "1", windows=["2024-05-02"])
    assert shop.history("orders", "1").maker is None


def test_an_event_that_came_after_what_made_the_row_is_stale_in_a_window_without_that(shop: Shop) -> None:
    shop.change("orders", 25, {"Op": "I", "id": 1, "note": "new"})
    shop.apply("orders")
    shop.change("orders", 1, {"Op": "I", "id": 1, "note": "late"})
    shop.apply("orders")

    assert ["I stale"] == shop.fates("orders", "1", windows=["2024-05-01"])


def test_of_two_rows_of_a_load_with_one_key_the_later_is_current(shop: Shop) -> None:
    shop.load("orders", {"id": 1, "note": "first"}, {"id": 1, "note": "second"})
    shop.apply("orders")

    (row,) = shop.lineage("orders", "1").rows

    assert ("second", ["L stale", "L current"]) == (row.values["note"], shop.fates("orders", "1"))


def test_rows_of_a_load_without_a_key_are_not_told_apart_and_none_is_stale(shop: Shop) -> None:
    shop.load("log", {"line": "x"}, {"line": "y"})
    shop.apply("log")
    generation = next(iter(shop.platform.accepted("shop", "log").files)).generation
    wanted = what_is_wanted(shop.platform, "shop", "log", (), f"{generation}:0")

    assert ["L applied", "L applied"] == told(row_history(shop.platform, "shop", "log", wanted))


def test_an_event_keeps_its_fate_when_a_load_becomes_known_that_takes_its_file_over(shop: Shop) -> None:
    shop.change("orders", 2, {"Op": "I", "id": 1, "note": "a"})
    shop.apply("orders")
    shop.load("orders", {"id": 2, "note": "b"})
    take_in(shop.platform, "shop", ["orders"])

    assert ["I current"] == shop.fates("orders", "1")


def test_lineage_outlives_the_snapshot_and_finds_the_batch_of_an_older_file(shop: Shop) -> None:
    shop.change("orders", 1, {"Op": "I", "id": 1, "note": "a"})
    first = shop.apply("orders")
    shop.change("orders", 2, {"Op": "I", "id": 2, "note": "b"})
    shop.apply("orders")
    table = shop.platform.lake.load("shop", "orders")
    assert table is not None
    oldest = table.metadata.snapshots[0].snapshot_id
    table.maintenance.expire_snapshots().by_id(oldest).commit()

    (row,) = (lineage := shop.lineage("orders", "1")).rows
    (carrier,) = lineage.carriers

    assert (oldest, None) == (row.added_by.snapshot_id, row.added_by.committed_at)
    assert carrier is not None
    assert carrier.batch is not None
    assert (first, None) == (carrier.batch.batch_id, carrier.batch.snapshot)
