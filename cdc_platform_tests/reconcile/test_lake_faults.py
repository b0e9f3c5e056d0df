"""Faults of capture and lake, made with real files through the real pipeline, and what is said of each."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table

from cdc_platform.lake.maintenance.run import Step, maintain
from cdc_platform.lake.rollback import commit_rollback, find_snapshot, plan_rollback
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta
from cdc_platform.reconcile.digest import Salt
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.verdict import Kind, Reconciliation, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import DAY, WholeShop

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string(), "raw": pa.binary()}
ROWS = 60


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Sixty rows in three segments, equal in the source and in base."""
    maintenance = {"compaction": {"after_merge": False, "min_files": 2}}
    shop = WholeShop(tmp_path, postgres_database, TYPES, rows_per_segment=20, maintenance=maintenance)
    yield from stocked(shop)


def stocked(found: WholeShop) -> Iterator[WholeShop]:
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v text, raw bytea)",
        f"INSERT INTO item SELECT g, 'v' || g, decode(md5(g::text), 'hex') FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    yield found
    found.platform.lake.close()


def update(number: int, v: str, **values: Any) -> dict[str, Any]:
    return {"Op": "U", "id": number, "v": v, "raw": None, **values}


def change_at_source(shop: WholeShop, *numbers: int) -> None:
    listed = ", ".join(map(str, numbers))
    shop.sql(f"UPDATE item SET v = 'new' || id, raw = NULL WHERE id IN ({listed})")


def base(shop: WholeShop) -> Table:
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    return table


def found_of(found: Reconciliation) -> dict[Any, tuple[Kind, Fault | None]]:
    return {
        one.key["id"]: (one.kind, one.located.fault if one.located else None)
        for one in found.comparisons[0].discrepancies
    }


# -- F1: files --------------------------------------------------------------------------------------------


def test_f1_a_file_that_was_lost_before_it_was_taken_in_is_found(shop: WholeShop) -> None:
    change_at_source(shop, 7, 8)
    shop.change(update(7, "new7"))
    shop.change(update(8, "new8"), minutes=11)
    next(shop.raw.rglob("*1211*.parquet")).unlink()
    shop.apply()

    found = shop.compare()

    assert (Verdict.DIFFERENT, {8: (Kind.CHANGED, Fault.CAPTURE_LOST)}) == (found.verdict, found_of(found))


def test_f1_a_file_delivered_twice_changes_nothing(shop: WholeShop) -> None:
    change_at_source(shop, 7)
    shop.change(update(7, "old"), update(7, "new7"))
    shop.apply()
    (file,) = shop.raw.rglob("2026*.parquet")
    shutil.copyfile(file, file.with_name(file.name.replace("121000", "121500")))
    shop.apply()

    assert Verdict.MATCH is shop.compare().verdict


def test_f1_a_truncated_file_is_no_match_and_the_quarantine_is_named(shop: WholeShop) -> None:
    change_at_source(shop, 7)
    shop.change(update(7, "new7"))
    (file,) = shop.raw.rglob("2026*.parquet")
    file.write_bytes(file.read_bytes()[:-300])
    shop.apply()

    found = shop.compare()

    assert (Verdict.DIFFERENT, [7]) == (found.verdict, list(found_of(found)))
    assert found_of(found)[7][1] in (Fault.QUARANTINED, Fault.UNKNOWN)


def test_f1_a_base_rolled_back_is_in_flight_until_its_files_are_merged_again(shop: WholeShop) -> None:
    before = base(shop).current_snapshot()
    change_at_source(shop, 7)
    shop.change(update(7, "new7"))
    shop.apply()
    assert Verdict.MATCH is shop.compare().verdict
    assert before is not None
    lake, table = shop.platform.lake, base(shop)
    target = find_snapshot(table, snapshot_id=before.snapshot_id)
    commit_rollback(plan_rollback(lake, "retail", "item", target, table))

    assert Verdict.IN_FLIGHT is shop.compare().verdict

    shop.apply()
    assert Verdict.MATCH is shop.compare().verdict


def delete_file(table: Table, path: str, position: int, **settings: Any) -> DataFile:
    """Return a file that takes one row away, as another program writes it."""
    place = f"{table.location()}/data/{uuid.uuid4()}-deletes.parquet"
    pq.write_table(pa.table({"file_path": [path], "pos": [position]}), place.removeprefix("file://"))
    made = {"content": DataFileContent.POSITION_DELETES, "file_format": FileFormat.PARQUET, **settings}
    file = DataFile.from_args(
        file_path=place,
        partition=next(iter(table.scan().plan_files())).file.partition,
        record_count=1,
        file_size_in_bytes=1000,
        **made,
    )
    file.spec_id = table.spec().spec_id
    return file


