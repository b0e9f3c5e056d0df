"""Incremental runs on the real platform: what may have changed is compared, and nothing that may is not."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from random import Random
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.pipeline import take_in
from cdc_platform.raw.files import FileKind
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.reconcile import subject
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full import FullOptions, reconcile_full, whole_options
from cdc_platform.reconcile.incremental import IncrementalRun
from cdc_platform.reconcile.postgres import PostgresSnapshot
from cdc_platform.reconcile.proofs import ages_of, read_proofs, version_of, write_proofs
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.testing import write_load_file
from cdc_platform_tests.reconcile.shop import DAY, WholeShop, rows_known

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string(), "price": pa.decimal128(10, 2)}
ROWS, SEGMENTS = 1000, 10


class IncrementalShop(WholeShop):
    """A shop whose source, raw files and base change together, unless a test lets one of them lag."""

    minutes = 10

    def prove(self) -> None:
        """Stock a thousand rows in ten segments, and prove them by a full run."""
        self.stock(
            "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
            f"INSERT INTO item SELECT g, 'name ' || g, g + 0.25 FROM generate_series(1, {ROWS}) g",
            "ANALYZE item",
        )
        assert Verdict.MATCH is self.compare().verdict

    def update(self, number: int, name: str, *, source: bool = True, raw: bool = True) -> None:
        if source:
            self.sql(f"UPDATE item SET name = '{name}' WHERE id = {number}")
        if raw:
            self.tell({"Op": "U", **row(number, name)})

    def tell(self, *events: dict[str, Any]) -> None:
        """Write a raw file."""
        self.change(*events, minutes=self.minutes)
        self.minutes += 1

    def run(self, **options: Any) -> Reconciliation:
        return self.compare(incremental=True, **options)

    @property
    def objects(self) -> Any:
        return self.platform.objects("retail", "item")

    def act(self, random: Random, step: int, hidden: set[int]) -> int:
        """Change one key somewhere; return it when the lake tells of it, else 0, ``hidden`` keeps it."""
        number, name = random.randint(1, 120), f"step {step} {random.random()}"
        match random.choice(("all", "source", "base", "gone from base", "rewritten", "deleted")):
            case "all":
                self.sql(
                    f"INSERT INTO item VALUES ({number}, '{name}', {number}.25) "
                    f"ON CONFLICT (id) DO UPDATE SET name = excluded.name, price = excluded.price"
                )
                self.tell({"Op": "U", **row(number, name)})
            case "deleted":
                self.sql(f"DELETE FROM item WHERE id = {number}")
                self.tell({"Op": "D", **row(number)})
            case "source":
                self.update(number, name, raw=False)
                hidden.add(number)
                return 0
            case "base":
                self.tamper(f"UPDATE base SET name = '{name}' WHERE id = {number}")
            case "gone from base":
                self.tamper(f"DELETE FROM base WHERE id = {number}")
            case _:
                self.tamper("UPDATE base SET name = name")
                return 0
        return number

    def read_whole(self, found: Reconciliation, numbers: set[int]) -> set[int]:
        """Return which keys lie in segments that a run read whole."""
        whole = {one["segment"] for one in found.certificate["segments"] if one["keys_since"] is None}
        proofs = read_proofs(self.objects)
        assert proofs is not None
        bounds = [int(bound[0]) for bound in proofs.bounds]
        return {one for one in numbers if sum(one >= bound for bound in bounds) in whole}

    def differing(self) -> set[int]:
        """Return the keys whose rows differ, by plain Python over all rows of both sides."""
        table = self.platform.lake.load("retail", "item")
        assert table is not None
        base = table.scan(selected_fields=tuple(TYPES)).to_arrow().to_pylist()
        here = Counter((one["id"], one["name"], one["price"]) for one in base)
        with psycopg.connect(self.dsn or "") as connection:
            there = Counter(connection.execute("SELECT id, name, price FROM item").fetchall())
        return {one[0] for one in (here - there) + (there - here)}

    def grow_old(self, days: float, *numbers: int) -> None:
        """Let the proofs of segments (all, unless some are named) be older."""
        proofs = read_proofs(self.objects)
        assert proofs is not None
        older = {
            number: replace(one, verified_at=one.verified_at - timedelta(days=days))
            for number, one in proofs.segments.items()
            if not numbers or number in numbers
        }
        write_proofs(self.objects, replace(proofs, segments={**proofs.segments, **older}))


def row(number: int, name: str | None = None) -> dict[str, Any]:
    return {"id": number, "name": name or f"name {number}", "price": Decimal(number) + Decimal("0.25")}


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[IncrementalShop]:
    """A thousand rows in ten segments, proven by a full run."""
    found = IncrementalShop(tmp_path, postgres_database, TYPES)
    found.prove()
    yield found
    found.platform.lake.close()


@pytest.fixture
def source_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the source is asked for: ``range`` or ``keys``."""
    asked: list[str] = []
    between, of, among = PostgresSnapshot.rows_between, PostgresSnapshot.rows_of, PostgresSnapshot.rows_among

    def counted_between(self: PostgresSnapshot, *arguments: Any) -> Any:
        asked.append("range")
        return between(self, *arguments)

    def counted_of(self: PostgresSnapshot, keys: pa.Table, *arguments: Any) -> Any:
        asked.append(f"{keys.num_rows} keys")
        return of(self, keys, *arguments)

    def counted_among(self: PostgresSnapshot, keys: pa.Table, *arguments: Any) -> Any:
        asked.append(f"{keys.num_rows} keys")
        return among(self, keys, *arguments)

    monkeypatch.setattr(PostgresSnapshot, "rows_among", counted_among)
    monkeypatch.setattr(PostgresSnapshot, "rows_between", counted_between)
    monkeypatch.setattr(PostgresSnapshot, "rows_of", counted_of)
    return asked


