"""Reconciling a whole table on the real platform, against a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from cdc_platform.assets.metadata import comparison_metadata
from cdc_platform.pipeline import take_in
from cdc_platform.reconcile import drill
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.verdict import Kind, Verdict
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "name": pa.string(),
    "price": pa.decimal128(10, 2),
    "ratio": pa.float64(),
    "at": pa.timestamp("us", tz="UTC"),
}
ROWS = 1000


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """A thousand rows in ten segments, equal in the source and in base."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2), ratio float8,"
        " at timestamptz)",
        f"""INSERT INTO item SELECT g, CASE WHEN g % 7 <> 0 THEN 'name ' || g END, g / 4.0, g / 3.0,
            TIMESTAMPTZ '2026-01-01 00:00:00+00' + g * interval '1 minute'
            FROM generate_series(1, {ROWS}) g""",
        "ANALYZE item",
    )
    yield found
    found.platform.lake.close()


def test_a_table_that_equals_its_source_matches_in_every_segment(shop: WholeShop) -> None:
    found = shop.compare()

    (comparison,) = found.comparisons
    assert (Verdict.MATCH, ROWS, ROWS) == (found.verdict, comparison.tally.compared, comparison.tally.matched)
    assert {"source rows": ROWS, "base rows": ROWS} == comparison.rows
    assert {"MATCH": 11} == found.certificate["segment_verdicts"]


def test_the_certificate_names_the_digest_the_salt_and_every_segment(shop: WholeShop) -> None:
    proof = json.loads(json.dumps(shop.compare().certificate))

    assert "duckdb" in proof["digest"]["implementation"]
    assert (128, 12) == (proof["digest"]["bits"], len(proof["digest"]["salt_id"]))
    assert ROWS == sum(segment["rows"]["source"] for segment in proof["segments"])
    assert proof["source_position"]
    assert proof["snapshot_id"]


@pytest.mark.parametrize(("rows_per_segment", "segments"), [(100, 11), (20, 63)])
def test_each_row_that_differs_is_found_with_its_kind_and_columns(
    shop: WholeShop, rows_per_segment: int, segments: int
) -> None:
    shop.tamper(
        """DELETE FROM base WHERE id = 500;
           UPDATE base SET name = 'x' WHERE id = 1000;
           UPDATE base SET price = NULL WHERE id = 1;
           UPDATE base SET ratio = ratio + 1e-13 WHERE id = 300;
           INSERT INTO base FROM base WHERE id = 200;
           INSERT INTO base SELECT * REPLACE (id + 5000 AS id) FROM base WHERE id = 201"""
    )

    found = shop.compare(rows_per_segment=rows_per_segment)

    assert segments == len(found.certificate["segments"])
    assert {
        1: (Kind.CHANGED, ("price",)),
        200: (Kind.DUPLICATE, ()),
        300: (Kind.CHANGED, ("ratio",)),
        500: (Kind.MISSING, ()),
        1000: (Kind.CHANGED, ("name",)),
        5201: (Kind.UNEXPECTED, ()),
    } == {one.key["id"]: (one.kind, one.columns) for one in found.comparisons[0].discrepancies}
    assert (Verdict.DIFFERENT, 5) == (found.verdict, found.certificate["segment_verdicts"]["DIFFERENT"])


def test_a_table_whose_rows_lie_in_no_order_is_read_at_once_and_gives_the_same(shop: WholeShop) -> None:
    shop.sql(
        "CREATE TABLE other AS SELECT * FROM item ORDER BY md5(id::text)",
        "DROP TABLE item",
        "ALTER TABLE other RENAME TO item",
        "ALTER TABLE item ADD PRIMARY KEY (id)",
        "ANALYZE item",
    )
    assert Verdict.MATCH is shop.compare().verdict

    shop.tamper("UPDATE base SET name = 'x' WHERE id = 700")
    found = shop.compare()
    assert [700] == [one.key["id"] for one in found.comparisons[0].discrepancies]
    assert (Verdict.DIFFERENT, 999) == (found.verdict, found.comparisons[0].tally.matched)


