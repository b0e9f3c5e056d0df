"""A source may call its columns what the engine and reconciliation call their own: every verdict stands."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from psycopg import sql

from cdc_platform.naming import quoted, safe_name
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import RAW_MATCHES_BASE, SOURCE_MATCHES_BASE, Comparison, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform.repair.approve import plan_and_approve
from cdc_platform.repair.carry_out import carry_out
from cdc_platform.repair.draft import Ask
from cdc_platform.repair.record import Repair
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import DAY, WholeShop

#: Columns of the comparisons' tables, aliases in their SQL, DuckDB's own columns, and what needs quotes.
NAMES = (
    *("rowid", "applied", "file", "pos", "position", "generation", "event", "key_id", "row", "op", "kind"),
    *("fate", "digest", "segment", "source", "base", "raw", "standing", "deletes", "place", "first"),
    *("second", "outcome", "pending", "awaited", "moved", "later", "reason", "base_row", "source_row", "n"),
    *("best", "has_left", "has_right", "k0", "v0", "l0", "r0", "d0", "lane1", "lane2", "a0", "b0", "keys"),
    *("base_rows", "raw_events", "source_rows", "outcomes", "suspects", "incoming", "differs", "equals_base"),
    *("k", "b", "r", "s", "o", "e", "i", "t", "h", "in_raw", "in_base", "side", "generation_complete"),
    *("filename", "file_row_number", "file_index", "snapshot_id", "_key_number", "in_source", "key_0"),
    *("before_0", "after_0", "several", "has_before", "old_rowid", "col_rowid", "equal", "old_id", "asked"),
    *('with "quotes"', "with spaces", "größe", "select", "Order"),
)
KEYS = (
    *(("rowid",), ("key_id",), ("applied", "event", "deletes", "standing"), ("file", "pos", "position")),
    *(("generation", "row", "op", "kind"), ("fate", "digest", "segment", "place", "first")),
    *(("source", "base", "raw", "k", "b", "r"), ("größe", 'with "quotes"', "with spaces", "select")),
)
WINDOW = "2026-03-01"


class NamedShop(WholeShop):
    """A table whose columns are ``names``, the first the key: 1 to 9, of which 8 became 10 and 9 went."""

    def __init__(self, folder: Path, dsn: str | None, names: tuple[str, ...], **table: Any) -> None:
        self.names, self.key = names, table.pop("key", names[:1])
        types = {name: pa.int64() if name in self.key else pa.string() for name in names}
        super().__init__(folder, dsn, types, **{"merge_key": self.key, **table})

    def row(self, number: int, value: str) -> dict[str, Any]:
        return dict.fromkeys(self.names, f"{value} {number}") | dict.fromkeys(self.key, number)

    def stock(self) -> None:
        updates = ({"Op": "U", **self.row(number, "w")} for number in (1, 2, 3))
        moved = {"Op": "U", **self.row(10, "w"), **{f"BI_{name}": 8 for name in self.key}}
        self.fill(*updates, moved, {"Op": "D", **self.row(9, "v")})

    def fill(self, *events: Mapping[str, Any]) -> None:
        loaded = [self.row(number, "v") for number in range(1, 10)]
        write_load_file(self.raw, "public", "item", loaded, at=DAY, types=self.types)
        at = DAY + timedelta(minutes=10)
        write_change_file(self.raw, "public", "item", at=at, events=events, types=self.types)
        self.apply()

    def held(self) -> list[dict[str, Any]]:
        """The rows the source should have."""
        return [self.row(number, "v" if 3 < number < 8 else "w") for number in (*range(1, 8), 10)]

    def make_source(self) -> None:
        names = sql.SQL(", ").join(map(sql.Identifier, self.names))
        fields = [
            sql.SQL("{} {}").format(
                sql.Identifier(name), sql.SQL("bigint PRIMARY KEY" if place == 0 else "text")
            )
            for place, name in enumerate(self.names)
        ]
        marks = sql.SQL(", ").join([sql.SQL("%s")] * len(self.names))
        with psycopg.connect(self.dsn or "", autocommit=True) as connection:
            connection.execute(sql.SQL("CREATE TABLE item ({})").format(sql.SQL(", ").join(fields)))
            for row in self.held():
                insert = sql.SQL("INSERT INTO item ({}) VALUES ({})").format(names, marks)
                connection.execute(insert, list(row.values()))
        self.catch_up()

    def change_base(self, name: str, number: int, value: str) -> None:
        column, key = (quoted(safe_name(one)) for one in (name, self.names[0]))
        self.tamper(f"UPDATE base SET {column} = '{value}' WHERE {key} = {number}")

    def against_raw(self) -> Comparison:
        return compare_window(self.platform, "retail", "item", WINDOW).comparison(RAW_MATCHES_BASE)

    def against_source(self) -> Comparison:
        return compare_window(self.platform, "retail", "item", WINDOW).comparison(SOURCE_MATCHES_BASE)

    def repair(self) -> Repair:
        return carry_out(
            self.platform, plan_and_approve(self.platform, Ask("retail", "item", WINDOW, "a test"))
        )

    def against_export(self) -> Comparison:
        """Compare the whole table with an export of the source."""
        path = self.raw.parent / "export.parquet"
        pq.write_table(pa.Table.from_pylist(self.held(), pa.schema(self.types)), path)
        reader = ParquetReader(self.platform.lake, str(path), "0/200")
        return self.compare(reader=reader, origin=str(path)).comparisons[0]


def said(found: Comparison) -> tuple[Verdict, str]:
    return found.verdict, found.reason if found.verdict is Verdict.ERROR else ""


def changed(found: Comparison) -> list[tuple[Mapping[str, Any], tuple[str, ...]]]:
    return [(one.key, one.columns) for one in found.discrepancies]


EQUAL = (Verdict.MATCH, "")


@pytest.fixture
def everything(tmp_path: Path) -> NamedShop:
    found = NamedShop(tmp_path, None, ("id", *NAMES))
    found.stock()
    return found


def test_columns_of_any_name_match_and_one_that_differs_is_named(everything: NamedShop) -> None:
    before = everything.against_raw()
    for number, name in enumerate(NAMES[:3], start=1):
        everything.change_base(name, number, "tampered")

    after = everything.against_raw()

    assert EQUAL == said(before)
    assert [({"id": n}, (name,)) for n, name in enumerate(NAMES[:3], start=1)] == changed(after)
    assert {Fault.WRITTEN_OUT_OF_BAND} == {one.located.fault for one in after.discrepancies if one.located}
    assert not [note for note in after.notes if "could not" in note]


@pytest.mark.parametrize("key", KEYS, ids=" ".join)
def test_a_key_may_have_any_name(tmp_path: Path, key: tuple[str, ...]) -> None:
    shop = NamedShop(tmp_path, None, (*key, "id", "v"), key=key)
    shop.stock()
    window, whole = shop.against_raw(), shop.against_export()
    shop.change_base("id", 2, "tampered")

    after = shop.against_raw()

    assert (EQUAL, EQUAL) == (said(window), said(whole))
    assert [(dict.fromkeys(map(safe_name, key), 2), ("id",))] == changed(after)
    assert all(one.located for one in after.discrepancies)
    assert not [note for note in after.notes if "could not" in note]


def test_a_table_that_keeps_every_row_may_have_columns_of_any_name(tmp_path: Path) -> None:
    shop = NamedShop(tmp_path, None, ("id", *NAMES), merge_key=(), no_key="append")
    shop.fill({"Op": "I", **shop.row(10, "w")})
    before = shop.against_raw()
    shop.change_base("in_raw", 10, "tampered")

    after = shop.against_raw()

    assert EQUAL == said(before)
    assert Verdict.DIFFERENT is after.verdict
    assert all(one.expected or one.actual for one in after.discrepancies)


@pytest.mark.postgres
@pytest.mark.parametrize("key", ["rowid", "key_id"])
def test_the_source_is_compared_and_base_repaired_whatever_the_columns_are_called(
    tmp_path: Path, postgres_database: str, key: str
) -> None:
    names = (key, *(name for name in NAMES if name != key))
    shop = NamedShop(tmp_path, postgres_database, names)
    shop.make_source()
    shop.stock()
    before = shop.against_source(), shop.compare().comparisons[0]
    odd = names[1:4]
    for number, name in enumerate(odd, start=1):
        shop.change_base(name, number, "tampered")

    after = shop.against_source(), shop.compare().comparisons[0]
    repaired = shop.repair()

    assert (EQUAL, EQUAL) == tuple(map(said, before))
    for one in after:
        assert [({key: n}, (safe_name(name),)) for n, name in enumerate(odd, start=1)] == changed(one)
    assert (3, "MATCH") == (repaired.keys, repaired.verified.verdict if repaired.verified else "")
    assert EQUAL == said(shop.compare().comparisons[0])


@pytest.mark.postgres
def test_what_many_differing_rows_share_is_found_in_columns_of_any_name(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = NamedShop(tmp_path, postgres_database, ("rowid", *(name for name in NAMES if name != "rowid")))
    shop.make_source()
    shop.stock()
    shop.tamper("DELETE FROM base WHERE rowid IN (4, 5)")
    for number in (1, 2, 3, 6, 7, 10):
        shop.change_base("file", number, "tampered")

    found = shop.compare().comparisons[0]

    assert (Verdict.DIFFERENT, 8) == (found.verdict, found.tally.different)
    assert "differ in file" in found.attribution
    assert not [note for note in found.notes if "could not" in note]