def notes(found: Reconciliation) -> str:
    return "; ".join(found.comparisons[0].notes)


def segments(found: Reconciliation, verdict: Verdict) -> list[int]:
    return [one["segment"] for one in found.certificate["segments"] if one["verdict"] == verdict.value]


def test_nothing_changed_so_the_source_is_asked_for_no_row(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    found = shop.run()

    assert (Verdict.MATCH, []) == (found.verdict, source_reads)
    assert {"source rows": ROWS, "base rows": ROWS} == rows_known(found)
    assert "incremental" == found.window


def test_only_changed_keys_are_compared_and_the_proofs_stay_as_old_as_they_are(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    before = read_proofs(shop.objects)
    shop.update(5, "five")
    shop.sql("DELETE FROM item WHERE id = 300", "INSERT INTO item VALUES (2000, 'new', 1)")
    shop.tell({"Op": "D", **row(300)}, {"Op": "I", "id": 2000, "name": "new", "price": Decimal(1)})
    shop.apply()

    found = shop.run()

    assert (Verdict.MATCH, ["3 keys"]) == (found.verdict, source_reads)
    assert {"source rows": ROWS, "base rows": ROWS} == rows_known(found)
    after = read_proofs(shop.objects)
    assert before is not None
    assert after is not None
    assert before.segments == after.segments
    assert before.snapshot_id != after.snapshot_id
    since = [one["keys_since"] for one in found.certificate["segments"]]
    assert (1, 3) == (since[0], sum(since))


def test_what_differs_by_digest_is_looked_up_and_decoded_in_another_way(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    for number in (5, 300, 700):
        shop.update(number, "changed")
    shop.apply()
    shop.tamper("UPDATE base SET name = 'tampered' WHERE id = 300")

    found = shop.run()

    assert (Verdict.DIFFERENT, ["3 keys", "1 keys", "1 keys"]) == (found.verdict, source_reads)
    since = {
        one["segment"]: (one["keys_since"], one["matched"], one["different"])
        for one in found.certificate["segments"]
        if one["keys_since"]
    }
    assert {0: (1, 100, 0), 2: (1, 99, 1), 6: (1, 100, 0)} == since
    assert {"source rows": ROWS, "base rows": ROWS} == rows_known(found)


def test_a_key_the_source_cannot_hold_hides_no_other(
    tmp_path: Path, postgres_database: str, source_reads: list[str]
) -> None:
    shop = IncrementalShop(tmp_path, postgres_database, TYPES)
    shop.stock(
        "CREATE TABLE item (id int PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item SELECT g, 'name ' || g, g + 0.25 FROM generate_series(1, 300) g",
        "ANALYZE item",
    )
    assert Verdict.MATCH is shop.compare().verdict
    source_reads.clear()
    beyond = {"Op": "D", "id": 3_000_000_000, "name": "x", "price": Decimal(1)}
    shop.update(5, "five")
    shop.tell(beyond)
    shop.apply()
    assert (Verdict.MATCH, ["2 keys", "2 keys"]) == (shop.run().verdict, source_reads)

    shop.tamper("UPDATE base SET name = 'tampered' WHERE id = 5")
    shop.tell(beyond)
    shop.apply()

    assert [5] == [one.key["id"] for one in shop.run().comparisons[0].discrepancies]
    shop.platform.lake.close()


def test_rows_that_were_deleted_when_the_table_was_proven_are_not_counted_again(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    for numbers in ((5, 300), (700,)):
        source_reads.clear()
        for number in numbers:
            shop.sql(f"DELETE FROM item WHERE id = {number}")
            shop.tell({"Op": "D", **row(number)})
        shop.apply()
        found = shop.run()

    assert (Verdict.MATCH, ["1 keys"]) == (found.verdict, source_reads)
    assert {"source rows": ROWS - 3, "base rows": ROWS - 3} == rows_known(found)


def test_a_change_the_merge_lost_is_found_at_its_key(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    shop.update(700, "seven hundred")
    shop.apply()
    shop.tamper("UPDATE base SET name = 'name 700' WHERE id = 700")

    found = shop.run()

    assert (Verdict.DIFFERENT, [700]) == (
        found.verdict,
        [one.key["id"] for one in found.comparisons[0].discrepancies],
    )
    assert [6] == segments(found, Verdict.DIFFERENT)


def test_a_write_into_base_that_no_raw_file_explains_is_found_at_once(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    shop.tamper(
        """UPDATE base SET price = price + 1 WHERE id = 42;
           DELETE FROM base WHERE id = 43;
           INSERT INTO base FROM base WHERE id = 900"""
    )

    found = shop.run()

    assert {42, 43, 900} == {one.key["id"] for one in found.comparisons[0].discrepancies}
    assert (Verdict.DIFFERENT, "range" in source_reads) == (found.verdict, False)


def test_a_row_deleted_by_its_position_that_no_raw_file_explains_is_found_at_once(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    shop.tell({"Op": "D", **row(42)})
    shop.update(300, "changed")
    shop.apply()
    proofs = read_proofs(shop.objects)
    assert proofs is not None
    deleting, *_ = sorted(
        (one for one in read_accepted(shop.objects).readable if one.kind is not FileKind.LOAD),
        key=lambda one: one.file.key,
    )
    write_proofs(shop.objects, replace(proofs, covered=proofs.covered | {version_of(deleting)}))

    found = shop.run()

    assert (Verdict.DIFFERENT, [42]) == (
        found.verdict,
        [one.key["id"] for one in found.comparisons[0].discrepancies],
    )
    assert {"source rows": ROWS, "base rows": ROWS - 1} == rows_known(found)
    assert "2 keys" == source_reads[0]


def test_a_rewrite_of_every_file_that_changes_no_row_asks_the_source_for_none(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    shop.tamper("UPDATE base SET name = name")

    found = shop.run()

    assert (Verdict.MATCH, []) == (found.verdict, source_reads)
    assert "1 are new and 1 gone" in notes(found)


def test_a_difference_is_looked_up_again_until_it_is_gone(shop: IncrementalShop) -> None:
    shop.tamper("UPDATE base SET name = 'x' WHERE id = 42")
    assert Verdict.DIFFERENT is shop.run().verdict

    assert Verdict.DIFFERENT is shop.run().verdict

    shop.tamper("UPDATE base SET name = 'name 42' WHERE id = 42")
    assert Verdict.MATCH is shop.run().verdict


def test_a_change_in_flight_that_never_arrives_is_not_forgotten(shop: IncrementalShop) -> None:
    shop.fall_behind()
    shop.update(77, "lost", raw=False)
    shop.update(78, "x", source=False)
    shop.apply()
    shop.grow_old(100, 0)
    assert (Verdict.IN_FLIGHT, 2) == (
        (found := shop.run()).verdict,
        found.comparisons[0].tally.in_flight,
    )
    shop.catch_up()

    found = shop.run()

    assert (Verdict.DIFFERENT, {77, 78}) == (
        found.verdict,
        {one.key["id"] for one in found.comparisons[0].discrepancies},
    )


def test_proofs_do_not_hold_while_capture_is_behind_or_unknown(shop: IncrementalShop) -> None:
    shop.fall_behind()
    shop.update(5, "not captured", raw=False)
    assert Verdict.IN_FLIGHT is shop.run().verdict

    shop.platform.captured = lambda: None
    assert Verdict.UNVERIFIED is shop.run().verdict


def test_accepted_and_unaccepted_files_are_in_flight(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    assert Verdict.IN_FLIGHT is shop.run().verdict

    take_in(shop.platform, "retail")
    found = shop.run()
    assert (Verdict.IN_FLIGHT, [0], 1) == (
        found.verdict,
        segments(found, Verdict.IN_FLIGHT),
        found.comparisons[0].tally.in_flight,
    )

    shop.apply()
    assert Verdict.MATCH is shop.run().verdict


def test_a_file_accepted_in_the_midst_of_a_run_is_not_missed(
    shop: IncrementalShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.update(5, "five")
    read = subject.read_accepted

    def accepted_meanwhile(objects: Any) -> Any:
        listed = read(objects)
        take_in(shop.platform, "retail")
        return listed

    monkeypatch.setattr(subject, "read_accepted", accepted_meanwhile)

    assert Verdict.IN_FLIGHT is shop.run().verdict


def test_an_incremental_run_against_an_export_is_refused(shop: IncrementalShop) -> None:
    with pytest.raises(ConfigError, match="goes on from full ones"):
        whole_options(shop.platform.lake, "export", None, budget=Budget(), incremental=True)


def test_a_lost_change_is_found_when_the_turn_of_its_segment_comes(shop: IncrementalShop) -> None:
    shop.update(350, "lost by capture", raw=False)
    assert Verdict.MATCH is shop.run().verdict

    verdicts, days = [], 0
    while Verdict.DIFFERENT not in verdicts and days <= 30:
        shop.grow_old(1)
        days += 1
        verdicts.append(shop.run().verdict)

    assert Verdict.DIFFERENT is verdicts[-1]
    assert days < 30 * 0.8 + 1


def test_the_turns_are_spread_and_no_proof_outlives_the_time_set(shop: IncrementalShop) -> None:
    read, oldest = [], timedelta()
    for _ in range(40):
        shop.grow_old(1)
        proofs = read_proofs(shop.objects)
        assert proofs is not None
        oldest = max(oldest, datetime.now(UTC) - min(one.verified_at for one in proofs.segments.values()))
        found = shop.run(verify_within=timedelta(days=20))
        read.append(sum(one["keys_since"] is None for one in found.certificate["segments"]))

    assert max(read) <= 2
    assert oldest < timedelta(days=20)


def test_a_segment_in_which_much_changed_is_read_whole(
    shop: IncrementalShop, source_reads: list[str]
) -> None:
    for number in range(201, 241):
        shop.sql(f"UPDATE item SET name = 'new' WHERE id = {number}")
    shop.tell(*({"Op": "U", **row(number, "new")} for number in range(201, 241)))
    shop.apply()

    found = shop.run()

    assert (Verdict.MATCH, ["range"]) == (found.verdict, source_reads)
    assert [2] == [one["segment"] for one in found.certificate["segments"] if one["keys_since"] is None]


def test_a_raw_file_that_cannot_be_read_any_more_makes_everything_compared(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    shop.apply()
    (changed,) = (path for path in shop.raw.rglob("*.parquet") if "LOAD" not in path.name)
    changed.unlink()

    found = shop.run()

    assert "does not tell which keys it changes" in notes(found)
    assert 0 == found.certificate["verification"]["segments_from_earlier_runs"]


def test_segments_are_cut_anew_when_one_has_grown_to_a_large_part(shop: IncrementalShop) -> None:
    shop.sql("INSERT INTO item SELECT g, 'new', 1 FROM generate_series(1001, 1700) g")
    shop.tell(*({"Op": "I", "id": g, "name": "new", "price": Decimal(1)} for g in range(1001, 1701)))
    shop.apply()

    found = shop.run()

    assert "cut anew" in notes(found)
    assert (Verdict.MATCH, 18) == (found.verdict, len(found.certificate["segments"]))


def test_a_full_load_makes_everything_compared(shop: IncrementalShop) -> None:
    write_load_file(shop.raw, "public", "item", [row(1)], counter=2, at=DAY, types=TYPES)
    shop.apply()

    found = shop.run()

    assert "a full load came since" in notes(found)
    assert 0 == found.certificate["verification"]["segments_from_earlier_runs"]


@pytest.mark.parametrize("what", ["type_rules_version", "digest", "columns", "table"])
def test_other_rules_columns_or_digests_make_all_proofs_void(shop: IncrementalShop, what: str) -> None:
    proofs = read_proofs(shop.objects)
    assert proofs is not None
    write_proofs(shop.objects, replace(proofs, conditions={**proofs.conditions, what: "another"}))

    found = shop.run()

    assert (Verdict.MATCH, 0) == (
        found.verdict,
        found.certificate["verification"]["segments_from_earlier_runs"],
    )
    assert "every segment was compared" in notes(found)
    assert found.certificate["verification"]["segments_not_read"] == 0


def test_a_base_snapshot_that_is_gone_makes_everything_compared(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    shop.apply()
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    proofs = read_proofs(shop.objects)
    assert proofs is not None
    table.maintenance.expire_snapshots().by_id(proofs.snapshot_id).commit()

    found = shop.run()

    assert Verdict.MATCH is found.verdict
    assert "is gone" in notes(found)


def test_a_roll_back_of_base_is_found_as_stale_rows(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    shop.apply()
    assert Verdict.MATCH is shop.run().verdict
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    first = table.metadata.snapshots[0].snapshot_id
    table.manage_snapshots().rollback_to_snapshot(first).commit()

    found = shop.run()

    assert (Verdict.IN_FLIGHT, [0]) == (found.verdict, segments(found, Verdict.IN_FLIGHT))


def test_a_budget_leaves_the_rest_open_and_keeps_what_was_proven(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    shop.apply()
    shop.grow_old(100, 3, 4, 5)
    shop.grow_old(1)

    found = shop.run(budget=Budget(max_rows=150))

    assert Verdict.UNVERIFIED is found.verdict
    later = shop.run()
    assert Verdict.MATCH is later.verdict
    runs = {one["segment"]: one["keys_since"] for one in later.certificate["segments"]}
    assert {3: 0, 4: 0} == {number: runs[number] for number in (3, 4)}
    assert runs[5] is None


def test_the_certificate_tells_the_age_of_every_segment(shop: IncrementalShop) -> None:
    shop.grow_old(3, 7)
    found = json.loads(json.dumps(shop.run().certificate))

    ages = [datetime.fromisoformat(one["verified_at"]) for one in found["segments"]]
    assert SEGMENTS + 1 == len(ages)
    assert min(ages).isoformat() == found["verification"]["oldest_proof"]
    assert timedelta(days=3) <= datetime.now(UTC) - ages[7] < timedelta(days=3.1)
    assert all(one["source_position"] and one["verified_snapshot_id"] for one in found["segments"])


def test_ages_are_kept_only_while_every_segment_is_young_enough(shop: IncrementalShop) -> None:
    assert ages_of(read_proofs(shop.objects), 7).is_kept

    shop.grow_old(8, 2)
    ages = ages_of(read_proofs(shop.objects), 7)

    assert (False, 8) == (ages.is_kept, ages.oldest_age.days if ages.oldest_age else None)
    assert not ages_of(None, 7).is_kept


def test_the_run_stands_in_the_result_tables_and_writes_a_report(shop: IncrementalShop) -> None:
    shop.update(5, "five")
    shop.apply()

    run = reconcile_full(shop.platform, "retail", "item", FullOptions(rows_per_segment=100, incremental=True))

    assert (Verdict.MATCH, "incremental") == (run.verdict, run.window)
    table = shop.platform.lake.catalog.load_table(("cdc_reconciliation", "segments"))
    parts = table.scan(row_filter=f"run_id = '{run.run_id}' and segment != 'table'").to_arrow().to_pylist()
    assert SEGMENTS + 1 == len(parts)
    assert all(one["verified_at"] for one in parts)
    assert run.report is not None


def test_a_run_that_is_killed_leaves_what_it_read_proven(
    shop: IncrementalShop, monkeypatch: pytest.MonkeyPatch, source_reads: list[str]
) -> None:
    shop.update(5, "five")
    shop.apply()
    shop.grow_old(100, 3, 4)

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(IncrementalRun, "_conclude", killed)
        with pytest.raises(KeyboardInterrupt):
            shop.run()
    assert ["range", "range"] == source_reads

    found = shop.run()

    assert (Verdict.MATCH, ["range", "range", "1 keys"]) == (found.verdict, source_reads)
    assert {"source rows": ROWS, "base rows": ROWS} == rows_known(found)


def test_a_file_that_was_refused_is_not_passed_over(shop: IncrementalShop) -> None:
    shop.update(5, "five", raw=False)
    shop.tell({"Op": "U", **row(5, "five")})
    (changed,) = (path for path in shop.raw.rglob("*.parquet") if "LOAD" not in path.name)
    changed.write_bytes(b"no Parquet at all")
    shop.apply()

    found, again = shop.run(), shop.run()

    for one in (found, again):
        assert (Verdict.DIFFERENT, [5]) == (
            one.verdict,
            [differing.key["id"] for differing in one.comparisons[0].discrepancies],
        )
    assert ("every segment" in notes(found), "every segment" in notes(again)) == (True, False)


def test_soft_deletes_are_rows_that_are_gone(tmp_path: Path, postgres_database: str) -> None:
    shop = IncrementalShop(tmp_path, postgres_database, TYPES, delete_mode="soft")
    shop.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item SELECT g, 'name ' || g, g + 0.25 FROM generate_series(1, 300) g",
        "ANALYZE item",
    )
    assert Verdict.MATCH is shop.compare().verdict
    shop.sql("DELETE FROM item WHERE id IN (5, 7)")
    shop.tell({"Op": "D", **row(5)}, {"Op": "D", **row(7)})
    shop.apply()

    found = shop.run()
    assert (Verdict.MATCH, 298) == (found.verdict, rows_known(found)["base rows"])

    shop.tamper("UPDATE base SET _cdc_op = 'U' WHERE id = 7")
    assert [7] == [one.key["id"] for one in shop.run().comparisons[0].discrepancies]
    shop.platform.lake.close()


def test_keys_of_several_columns_with_padding_are_found_on_both_sides(
    tmp_path: Path, postgres_database: str
) -> None:
    types: dict[str, pa.DataType] = {"code": pa.string(), "n": pa.int32(), "v": pa.string()}
    shop = IncrementalShop(tmp_path, postgres_database, types, merge_key=("code", "n"))
    shop.stock(
        "CREATE TABLE item (code char(6), n int, v text, PRIMARY KEY (code, n))",
        "INSERT INTO item SELECT 'c' || g % 7, g, 'v ' || g FROM generate_series(1, 400) g",
        "ANALYZE item",
    )
    assert Verdict.MATCH is shop.compare().verdict
    shop.sql("UPDATE item SET v = 'new' WHERE n IN (10, 200)", "DELETE FROM item WHERE n = 30")
    told = [("U", "c3    ", 10), ("U", "c4    ", 200), ("D", "c2    ", 30)]
    shop.tell(*({"Op": op, "code": code, "n": n, "v": "new"} for op, code, n in told))
    shop.apply()

    found = shop.run()
    since = found.certificate["verification"]["keys_since"]
    assert (Verdict.MATCH, 3, 399) == (found.verdict, since, rows_known(found)["source rows"])

    shop.tamper("UPDATE base SET v = 'v 200' WHERE n = 200")
    assert [200] == [one.key["n"] for one in shop.run().comparisons[0].discrepancies]
    shop.platform.lake.close()


@pytest.mark.parametrize("seed", range(int(os.environ.get("CDC_INCREMENTAL_SEEDS", "2"))))
def test_random_changes_are_found_as_an_oracle_of_plain_python_says(
    tmp_path: Path, postgres_database: str, seed: int
) -> None:
    shop = IncrementalShop(tmp_path, postgres_database, TYPES, rows_per_segment=30)
    shop.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        "INSERT INTO item SELECT g, 'name ' || g, g + 0.25 FROM generate_series(1, 120) g",
        "ANALYZE item",
    )
    assert Verdict.MATCH is shop.compare().verdict
    random, hidden = Random(seed), set[int]()
    for step in range(6):
        touched = {shop.act(random, step, hidden) for _ in range(random.randint(0, 3))}
        shop.apply()
        if random.random() < 0.3:
            shop.grow_old(30, random.randrange(4))

        found = shop.run()

        hidden -= touched | shop.read_whole(found, hidden)
        expected = shop.differing() - hidden
        reported = {one.key["id"] for one in found.comparisons[0].discrepancies}
        assert (expected, bool(expected)) == (reported, found.verdict is Verdict.DIFFERENT)
        assert (found.verdict is Verdict.MATCH) == (not expected)
    shop.platform.lake.close()