def test_f1_a_position_delete_of_the_wrong_file_is_found(shop: WholeShop) -> None:
    change_at_source(shop, 7)
    shop.change(update(7, "new7"))
    shop.apply()
    table = base(shop)
    small = min((task.file for task in table.scan().plan_files()), key=lambda file: file.record_count)
    deletes = delete_file(table, small.file_path, 0)  # meant for another file
    commit_row_delta(table.transaction(), table, RowDelta(deletes=(deletes,)))

    found = shop.compare()

    assert (Verdict.DIFFERENT, {7: (Kind.MISSING, Fault.WRITTEN_OUT_OF_BAND)}) == (
        found.verdict,
        found_of(found),
    )


def test_f1_a_delete_file_nobody_names_takes_no_row_away(shop: WholeShop) -> None:
    table = base(shop)
    delete_file(table, next(iter(table.scan().plan_files())).file.file_path, 0)

    assert Verdict.MATCH is shop.compare().verdict


def test_f1_an_equality_delete_which_could_hold_null_is_refused(shop: WholeShop) -> None:
    table = base(shop)
    settings = {"content": DataFileContent.EQUALITY_DELETES, "equality_ids": [2]}
    deletes = delete_file(table, "", 0, **settings)
    commit_row_delta(table.transaction(), table, RowDelta(deletes=(deletes,)))

    found = shop.compare()

    assert Verdict.ERROR is found.verdict
    assert "equality" in found.comparisons[0].reason
    window = compare_window(shop.platform, "retail", "item", f"{DAY:%Y-%m-%d}")
    assert [Verdict.ERROR] * 2 == [one.verdict for one in window.comparisons]


# -- F2, F5: what a faulty merge or another writer leaves ---------------------------------------------------

WRITTEN = [
    ("DELETE FROM base WHERE id BETWEEN 10 AND 14", Kind.MISSING, {10, 11, 12, 13, 14}),
    ("INSERT INTO base FROM base WHERE id IN (3, 50)", Kind.DUPLICATE, {3, 50}),
    ("INSERT INTO base SELECT * REPLACE (100 AS id) FROM base WHERE id = 3", Kind.UNEXPECTED, {100}),
    ("UPDATE base SET v = (SELECT v FROM base WHERE id = 4) WHERE id = 3", Kind.CHANGED, {3}),
    ("UPDATE base SET id = 161 WHERE id = 60", Kind.MISSING, {60, 161}),
]


@pytest.mark.parametrize(("statement", "kind", "keys"), WRITTEN, ids=[one[0][:30] for one in WRITTEN])
def test_f2_f5_rows_a_merge_or_another_writer_dropped_doubled_kept_or_changed_are_found(
    shop: WholeShop, statement: str, kind: Kind, keys: set[int]
) -> None:
    shop.tamper(statement)

    found = shop.compare()

    assert (Verdict.DIFFERENT, keys) == (found.verdict, set(found_of(found)))
    assert kind in {one.kind for one in found.comparisons[0].discrepancies}


