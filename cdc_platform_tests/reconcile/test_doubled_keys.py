"""A merge key that does not identify a row of the source: found in every mode, whatever base made of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.pipeline import take_in
from cdc_platform.reconcile import cut_sides, doubled_keys
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Kind, Reconciliation, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import DAY, WholeShop, log_position

pytestmark = pytest.mark.postgres

TYPES = {"id": pa.int64(), "name": pa.string(), "at": pa.timestamp("us", tz="UTC")}
ROWS = 50
CHEAP = {"keys_only": True, "version_column": "at"}


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Three segments of a table whose source holds key 7 twice; a merge leaves one row of it in base."""
    found = WholeShop(tmp_path, postgres_database, TYPES, rows_per_segment=20)
    found.stock(
        "CREATE TABLE item (id bigint, name text, at timestamptz)",
        f"INSERT INTO item SELECT g, 'v' || g, '2026-01-01 00:00+00' FROM generate_series(1, {ROWS}) g",
        "INSERT INTO item VALUES (7, 'v7', '2026-01-01 00:00+00')",
    )
    yield found
    found.platform.lake.close()


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have keys looked at by their hashes, as those are that are no whole numbers."""
    monkeypatch.setattr(cut_sides, "is_whole", lambda types: False)


def double(shop: WholeShop) -> None:
    """Let base hold key 7 twice as well, so that both sides are equal as bags of rows."""
    shop.tamper("INSERT INTO base FROM base WHERE id = 7")


def doubled(found: Reconciliation) -> tuple[Verdict, list[tuple[Any, Kind]]]:
    (comparison,) = found.comparisons
    return found.verdict, [(one.key["id"], one.kind) for one in comparison.discrepancies]


@pytest.mark.parametrize("in_base", [False, True])
@pytest.mark.parametrize("how", [{}, {"keys_only": True}, CHEAP, {"incremental": True}])
def test_a_key_of_several_source_rows_is_different_whether_base_folded_them_or_not(
    shop: WholeShop, how: dict[str, Any], in_base: bool
) -> None:
    if in_base:
        double(shop)

    found = shop.compare(**how)
    again = shop.compare(**how)

    assert (Verdict.DIFFERENT, [(7, Kind.DUPLICATE)]) == doubled(found) == doubled(again)
    assert "it does not identify a row, so `merge_key` needs further columns" in (
        found.comparisons[0].discrepancies[0].reason
    )


def test_a_key_that_is_no_whole_number_is_looked_at_by_its_hash(shop: WholeShop, hashed: None) -> None:
    double(shop)

    assert (Verdict.DIFFERENT, [(7, Kind.DUPLICATE)]) == doubled(shop.compare())


def test_keys_below_zero_of_several_rows_are_found(shop: WholeShop) -> None:
    shop.sql("INSERT INTO item SELECT -id, name, at FROM item WHERE id IN (3, 50)")
    shop.sql("INSERT INTO item SELECT * FROM item WHERE id = -3")
    shop.tamper("INSERT INTO base SELECT * REPLACE (-id AS id) FROM base WHERE id IN (3, 50)")
    shop.tamper("INSERT INTO base FROM base WHERE id = -3")
    double(shop)

    verdict, keys = doubled(shop.compare())

    assert (Verdict.DIFFERENT, [(key, Kind.DUPLICATE) for key in (-3, 7)]) == (verdict, sorted(keys))


def test_keys_of_several_rows_are_found_where_their_hashes_go_to_disk_and_keys_are_grouped_in_parts(
    shop: WholeShop, hashed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doubled_keys, "HASHES_AT_ONCE", 7)
    monkeypatch.setattr(doubled_keys, "KEYS_AT_ONCE", 1)
    shop.sql("INSERT INTO item SELECT * FROM item WHERE id IN (3, 50)")
    shop.tamper("INSERT INTO base FROM base WHERE id IN (3, 7, 50)")

    verdict, keys = doubled(shop.compare())

    assert (Verdict.DIFFERENT, [(key, Kind.DUPLICATE) for key in (3, 7, 50)]) == (verdict, sorted(keys))


def test_keys_that_share_a_hash_are_not_taken_for_one_key(
    shop: WholeShop, hashed: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        doubled_keys, "hash_sql", lambda sides: f"hash({sides.keys(sides.base_values)[0]} % 5)"
    )
    double(shop)

    assert (Verdict.DIFFERENT, [(7, Kind.DUPLICATE)]) == doubled(shop.compare())


@pytest.mark.parametrize("in_base", [False, True])
def test_a_doubled_key_is_counted_once(shop: WholeShop, in_base: bool) -> None:
    if in_base:
        double(shop)

    full, first, later = (shop.compare(incremental=how) for how in (False, True, True))

    for found in (full, first, later):
        tally, read, carried = (getattr(found.comparisons[0], of) for of in ("tally", "rows", "carried"))
        assert (ROWS, ROWS - 1, 1) == (tally.compared, tally.matched, tally.different)
        # each row is counted once, read by this run or taken from an earlier one
        before = carried.rows if carried is not None else 0
        assert (ROWS + 1, ROWS + in_base) == (read["source rows"] + before, read["base rows"] + before)


def test_a_resumed_run_finds_a_doubled_key_of_a_segment_found_equal_before(shop: WholeShop) -> None:
    double(shop)
    shop.sql("UPDATE item SET name = 'other' WHERE id = 50")
    shop.compare()

    found = shop.compare(resume=True)

    assert (7, Kind.DUPLICATE) in doubled(found)[1]


def test_a_doubled_key_beside_another_difference_of_its_segment_is_found(shop: WholeShop) -> None:
    double(shop)
    shop.sql("UPDATE item SET name = 'other' WHERE id = 8")

    found = shop.compare()

    assert [(7, Kind.DUPLICATE), (8, Kind.CHANGED)] == sorted(doubled(found)[1])


def test_an_export_with_a_doubled_key_is_no_match(shop: WholeShop, tmp_path: Path) -> None:
    import duckdb

    double(shop)
    path = tmp_path / "export.parquet"
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    rows = table.scan(selected_fields=tuple(TYPES)).to_arrow()
    duckdb.from_arrow(rows).write_parquet(str(path))
    reader = ParquetReader(shop.platform.lake, str(path), log_position(shop.dsn or ""))

    found = shop.compare(reader=reader, origin=str(path))

    assert found.verdict in (Verdict.DIFFERENT, Verdict.UNVERIFIED)
    assert [(7, Kind.DUPLICATE)] == doubled(found)[1]


def test_a_window_with_a_doubled_key_is_different(shop: WholeShop) -> None:
    take_in(shop.platform, "retail")

    found = compare_window(shop.platform, "retail", "item", DAY.strftime("%Y-%m-%d"))

    kinds = {one.name: [d.kind for d in one.discrepancies] for one in found.comparisons}
    assert Verdict.DIFFERENT is found.verdict
    assert [Kind.DUPLICATE] == kinds["source_matches_base"]


@pytest.mark.parametrize("how", [{}, {"keys_only": True}, {"incremental": True}])
def test_a_primary_key_does_not_vouch_for_rows_of_tables_that_inherit_from_it(
    tmp_path: Path, postgres_database: str, how: dict[str, Any]
) -> None:
    shop = WholeShop(tmp_path, postgres_database, TYPES)
    shop.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, at timestamptz)",
        "CREATE TABLE child () INHERITS (item)",
        f"INSERT INTO item SELECT g, 'v' || g, '2026-01-01 00:00+00' FROM generate_series(1, {ROWS}) g",
        "INSERT INTO child SELECT * FROM item WHERE id = 7",
    )
    double(shop)

    assert (Verdict.DIFFERENT, [(7, Kind.DUPLICATE)]) == doubled(shop.compare(**how))
