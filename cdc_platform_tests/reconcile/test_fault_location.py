"""Faults made on purpose in the real pieces: each is located where it was made."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.config.model import Images
from cdc_platform.lake.quarantine import discard, list_items
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.verdict import Discrepancy, Verdict
from cdc_platform_tests.reconcile.test_window import DAY, TYPES, WINDOW, Shop

pytestmark = pytest.mark.postgres


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    """Three rows, two of them loaded and one changed since, one inserted; all witnesses agree."""
    found = Shop(tmp_path, postgres_database)
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item VALUES (1, 'pen', 1.50), (2, 'ink', 3), (3, 'nib', NULL)",
    )
    found.load(
        {"id": 1, "name": "pencil", "price": Decimal("1")}, {"id": 2, "name": "ink", "price": Decimal("3")}
    )
    found.change(
        {"Op": "U", "id": 1, "name": "pen", "price": Decimal("1.5")}, {"id": 3, "name": "nib", "price": None}
    )
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


def located(shop: Shop, window: str = WINDOW) -> list[Discrepancy]:
    return [one for comparison in shop.reconcile(window).comparisons for one in comparison.discrepancies]


def faults(shop: Shop, window: str = WINDOW) -> dict[str, Fault]:
    """Return the fault of each differing key; both comparisons must say the same."""
    found: dict[str, Fault] = {}
    for one in located(shop, window):
        assert one.located is not None
        assert one.located.fault is found.setdefault(str(one.key["id"]), one.located.fault)
    return found


def test_a_change_that_is_in_no_raw_file_was_lost_by_capture(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'quill' WHERE id = 1")
    shop.catch_up()

    (one,) = located(shop)

    assert one.located is not None
    assert Fault.CAPTURE_LOST is one.located.fault
    assert "says what base holds, and the source has it otherwise" in one.located.reason
    assert one.located.event is not None
    assert one.located.event.file.endswith("20260301-121000000.parquet")


def test_what_a_default_gave_old_rows_with_a_new_column_was_not_lost_by_capture(shop: Shop) -> None:
    shop.sql(
        "ALTER TABLE item ADD COLUMN grade text DEFAULT 'new'", "UPDATE item SET name = 'lost' WHERE id = 1"
    )
    shop.change(
        {"Op": "U", "id": 2, "name": "ink", "price": Decimal("3"), "grade": "new"},
        minutes=20,
        types={**TYPES, "grade": pa.string()},
    )
    shop.apply()
    shop.catch_up()

    found = {str(one.key["id"]): one.located for one in located(shop)}

    assert {"1": Fault.CAPTURE_LOST, "3": Fault.COLUMN_ADDED} == {
        key: one.fault for key, one in found.items() if one is not None
    }
    assert found["3"] is not None
    assert "20260301-121000000.parquet row 1) is of before grade: a default" in found["3"].sentence


def test_a_row_whose_newest_event_was_a_delete_and_that_the_source_has_again_was_lost_by_capture(
    shop: Shop,
) -> None:
    shop.change({"Op": "D", "id": 2, "name": None, "price": None}, minutes=20)
    shop.apply()
    shop.catch_up()

    assert {"2": Fault.CAPTURE_LOST} == faults(shop)


def test_a_delete_that_is_in_no_raw_file_was_not_captured(shop: Shop) -> None:
    shop.sql("DELETE FROM item WHERE id = 2")
    shop.catch_up()

    assert {"2": Fault.DELETE_NOT_CAPTURED} == faults(shop)


def test_a_row_taken_out_of_base_by_another_writer_is_written_out_of_band(shop: Shop) -> None:
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    with warnings.catch_warnings(action="ignore"):  # pyiceberg says that it copies on write
        table.delete("id = 2")

    (raw, source) = located(shop)

    assert raw.located is not None
    assert Fault.WRITTEN_OUT_OF_BAND is raw.located.fault
    table.refresh()
    assert str(table.current_snapshot().snapshot_id) in raw.located.reason  # type: ignore[union-attr]
    assert raw.located == source.located


def test_a_value_no_raw_event_carried_is_written_out_of_band_and_the_column_is_named(shop: Shop) -> None:
    shop.tamper("UPDATE base SET name = 'chalk' WHERE id = 3")

    raw, source = located(shop)

    assert raw.located is not None
    assert Fault.WRITTEN_OUT_OF_BAND is raw.located.fault
    assert "a value of name that no raw event" in raw.located.reason
    assert "which no merge made" in raw.located.reason
    assert raw.located == source.located


def test_a_second_row_of_a_key_is_a_duplicate(shop: Shop) -> None:
    shop.tamper("INSERT INTO base FROM base WHERE id = 3")

    assert {"3": Fault.DUPLICATE} == faults(shop)


def test_an_older_image_in_base_is_stale(shop: Shop) -> None:
    shop.tamper("UPDATE base SET name = 'pencil', price = 1, _cdc_position = 0 WHERE id = 1")

    (raw, source) = located(shop)

    assert raw.located is not None
    assert Fault.STALE is raw.located.fault
    assert "LOAD00000001.parquet row 0" in raw.located.reason
    assert raw.located == source.located
    assert ["U", "L"] == [event.op for event in raw.located.events]
    assert ["pen", "pencil"] == [(event.values or {})["name"] for event in raw.located.events]


def test_a_mix_of_two_events_of_a_row_is_misordered(shop: Shop) -> None:
    shop.tamper("UPDATE base SET name = 'pencil' WHERE id = 1")

    assert {"1": Fault.MISORDERED} == faults(shop)


def test_a_deleted_row_that_another_writer_brought_back_is_written_out_of_band(shop: Shop) -> None:
    before = shop.platform.lake.load("retail", "item")
    assert before is not None
    kept = before.scan().to_arrow()
    shop.sql("DELETE FROM item WHERE id = 2")
    shop.change({"Op": "D", "id": 2, "name": None, "price": None}, minutes=20)
    shop.apply()
    shop.catch_up()
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    table.append(kept.filter(pa.compute.equal(kept["id"], 2)).cast(table.schema().as_arrow()))

    (raw, _) = located(shop)

    assert raw.located is not None
    assert Fault.WRITTEN_OUT_OF_BAND is raw.located.fault
    assert "brought back" in raw.located.reason


def test_an_event_that_waits_in_quarantine_is_where_the_difference_comes_from(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'quill' WHERE id = 1")
    good = {"Op": "U", "id": 3, "name": "nib", "price": None}
    shop.change({"Op": "X", "id": 1, "name": "quill", "price": Decimal("1.5")}, good, good, minutes=20)
    shop.apply()
    shop.catch_up()

    (one,) = located(shop)

    assert one.located is not None
    assert Fault.QUARANTINED is one.located.fault
    assert "row 0" in one.located.reason


def test_a_quarantined_file_is_read_for_the_events_it_holds_back(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'quill' WHERE id = 1")
    wider = {"id": pa.int64(), "name": pa.string(), "price": pa.bool_()}
    shop.change({"Op": "U", "id": 1, "name": "quill", "price": True}, minutes=20, types=wider)
    shop.apply()
    shop.catch_up()
    (item,) = list_items(shop.platform.lake, "retail", "item")

    assert {"1": Fault.QUARANTINED} == faults(shop)
    discard(shop.platform.lake, "retail", "item", item.id)
    assert {"1": Fault.DISCARDED} == faults(shop)


NO_KEY = {"Op": "U", "id": None, "name": "ink", "price": Decimal("3")}
GOOD = {"Op": "U", "id": 3, "name": "nib", "price": None}


def take_key_away(shop: Shop, *others: dict[str, Any], **image: int) -> None:
    """Let row 2 lose its key by an update with this image before it, in a file with ``others``."""
    shop.sql("ALTER TABLE item DROP CONSTRAINT item_pkey", "ALTER TABLE item ALTER id DROP NOT NULL")
    shop.sql("UPDATE item SET id = NULL WHERE id = 2")
    shop.change({**NO_KEY, **image}, *others, minutes=20)
    shop.apply()
    shop.catch_up()


@pytest.mark.parametrize("others", [[], [GOOD, GOOD]], ids=["the file waits", "the row waits"])
def test_an_update_to_no_key_that_waits_in_quarantine_is_where_its_old_row_comes_from(
    shop: Shop, others: list[dict[str, Any]]
) -> None:
    take_key_away(shop, *others, BI_id=2)
    (item,) = list_items(shop.platform.lake, "retail", "item")

    (one,) = located(shop)

    assert one.located is not None
    assert Fault.QUARANTINED is one.located.fault
    assert "20260301-122000000.parquet row 0, the merge key is NULL" in one.located.reason
    discard(shop.platform.lake, "retail", "item", item.id)
    assert {"2": Fault.DISCARDED} == faults(shop)


@pytest.mark.parametrize("others", [[], [GOOD, GOOD]], ids=["the file waits", "the row waits"])
def test_while_an_update_that_names_no_key_waits_in_quarantine_nothing_is_called_lost(
    shop: Shop, others: list[dict[str, Any]]
) -> None:
    take_key_away(shop, *others)

    (one,) = located(shop)

    assert one.located is not None
    assert Fault.UNKNOWN is one.located.fault
    assert "20260301-122000000.parquet row 0 waits in quarantine and names no key" in one.located.reason


def test_a_row_no_reader_could_type_in_a_file_that_waits_as_a_whole_is_found_by_its_key(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'quill' WHERE id = 1")
    shop.change({"Op": "X", "id": 1, "name": "quill", "price": Decimal("1.5")}, minutes=20)
    shop.apply()
    shop.catch_up()

    assert {"1": Fault.QUARANTINED} == faults(shop)


@pytest.mark.parametrize("partial", [False, True])
def test_a_row_given_up_before_a_later_one_of_its_file_that_was_applied_explains_what_that_left_alone(
    shop: Shop, partial: bool
) -> None:
    bad = {"Op": "X", "id": 1, "name": "quill", "price": Decimal("1.5")}
    later = {"Op": "U", "id": 1, "name": "pen", "price": Decimal("1.5")}
    shop.change(bad, later, GOOD, GOOD, minutes=20)
    shop.apply()
    (item,) = list_items(shop.platform.lake, "retail", "item")
    discard(shop.platform.lake, "retail", "item", item.id)
    shop.configure(images=Images.PARTIAL if partial else Images.FULL)
    shop.sql("UPDATE item SET name = 'quill' WHERE id = 1")
    shop.catch_up()

    assert {"1": Fault.DISCARDED if partial else Fault.CAPTURE_LOST} == faults(shop)


def test_while_a_raw_file_cannot_be_read_nothing_is_called_lost(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'dye' WHERE id = 1")
    shop.catch_up()
    (shop.raw / "public/item/LOAD00000001.parquet").unlink()

    found = shop.reconcile()

    one = next(d for d in found.comparisons[1].discrepancies if d.verdict is Verdict.DIFFERENT)
    assert one.located is not None
    assert Fault.UNKNOWN is one.located.fault
    assert "LOAD00000001.parquet could not be read" in one.located.reason


def test_the_newest_event_is_found_in_whatever_window_it_lies(shop: Shop) -> None:
    shop.sql("UPDATE item SET name = 'quill' WHERE id = 1")
    shop.change({"Op": "U", "id": 1, "name": "quill", "price": Decimal("1.5")}, minutes=24 * 60)
    shop.apply()
    shop.catch_up()
    shop.tamper("DELETE FROM base WHERE id = 1")

    raw, _ = located(shop)

    assert raw.located is not None
    assert raw.located.event is not None
    assert "20260302-120000000.parquet" in raw.located.event.file


def test_values_cut_on_their_way_are_altered_by_capture(tmp_path: Path, postgres_database: str) -> None:
    shop = Shop(tmp_path, postgres_database)
    texts = {number: f"{number} " + "ä" * (90 + number) for number in range(4)}
    shop.sql("CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))")
    for number, text in texts.items():
        shop.sql(f"INSERT INTO item VALUES ({number}, '{text}', 1)")
    shop.load(*({"id": n, "name": text[:64], "price": Decimal(1)} for n, text in texts.items()))
    shop.apply()
    shop.catch_up()

    found = located(shop)

    assert {Fault.CAPTURE_ALTERED} == {one.located.fault for one in found if one.located}
    assert {"truncated at 64 characters in base"} == {one.classes["name"].label for one in found}
    shop.platform.lake.close()


def test_what_the_source_has_less_of_than_base_was_not_altered_on_its_way(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = Shop(tmp_path, postgres_database)
    shop.sql("CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))")
    rows = [{"id": n, "name": f"{n} " + "ä" * 90, "price": Decimal(1)} for n in range(4)]
    shop.load(*rows)
    shop.apply()
    for row in rows:
        shop.sql(f"INSERT INTO item VALUES ({row['id']}, '{row['name'][:20]}', 1)")
    shop.catch_up()

    found = [one for one in located(shop) if one.witnesses[0] == "source"]

    assert {Fault.CAPTURE_LOST} == {one.located.fault for one in found if one.located}
    assert {"truncated at 20 characters in source"} == {one.classes["name"].label for one in found}
    shop.platform.lake.close()


def test_a_full_load_that_does_not_hold_a_row_explains_nothing_base_still_has(shop: Shop) -> None:
    shop.load({"id": 1, "name": "pen", "price": Decimal("1.5")}, at=DAY + timedelta(days=1))
    shop.apply()

    assert {} == faults(shop)


def test_what_the_differing_keys_have_in_common_is_said_with_the_column_and_the_kind(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = Shop(tmp_path, postgres_database)
    shop.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item SELECT i, CASE WHEN i % 5 = 0 THEN 'tin' ELSE 'box' END, i + 0.25"
        " FROM generate_series(1, 200) i",
    )
    for half in (range(1, 101), range(101, 201)):
        rows = [
            {
                "id": i,
                "name": "tin" if i % 5 == 0 else "box",
                "price": Decimal(i) if i % 5 == 0 and i > 100 else Decimal(i) + Decimal("0.25"),
            }
            for i in half
        ]
        shop.change(*rows, minutes=half.start)
    shop.apply()
    shop.catch_up()

    raw, source = shop.reconcile().comparisons

    assert "" == raw.attribution
    assert "all of the 20 keys that differ have " in source.attribution
    assert "file = public/item/20260301-134100000.parquet" in source.attribution
    assert "column name = tin" in source.attribution
    assert source.attribution.endswith(
        "all of the 20 changed rows differ in price (rounded to 0 decimals in base)"
    )
    assert [Fault.CAPTURE_ALTERED] == list(source.faults)
    (price,) = source.column_differences
    assert ("price", 20, 20) == (price.column, price.keys, price.changed)
    shop.platform.lake.close()
