"""Whole tables without a merge key against a real PostgreSQL: bags of rows, judged by position."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.assets.whole import whole_metadata
from cdc_platform.fleet.gathering import gather
from cdc_platform.pipeline import take_in
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.report import headline
from cdc_platform.reconcile.verdict import Discrepancy, Kind, Reconciliation, Verdict
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import DAY, WholeShop

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
STREAMED = {**TYPES, "cdc_stream_position": pa.string()}
MULTISET = {"merge_key": (), "no_key": "multiset"}
APPEND = {"merge_key": (), "no_key": "append"}
BOTH = pytest.mark.parametrize("shop", [MULTISET, APPEND], ids=["multiset", "append"], indirect=True)
KEPT_AS_APPEND = pytest.mark.parametrize("shop", [APPEND], ids=["append"], indirect=True)


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str, request: pytest.FixtureRequest) -> Iterator[WholeShop]:
    """Sixty rows, each value twice, equal in the source and in base; a multiset unless told otherwise."""
    found = WholeShop(tmp_path, postgres_database, TYPES, **getattr(request, "param", MULTISET))
    found.stock(
        "CREATE TABLE item (id bigint, v text)",
        "INSERT INTO item SELECT g % 30, CASE WHEN g % 30 <> 7 THEN 'v' || g % 30 END"
        " FROM generate_series(1, 60) g",
    )
    yield found
    found.platform.lake.close()


def events(shop: WholeShop, *told: Mapping[str, Any], minutes: int = 10) -> None:
    """Leave a file of changes in raw; images of an update before it are of all columns."""
    at = DAY + timedelta(minutes=minutes)
    write_change_file(shop.raw, "public", "item", at=at, events=told, types=STREAMED)


def only(found: Reconciliation) -> Discrepancy:
    (one,) = found.comparisons[0].discrepancies
    return one


def copies(found: Reconciliation) -> dict[Any, tuple[Kind, int, int]]:
    """Return kind and copies on both sides of each row that differs, by its ``v``."""
    return {
        (one.expected or one.actual or {})["v"]: (
            one.kind,
            one.key["rows in source"],
            one.key["rows in base"],
        )
        for one in found.comparisons[0].discrepancies
    }


def compare_export(shop: WholeShop, rows: list[dict[str, Any]], position: str = "") -> Reconciliation:
    path = shop.raw.parent / "export.parquet"
    pq.write_table(pa.Table.from_pylist(rows, pa.schema(TYPES)), path)
    reader = ParquetReader(shop.platform.lake, str(path), position)
    return shop.compare(reader=reader, origin=str(path))


@BOTH
def test_equal_bags_match_whatever_the_order_of_their_rows(shop: WholeShop) -> None:
    shop.sql("CREATE TABLE other AS SELECT * FROM item ORDER BY random()", "TRUNCATE item",
             "INSERT INTO item SELECT * FROM other")  # fmt: skip

    found = shop.compare(rows_per_segment=10)

    (comparison,) = found.comparisons
    assert (Verdict.MATCH, {"source rows": 60, "base rows": 60}) == (found.verdict, comparison.rows)
    assert {"MATCH": 4} == found.certificate["segment_verdicts"]
    assert found.certificate["source_position"]
    assert "multiset of whole rows by hash buckets" in comparison.method


C3 = pytest.mark.parametrize(
    ("source", "base"),
    [("xx", ""), ("xx", "yy"), ("xxy", "xyy"), ("", "xx"), ("x", "xx"), ("xx", "x"), ("xy", "xx")],
)


@C3
def test_c3_duplicates_without_a_key_differ_as_bags(
    tmp_path: Path, postgres_database: str, source: str, base: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, {"v": pa.string()}, **MULTISET)
    rows = ", ".join(f"('{v}')" for v in f"{source}z")
    shop.stock("CREATE TABLE item (v text)", f"INSERT INTO item VALUES {rows}")
    held = ", ".join(f"('{v}')" for v in f"{base}z")
    shop.tamper(
        f"CREATE TABLE z AS FROM base LIMIT 1; DELETE FROM base; "
        f"INSERT INTO base SELECT z.* REPLACE (h.v AS v) FROM z, (VALUES {held}) h(v)"
    )

    found = shop.compare()

    wanted = {v: (source.count(v), base.count(v)) for v in {*source, *base}}
    assert Verdict.DIFFERENT is found.verdict
    assert {v: both for v, both in wanted.items() if both[0] != both[1]} == {
        v: (here, there) for v, (_, here, there) in copies(found).items()
    }


@C3
def test_c3_duplicates_with_a_key_differ(
    tmp_path: Path, postgres_database: str, source: str, base: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, TYPES)
    rows = ", ".join(f"({n}, '{v}')" for n, v in enumerate(f"z{source}"))
    shop.stock("CREATE TABLE item (id bigint PRIMARY KEY, v text)", f"INSERT INTO item VALUES {rows}")
    held = ", ".join(f"({n}, '{v}')" for n, v in enumerate(f"z{base}"))
    shop.tamper(
        f"CREATE TABLE z AS FROM base LIMIT 1; DELETE FROM base; INSERT INTO base "
        f"SELECT z.* REPLACE (h.id AS id, h.v AS v) FROM z, (VALUES {held}) h(id, v)"
    )

    assert Verdict.DIFFERENT is shop.compare().verdict


def test_each_row_that_differs_is_told_with_its_copies_and_located(shop: WholeShop) -> None:
    shop.tamper(
        """DELETE FROM base WHERE v = 'v1';
           INSERT INTO base FROM base WHERE v = 'v2';
           UPDATE base SET v = 'strange'
           WHERE v = 'v3' AND rowid = (SELECT min(rowid) FROM base WHERE v = 'v3');
           DELETE FROM base WHERE v IS NULL"""
    )

    found = shop.compare(rows_per_segment=10)

    assert {
        "v1": (Kind.MISSING, 2, 0),
        "v2": (Kind.DUPLICATE, 2, 4),
        "v3": (Kind.MISSING, 2, 1),
        "strange": (Kind.UNEXPECTED, 0, 1),
        None: (Kind.MISSING, 2, 0),
    } == copies(found)
    (comparison,) = found.comparisons
    assert (Verdict.DIFFERENT, 8, 55) == (found.verdict, comparison.tally.different, comparison.tally.matched)
    assert {Fault.MERGE_LOST: 3, Fault.DUPLICATE: 1, Fault.WRITTEN_OUT_OF_BAND: 1} == comparison.faults


def test_columns_left_out_and_columns_dms_writes_otherwise_follow_the_rules_of_other_tables(
    tmp_path: Path, postgres_database: str
) -> None:
    types = {"day": pa.date32(), "code": pa.string(), "secret": pa.string()}
    shop = WholeShop(tmp_path, postgres_database, types, not_compared=("secret",), **MULTISET)
    shop.sql(
        "CREATE TABLE item (day date, code char(4), secret text)",
        "INSERT INTO item VALUES ('infinity', 'a', 'x'), ('infinity', 'a', 'y'), ('2026-01-01', 'b', 'z')",
    )
    days = ["9999-12-31", "9999-12-31", "2026-01-01"]
    shop.load(
        [
            {"day": pa.scalar(day).cast(pa.date32()).as_py(), "code": code, "secret": "?"}
            for day, code in zip(days, ["a", "a   ", "b"], strict=True)
        ]
    )
    shop.apply()
    shop.catch_up()

    found = shop.compare()

    assert Verdict.MATCH is found.verdict
    assert {"secret": "EXCLUDED"} == {
        one["name"] if "name" in one else one["column"]: one["verdict"]
        for one in found.certificate["comparisons"][0]["excluded"]
    }


def test_a_clamped_moment_in_any_of_its_forms_is_equal_as_often_as_the_source_has_it(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, {"at": pa.timestamp("us", tz="UTC")}, **MULTISET)
    shop.stock(
        "CREATE TABLE item (at timestamptz)",
        "INSERT INTO item VALUES ('9999-12-31 23:59:59.999999+00'), ('2026-01-01 00:00:00+00')",
    )
    shop.sql("INSERT INTO item VALUES ('infinity'), ('infinity')")
    shop.catch_up()
    forms = ("TIMESTAMPTZ '9999-12-31 23:59:59+00'", "TIMESTAMPTZ '9999-12-31 23:59:59.999+00'")
    shop.tamper(
        "; ".join(f'INSERT INTO base SELECT * REPLACE ({one} AS "at") FROM base LIMIT 1' for one in forms)
    )

    assert Verdict.MATCH is shop.compare().verdict

    shop.sql("DELETE FROM item WHERE ctid = (SELECT min(ctid) FROM item WHERE at = 'infinity')")
    found = shop.compare()
    assert (Verdict.DIFFERENT, 1) == (found.verdict, found.comparisons[0].tally.different)


@BOTH
def test_a_row_whose_file_is_not_merged_yet_is_in_flight_accepted_or_not(shop: WholeShop) -> None:
    shop.sql("INSERT INTO item VALUES (1, 'v1'), (99, 'new')")
    shop.catch_up()
    events(shop, {"Op": "I", "id": 1, "v": "v1"}, {"Op": "I", "id": 99, "v": "new"})
    unseen = shop.compare()
    take_in(shop.platform, "retail")
    accepted = shop.compare()
    shop.apply()
    merged = shop.compare()

    assert [Verdict.IN_FLIGHT, Verdict.IN_FLIGHT, Verdict.MATCH] == [
        one.verdict for one in (unseen, accepted, merged)
    ]
    assert {Verdict.IN_FLIGHT} == {one.verdict for one in unseen.comparisons[0].discrepancies}


@BOTH
def test_a_row_capture_has_not_come_to_is_in_flight_and_lost_once_capture_has_passed_it(
    shop: WholeShop,
) -> None:
    shop.fall_behind()
    shop.sql("INSERT INTO item VALUES (99, 'new')")
    behind = shop.compare()
    shop.platform.captured = lambda: None
    unknown = shop.compare()
    shop.catch_up()
    passed = shop.compare()

    assert [Verdict.IN_FLIGHT, Verdict.UNVERIFIED, Verdict.DIFFERENT] == [
        one.verdict for one in (behind, unknown, passed)
    ]
    located = only(passed).located
    assert located is not None
    assert (Fault.CAPTURE_LOST, True) == (located.fault, located.mend.endswith("then reload the table"))


def test_a_row_more_of_which_was_lost_than_a_waiting_file_brings_is_different(shop: WholeShop) -> None:
    shop.sql("INSERT INTO item SELECT 99, 'new' FROM generate_series(1, 3)")
    shop.catch_up()
    events(shop, {"Op": "I", "id": 99, "v": "new"})

    assert (Verdict.DIFFERENT, Kind.MISSING) == (only(shop.compare()).verdict, Kind.MISSING)

    events(shop, *[{"Op": "I", "id": 99, "v": "new"}] * 2, minutes=11)
    assert Verdict.IN_FLIGHT is shop.compare().verdict


@BOTH
def test_a_row_that_is_equal_now_and_that_a_waiting_file_changes_is_in_flight(shop: WholeShop) -> None:
    events(shop, {"Op": "I", "id": 1, "v": "v1"})

    found = shop.compare()

    tally = found.comparisons[0].tally
    assert (Verdict.IN_FLIGHT, 59, 1) == (found.verdict, tally.matched, tally.in_flight)


def test_a_delete_not_merged_yet_is_in_flight_and_one_nobody_captured_is_different(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE ctid = (SELECT min(ctid) FROM item WHERE id = 4)")
    shop.catch_up()
    lost = shop.compare()
    events(shop, {"Op": "D", "id": 4, "v": "v4"})
    waiting = shop.compare()
    shop.apply()

    assert [Verdict.DIFFERENT, Verdict.IN_FLIGHT, Verdict.MATCH] == [
        one.verdict for one in (lost, waiting, shop.compare())
    ]
    assert {Fault.DELETE_NOT_CAPTURED: 1} == lost.comparisons[0].faults


def test_an_update_not_merged_yet_is_in_flight_in_the_row_before_and_the_row_after(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET v = 'changed' WHERE id = 4")
    shop.catch_up()
    update = {"Op": "U", "id": 4, "v": "changed", "BI_id": 4, "BI_v": "v4"}
    events(shop, update, update)
    waiting = shop.compare()
    shop.apply()

    assert {Verdict.IN_FLIGHT} == {one.verdict for one in waiting.comparisons[0].discrepancies}
    assert {"v4", "changed"} == set(copies(waiting))
    assert Verdict.MATCH is shop.compare().verdict


def test_while_a_waiting_update_does_not_tell_the_row_it_takes_away_nothing_is_different(
    shop: WholeShop,
) -> None:
    shop.sql("UPDATE item SET v = 'changed' WHERE id = 4")
    shop.catch_up()
    events(shop, *[{"Op": "U", "id": 4, "v": "changed"}] * 2)

    found = shop.compare()

    assert Verdict.IN_FLIGHT is found.verdict
    assert "cannot tell which rows they change" in found.comparisons[0].reason


def test_an_update_set_aside_for_not_telling_the_row_it_takes_away_leaves_rows_too_many_unlocated(
    shop: WholeShop,
) -> None:
    shop.sql("UPDATE item SET v = 'changed' WHERE id = 4")
    shop.catch_up()
    events(shop, *[{"Op": "U", "id": 4, "v": "changed"}] * 2)
    shop.apply()

    found = shop.compare()

    assert {Fault.QUARANTINED: 1, Fault.UNKNOWN: 1} == found.comparisons[0].faults
    (one,) = (one for one in found.comparisons[0].discrepancies if one.kind is Kind.UNEXPECTED)
    assert one.located is not None
    assert (
        "20260301-121000000.parquet were set aside that do not tell which rows they take"
        in one.located.reason
    )


@KEPT_AS_APPEND
def test_an_update_set_aside_by_declaration_leaves_both_its_rows_unlocated(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET v = 'changed' WHERE id = 4")
    shop.catch_up()
    events(shop, *[{"Op": "U", "id": 4, "v": "changed"}] * 2)
    shop.apply()

    assert {Fault.UNKNOWN: 2} == shop.compare().comparisons[0].faults


@BOTH
def test_a_row_set_aside_that_nobody_could_type_may_be_of_any(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE id = 4")
    shop.catch_up()
    events(shop, {"Op": "X", "id": 4, "v": "v4"}, *[{"Op": "I", "id": 40, "v": "new"}] * 2)
    shop.sql("INSERT INTO item VALUES (40, 'new'), (40, 'new')")
    shop.catch_up()
    shop.apply()

    assert {Fault.UNKNOWN: 1} == shop.compare().comparisons[0].faults


def test_a_waiting_delete_that_has_no_row_leaves_rows_too_many_open(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE ctid = (SELECT min(ctid) FROM item WHERE id = 4)")
    shop.catch_up()
    events(shop, {"Op": "D", "id": 4, "v": None})

    found = shop.compare()

    assert Verdict.UNVERIFIED is only(found).verdict
    assert "1 delete that do not tell which row" in only(found).reason


def test_a_file_nobody_can_read_may_change_any_row(shop: WholeShop) -> None:
    shop.tamper("DELETE FROM base WHERE id = 4")
    events(shop, {"Op": "I", "id": 1, "v": "v1"})
    (file,) = (shop.raw / "public" / "item").glob("2026*")
    file.write_bytes(file.read_bytes()[:40])

    assert {Verdict.IN_FLIGHT} == {one.verdict for one in shop.compare().comparisons[0].discrepancies}


@KEPT_AS_APPEND
def test_rows_that_the_source_deleted_are_kept_by_declaration_where_raw_has_their_deletes(
    shop: WholeShop,
) -> None:
    shop.sql("DELETE FROM item WHERE id IN (4, 5)")
    shop.catch_up()
    events(shop, *[{"Op": "D", "id": n, "v": f"v{n}"} for n in (4, 4, 5, 5)])
    shop.apply()
    found = shop.compare()

    (comparison,) = found.comparisons
    assert (Verdict.MATCH, 56, 0) == (found.verdict, comparison.tally.matched, comparison.discrepancies_total)
    assert {"source rows": 56, "base rows": 60, "rows kept by declaration": 4} == comparison.rows
    assert "Besides, base keeps 4 rows that the source deleted" in headline(found)
    assert any("4 rows that the source deleted" in note for note in comparison.notes)


@KEPT_AS_APPEND
def test_a_row_more_than_raw_has_deletes_of_is_different(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE id = 4")
    shop.catch_up()
    events(shop, {"Op": "D", "id": 4, "v": "v4"})
    shop.apply()

    found = shop.compare()

    assert (Verdict.DIFFERENT, 1) == (found.verdict, found.comparisons[0].tally.different)
    assert {Fault.DELETE_NOT_CAPTURED: 1} == found.comparisons[0].faults


@KEPT_AS_APPEND
def test_a_delete_that_does_not_tell_its_row_leaves_rows_too_many_open(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE id = 4")
    shop.catch_up()
    events(shop, *[{"Op": "D", "id": 4, "v": None}] * 2)
    shop.apply()

    found = shop.compare()

    assert Verdict.UNVERIFIED is found.verdict
    assert "do not tell which row they are of" in only(found).reason


@KEPT_AS_APPEND
def test_a_row_raw_says_was_deleted_and_that_base_lacks_is_no_row_too_many(shop: WholeShop) -> None:
    shop.tamper("DELETE FROM base WHERE id = 4")
    events(shop, *[{"Op": "D", "id": 4, "v": "v4"}] * 2)
    shop.apply()

    assert (Verdict.DIFFERENT, Kind.MISSING) == (only(shop.compare()).verdict, Kind.MISSING)


@BOTH
def test_while_a_reload_is_not_known_to_be_complete_nothing_is_decided(shop: WholeShop) -> None:
    rows = [{"id": n % 30, "v": f"v{n % 30}" if n % 30 != 7 else None} for n in range(1, 61)]
    later = DAY + timedelta(hours=2)
    write_load_file(shop.raw, "public", "item", rows[:40], at=later, types=TYPES)
    waiting = shop.compare()
    shop.apply()
    applied = shop.compare()

    assert [Verdict.IN_FLIGHT, Verdict.IN_FLIGHT] == [waiting.verdict, applied.verdict]
    assert "is not known to be complete" in applied.comparisons[0].reason


@BOTH
def test_an_export_of_the_past_matches_once_what_came_later_is_reckoned_in(shop: WholeShop) -> None:
    rows = [{"id": n % 30, "v": f"v{n % 30}" if n % 30 != 7 else None} for n in range(1, 61)]
    hour = DAY + timedelta(hours=1)
    told = [{"Op": "I", "id": 1, "v": "v1", "cdc_stream_position": "0/100"}]
    told += [{"Op": "I", "id": n, "v": "late", "cdc_stream_position": "0/300"} for n in (98, 99)]
    told += [{"Op": "I", "id": 5, "v": "v5", "cdc_stream_position": "0/300"}]
    write_change_file(shop.raw, "public", "item", at=hour, events=told, types=STREAMED)
    took = [{"Op": "D", "id": 5, "v": "v5", "cdc_stream_position": position} for position in ("0/300",) * 2]
    write_change_file(shop.raw, "public", "item", at=hour + timedelta(minutes=1), events=took, types=STREAMED)
    shop.apply()
    shop.platform.captured = lambda: "0/FFF"
    then = [*rows, {"id": 1, "v": "v1"}]

    exact, lacking = (compare_export(shop, one, "0/200") for one in (then, then[:-1]))
    unknown = compare_export(shop, then)

    assert [Verdict.MATCH, Verdict.DIFFERENT, Verdict.UNVERIFIED] == [
        one.verdict for one in (exact, lacking, unknown)
    ]
    assert (Kind.DUPLICATE, 2, 3) == copies(lacking)["v1"]


@BOTH
def test_the_full_load_base_was_made_of_is_held_against_base_with_the_changes_since(shop: WholeShop) -> None:
    load = shop.raw / "public" / "item" / "LOAD00000001.parquet"
    shop.sql("INSERT INTO item VALUES (1, 'v1')")
    events(shop, {"Op": "I", "id": 1, "v": "v1"})
    shop.apply()

    def compared() -> Reconciliation:
        return shop.compare(reader=ParquetReader(shop.platform.lake, str(load)), origin=str(load))

    assert Verdict.MATCH is compared().verdict
    shop.tamper("DELETE FROM base WHERE id = 1")
    assert (Kind.MISSING, 2, 0) == copies(compared())["v1"]


def test_an_event_told_twice_is_one_when_changes_since_are_reckoned_in(shop: WholeShop) -> None:
    load = shop.raw / "public" / "item" / "LOAD00000001.parquet"
    event = {"Op": "I", "id": 1, "v": "v1", "cdc_change_seq": "20260301121000000000000000000000001"}
    events(shop, event)
    events(shop, event, minutes=20)
    shop.apply()

    found = shop.compare(reader=ParquetReader(shop.platform.lake, str(load)), origin=str(load))

    assert Verdict.MATCH is found.verdict


def test_an_incremental_run_reads_everything_and_says_so(shop: WholeShop) -> None:
    found = reconcile_full(shop.platform, "retail", "item", FullOptions(incremental=True))

    assert (Verdict.MATCH, "incremental", 60) == (
        found.verdict,
        found.window,
        found.comparisons[0].rows["source rows"],
    )
    assert any("every row was read" in note for note in found.comparisons[0].notes)


def test_a_run_that_is_to_go_on_with_an_earlier_one_begins_anew_and_says_so(shop: WholeShop) -> None:
    found = shop.compare(resume=True)

    assert Verdict.MATCH is found.verdict
    assert any("begins anew" in note for note in found.comparisons[0].notes)


def test_keys_alone_of_a_table_without_a_key_are_not_verified(shop: WholeShop) -> None:
    found = shop.compare(keys_only=True)

    assert Verdict.UNVERIFIED is found.verdict
    assert "no keys to compare alone" in found.comparisons[0].reason


def test_a_budget_that_ends_the_reading_leaves_everything_unverified(shop: WholeShop) -> None:
    found = shop.compare(budget=Budget(max_rows=1), rows_per_segment=10)

    assert Verdict.UNVERIFIED is found.verdict
    assert {"UNVERIFIED": 4} == found.certificate["segment_verdicts"]


def test_a_source_that_is_gone_is_an_error(shop: WholeShop) -> None:
    shop.sql("DROP TABLE item")

    assert Verdict.ERROR is shop.compare().verdict


def test_the_report_and_the_certificate_say_what_was_compared(shop: WholeShop) -> None:
    shop.tamper("DELETE FROM base WHERE id = 4")

    found = reconcile_full(shop.platform, "retail", "item", FullOptions(rows_per_segment=10))

    page = Path(found.report or "").read_text()
    assert "Segments of the table" in page
    assert "by the hash of the row" in page
    assert "1 row value that differs" in page
    assert "rows in source = 2, rows in base = 0" in page
    metadata = whole_metadata(found)
    assert (60, 58) == (metadata["source_rows_read"], metadata["base_rows_read"])
    (table,) = gather(shop.platform, [("retail", shop.platform.table("retail", "item"))])
    assert (Verdict.DIFFERENT, 2) == (table.verdict, table.different)
    proof = json.loads(json.dumps(found.certificate))
    assert ([], 4, 60, 58) == (
        proof["merge_key"],
        len(proof["segments"]),
        sum(one["rows"]["source"] for one in proof["segments"]),
        sum(one["rows"]["base"] for one in proof["segments"]),
    )


def test_columns_with_names_of_the_workspace_are_compared(tmp_path: Path, postgres_database: str) -> None:
    names = ("lane1", "lane2", "part", "n", "id", "v0", "came", "op", "state", "file", "rowid", "row")
    shop = WholeShop(tmp_path, postgres_database, dict.fromkeys(names, pa.int64()), **MULTISET)
    columns = ", ".join(f'"{name}" bigint' for name in names)
    values = ", ".join(f"g + {place}" for place in range(len(names)))
    shop.sql(
        f"CREATE TABLE item ({columns})", f"INSERT INTO item SELECT {values} FROM generate_series(1, 9) g"
    )
    shop.load([{name: g + place for place, name in enumerate(names)} for g in range(1, 10)])
    shop.apply()
    shop.catch_up()
    assert Verdict.MATCH is shop.compare().verdict

    shop.tamper("UPDATE base SET lane1 = 0 WHERE n = 5")
    found = shop.compare()
    assert (Verdict.DIFFERENT, ("lane1",)) == (found.verdict, found.comparisons[0].guilty)


@BOTH
def test_a_row_that_came_after_an_export_and_that_base_has_lost_is_no_match(shop: WholeShop) -> None:
    load = shop.raw / "public" / "item" / "LOAD00000001.parquet"
    against = {"reader": ParquetReader(shop.platform.lake, str(load)), "origin": str(load)}
    events(shop, {"Op": "I", "id": 99, "v": "new", "cdc_stream_position": "0/10"})
    shop.apply()
    assert Verdict.MATCH is shop.compare(**against).verdict
    shop.tamper("DELETE FROM base WHERE id = 99")

    found = shop.compare(**against)

    assert Verdict.UNVERIFIED is found.verdict
    assert "changes after the export of 1 row of which base has no more" in found.comparisons[0].reason


@BOTH
def test_changes_after_an_export_that_cancel_each_other_leave_a_match(shop: WholeShop) -> None:
    load = shop.raw / "public" / "item" / "LOAD00000001.parquet"
    against = {"reader": ParquetReader(shop.platform.lake, str(load)), "origin": str(load)}
    new = {"id": 99, "v": "new"}
    events(shop, {"Op": "I", **new, "cdc_stream_position": "0/10"})
    events(shop, {"Op": "D", **new, "cdc_stream_position": "0/20"}, minutes=20)
    shop.apply()

    assert Verdict.MATCH is shop.compare(**against).verdict