def test_f2_a_delete_that_leaves_its_row_in_base_is_found(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE id = 5")
    shop.change({"Op": "D", "id": 5, "v": None, "raw": None})
    row = base(shop).scan(row_filter="id == 5").to_arrow()
    shop.apply()
    assert Verdict.MATCH is shop.compare().verdict
    base(shop).append(row)

    found = shop.compare()

    assert (Verdict.DIFFERENT, [5]) == (found.verdict, list(found_of(found)))


# -- F3: compaction ------------------------------------------------------------------------------------------


def test_f3_a_right_compaction_changes_no_digest_and_one_that_drops_a_row_is_found_by_it(
    shop: WholeShop,
) -> None:
    for minute in range(10, 14):
        change_at_source(shop, minute)
        shop.change(update(minute, f"new{minute}"), minutes=minute)
        shop.apply()
    salt = Salt(b"the salt of this test, no secret")
    files = len(list(base(shop).scan().plan_files()))
    before = shop.compare(salt=salt)

    lake, table = shop.platform.lake, shop.platform.table("retail", "item")
    maintain(lake, "retail", table, [Step.COMPACT])
    compacted = len(list(base(shop).scan().plan_files()))
    after = shop.compare(salt=salt)
    shop.tamper("DELETE FROM base WHERE id = 33")
    dropped = shop.compare(salt=salt)

    assert compacted < files
    assert [Verdict.MATCH, Verdict.MATCH, Verdict.DIFFERENT] == [
        one.verdict for one in (before, after, dropped)
    ]
    assert {33: (Kind.MISSING, Fault.WRITTEN_OUT_OF_BAND)} == found_of(dropped)
    assert before.certificate["snapshot_id"] != after.certificate["snapshot_id"]


# -- F4, A8: columns that come, go, move and change ---------------------------------------------------------


def test_f4_a8_columns_in_another_order_match_and_a_renamed_one_is_listed(shop: WholeShop) -> None:
    shop.sql(
        "ALTER TABLE item RENAME TO old",
        "CREATE TABLE item AS SELECT raw, id, v FROM old",
        "ALTER TABLE item ADD PRIMARY KEY (id)",
    )
    ordered = shop.compare()
    shop.sql("ALTER TABLE item RENAME COLUMN v TO w")
    renamed = shop.compare()

    assert (Verdict.MATCH, ()) == (ordered.verdict, ordered.comparisons[0].excluded)
    assert ["v", "w"] == [one.column for one in renamed.comparisons[0].excluded]
    assert {"id", "raw"} == set(renamed.comparisons[0].columns)
    assert Verdict.UNVERIFIED is renamed.verdict


def test_f4_a8_two_columns_that_exchanged_their_names_are_different(shop: WholeShop) -> None:
    shop.sql(
        "ALTER TABLE item ALTER raw TYPE text USING 'r' || id",
        "ALTER TABLE item ALTER v TYPE bytea USING decode(md5(v), 'hex')",
        "ALTER TABLE item RENAME COLUMN v TO other",
        "ALTER TABLE item RENAME COLUMN raw TO v",
        "ALTER TABLE item RENAME COLUMN other TO raw",
    )

    assert Verdict.DIFFERENT is shop.compare().verdict


def test_f4_a_default_for_old_rows_that_no_change_carried_is_different(shop: WholeShop) -> None:
    shop.sql("ALTER TABLE item ADD COLUMN extra text DEFAULT 'given'")
    shop.types["extra"] = pa.string()
    change_at_source(shop, 7)
    shop.change(update(7, "new7", extra="given"))
    shop.apply()

    found = shop.compare()

    assert (Verdict.DIFFERENT, ROWS - 1) == (found.verdict, found.comparisons[0].tally.different)
    assert {("extra",)} == {one.columns for one in found.comparisons[0].discrepancies}


def test_f4_a_column_dropped_and_added_again_is_different_where_base_has_the_old_values(
    shop: WholeShop,
) -> None:
    shop.sql("ALTER TABLE item DROP COLUMN v", "ALTER TABLE item ADD COLUMN v text")

    found = shop.compare()

    assert (Verdict.DIFFERENT, ROWS) == (found.verdict, found.comparisons[0].tally.different)


def test_f4_a8_a_wider_type_matches_by_value_and_a_value_beyond_the_old_one_differs(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, {"id": pa.int64(), "n": pa.int32()})
    shop.stock("CREATE TABLE item (id bigint PRIMARY KEY, n int)", "INSERT INTO item VALUES (1, 1), (2, -2)")
    shop.sql("ALTER TABLE item ALTER n TYPE bigint")
    widened = shop.compare()
    shop.sql("UPDATE item SET n = n + 4294967296 WHERE id = 1")
    beyond = shop.compare()

    assert [Verdict.MATCH, Verdict.DIFFERENT] == [widened.verdict, beyond.verdict]
    assert [1] == list(found_of(beyond))


# -- F6: what DMS does to values ----------------------------------------------------------------------------


def test_f6_values_cut_at_a_limit_or_without_their_zero_bytes_are_found_and_classed(shop: WholeShop) -> None:
    shop.sql(
        "UPDATE item SET v = repeat('x', 40000) WHERE id = 1",
        r"UPDATE item SET raw = '\x610062' WHERE id = 2",
        r"UPDATE item SET v = E'a\u0001b\u001fc' WHERE id = 3",
        r"UPDATE item SET raw = decode(repeat('ab', 5000), 'hex') WHERE id = 4",
    )
    shop.change(
        update(1, "x" * 32768, raw=None),
        update(2, "v2", raw=b"ab"),
        update(3, "a b c"),
        update(4, "v4", raw=b"\xab" * 4096),
    )
    shop.apply()
    shop.sql("UPDATE item SET raw = NULL WHERE id IN (1, 3)")

    found = shop.compare()

    columns = {one.key["id"]: one.columns for one in found.comparisons[0].discrepancies}
    classes = {
        one.key["id"]: [str(c) for c in one.classes.values()] for one in found.comparisons[0].discrepancies
    }
    assert {1: ("v",), 2: ("raw",), 3: ("v",), 4: ("raw",)} == columns
    assert "32768" in classes[1][0].replace(",", "")
    assert "4096" in classes[4][0].replace(",", "")


# -- D4: rows that change their partition -------------------------------------------------------------------


@pytest.fixture
def partitioned(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    shop = WholeShop(tmp_path, postgres_database, TYPES, rows_per_segment=20, partition_by=("v",))
    yield from stocked(shop)


def test_d4_a_row_that_moves_to_another_partition_matches_and_one_left_behind_is_found(
    partitioned: WholeShop,
) -> None:
    shop = partitioned
    left = base(shop).scan(row_filter="id == 7").to_arrow()
    change_at_source(shop, 7)
    shop.change(update(7, "new7"))
    shop.apply()
    moved = shop.compare()
    base(shop).append(left)
    behind = shop.compare()

    assert 1 == len(base(shop).spec().fields)
    assert [Verdict.MATCH, Verdict.DIFFERENT] == [moved.verdict, behind.verdict]
    assert {7: (Kind.DUPLICATE, Fault.DUPLICATE)} == found_of(behind)