def test_a_fault_of_the_whole_table_is_systemic_and_names_the_column(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_SCATTERED", 999)
    shop.tamper('UPDATE base SET "at" = "at" + INTERVAL 1 HOUR')

    found = shop.compare(rows_per_segment=50)

    assert (Verdict.DIFFERENT, True, ["at"]) == (
        found.verdict,
        found.certificate["is_systemic"],
        found.certificate["guilty_columns"],
    )
    assert ["DIFFERENT: at", "UNVERIFIED: id, name, price, ratio"] == comparison_metadata(
        found.comparisons[0]
    )["columns_by_verdict"].split("; ")[:2]
    assert {"DIFFERENT": 8, "UNVERIFIED": 12, "MATCH": 1} == found.certificate["segment_verdicts"]


def test_a_change_not_captured_yet_is_in_flight(shop: WholeShop) -> None:
    shop.fall_behind()
    shop.sql("UPDATE item SET name = 'new' WHERE id = 10")

    assert Verdict.IN_FLIGHT is shop.compare().verdict


def test_a_change_capture_lost_is_different(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET name = 'new' WHERE id = 10")

    assert Verdict.DIFFERENT is shop.compare().verdict


def test_a_difference_stays_open_when_nobody_knows_how_far_capture_is(shop: WholeShop) -> None:
    shop.platform.captured = lambda: None
    assert Verdict.MATCH is shop.compare().verdict

    shop.sql("UPDATE item SET name = 'new' WHERE id = 10")
    assert Verdict.UNVERIFIED is shop.compare().verdict


def event(id_: int, name: str) -> dict[str, object]:
    return {"Op": "U", "id": id_, "name": name, "price": Decimal(1), "ratio": 1.0, "at": None}


def test_keys_of_files_not_applied_are_in_flight_also_where_they_are_equal_now(shop: WholeShop) -> None:
    shop.change(event(10, "on its way"), event(11, "too"))
    take_in(shop.platform, "retail")

    found = shop.compare()

    assert (Verdict.IN_FLIGHT, 2) == (found.verdict, found.comparisons[0].tally.in_flight)
    assert {"IN_FLIGHT": 1, "MATCH": 10} == found.certificate["segment_verdicts"]


def test_a_key_that_differs_and_is_changed_by_a_waiting_file_is_in_flight(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET name = 'on its way' WHERE id = 10")
    shop.change(event(10, "on its way"))
    take_in(shop.platform, "retail")

    found = shop.compare()

    assert (Verdict.IN_FLIGHT, 1) == (found.verdict, found.comparisons[0].tally.in_flight)


def test_a_raw_file_nobody_accepted_stands_against_a_match(shop: WholeShop) -> None:
    shop.change(event(10, "on its way"))

    assert Verdict.IN_FLIGHT is shop.compare().verdict


def test_a_raw_file_nobody_can_read_may_hold_any_key_and_stands_against_a_match(shop: WholeShop) -> None:
    (shop.raw / "public/item/20260301-130000000.parquet").write_bytes(b"PAR1 not parquet PAR1")

    found = shop.compare()

    assert Verdict.IN_FLIGHT is found.verdict
    assert "1 file not applied cannot tell which keys they change" in found.comparisons[0].reason


def test_rows_beyond_the_budget_are_unverified_and_a_later_run_goes_on_with_them(shop: WholeShop) -> None:
    first = shop.compare(budget=Budget(max_rows=350))
    second = shop.compare(resume=True)

    proven = first.certificate["segment_verdicts"]["MATCH"]
    assert (Verdict.UNVERIFIED, Verdict.MATCH) == (first.verdict, second.verdict)
    assert 0 < proven < 11
    assert "budget of 350 source rows" in first.comparisons[0].reason
    carried = [one["carried_from"] for one in second.certificate["segments"] if one["carried_from"]]
    assert [first.run_id] * proven == carried


def test_a_run_does_not_go_on_when_base_moved_and_says_so(shop: WholeShop) -> None:
    shop.compare(budget=Budget(max_rows=350))
    shop.tamper("UPDATE base SET name = 'x' WHERE id = 1")

    found = shop.compare(resume=True)

    assert Verdict.DIFFERENT is found.verdict
    assert "base has another snapshot" in found.comparisons[0].notes[0]


@pytest.mark.parametrize(
    ("budget", "says"),
    [(Budget(max_seconds=0), "0 seconds was"), (Budget(max_cpu_seconds=0), "0 processor seconds was")],
    ids=["clock", "processor"],
)
def test_a_budget_of_no_time_proves_nothing(shop: WholeShop, budget: Budget, says: str) -> None:
    found = shop.compare(budget=budget)

    assert (Verdict.UNVERIFIED, 0) == (found.verdict, found.comparisons[0].tally.matched)
    assert f"the budget of {says} spent" in found.comparisons[0].reason


def test_a_source_that_lost_all_its_rows_is_different(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item")

    found = shop.compare()

    assert (Verdict.DIFFERENT, {Kind.UNEXPECTED}) == (
        found.verdict,
        {one.kind for one in found.comparisons[0].discrepancies},
    )


def test_a_soft_deleted_row_is_none(tmp_path: Path, postgres_database: str) -> None:
    shop = WholeShop(tmp_path, postgres_database, {"id": pa.int64(), "v": pa.string()}, delete_mode="soft")
    shop.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)", "INSERT INTO item VALUES (2, 'b')")
    shop.load([{"id": 1, "v": "a"}, {"id": 2, "v": "b"}])
    shop.change({"Op": "D", "id": 1, "v": None})
    shop.apply()

    assert Verdict.MATCH is shop.compare().verdict


def test_values_in_the_form_dms_gives_them_are_equal_by_digest_however_many(
    tmp_path: Path, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_SUSPECTS", 2)
    utc = pa.timestamp("us", tz="UTC")
    types = {"id": pa.int64(), "until": utc, "since": utc, "day": pa.date32(), "amount": pa.decimal128(28, 6)}
    shop = WholeShop(tmp_path, postgres_database, types, rows_per_segment=100)
    shop.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, until timestamptz, since timestamptz, day date,"
        " amount numeric)",
        "INSERT INTO item SELECT n, 'infinity', '-infinity', 'infinity', n / 7.0"
        " FROM generate_series(1, 30) n",
    )
    clamped = {
        "until": datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        "since": datetime(1, 1, 1, tzinfo=UTC),
        "day": date(9999, 12, 31),
    }
    places = Decimal("0.000001")
    rows = [{"id": n, **clamped, "amount": (Decimal(n) / 7).quantize(places)} for n in range(1, 31)]
    shop.load(rows)
    shop.apply()
    shop.catch_up()
    equal = shop.compare()
    # the lowest 128 bits of its digits are those of 1/7
    shop.sql("UPDATE item SET amount = 2 ^ 128::numeric * 0.000001 + 0.142857 WHERE id = 1")
    # infinity is the end of that day, and no other moment of it
    shop.tamper("UPDATE base SET until = '9999-12-31 03:33:00+00' WHERE id = 2")
    shop.catch_up()
    found = shop.compare()
    shop.platform.lake.close()

    assert (Verdict.MATCH, 30) == (equal.verdict, equal.comparisons[0].tally.matched)
    one, two = sorted(found.comparisons[0].discrepancies, key=lambda each: each.key["id"])
    assert [(1, ("amount",)), (2, ("until",))] == [(each.key["id"], each.columns) for each in (one, two)]
    assert ("340282366920938463463374607431768.354313", "0.142857") == tuple(
        (side or {})["amount"] for side in (one.expected, one.actual)
    )


def test_a_column_no_log_carries_is_not_compared_and_nothing_is_called_lost_for_it(
    tmp_path: Path, postgres_database: str
) -> None:
    types = {"id": pa.int64(), "name": pa.string(), "loud": pa.string()}
    shop = WholeShop(tmp_path, postgres_database, types)
    shop.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, loud text GENERATED ALWAYS AS (name || '!'))",
        "INSERT INTO item VALUES (1, 'one')",
    )
    shop.load_from_source()
    shop.sql("UPDATE item SET name = 'two'")
    shop.change({"Op": "U", "id": 1, "name": "two", "loud": None})
    shop.apply()
    shop.catch_up()

    found = shop.compare()

    assert (Verdict.UNVERIFIED, ()) == (found.verdict, found.comparisons[0].discrepancies)
    assert "loud (computed when it is read in the source" in found.comparisons[0].reason
