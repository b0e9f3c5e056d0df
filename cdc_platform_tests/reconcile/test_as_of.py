"""Base against an export of the past: only what raw proves unchanged since is called different."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.pipeline import take_in
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.testing import write_change_file
from cdc_platform_tests.reconcile.shop import DAY, WholeShop

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
EARLY, EXPORTED, LATE = "0/100", "0/200", "0/FFF"
LOADS = "public/item"


def event(op: str, number: int, value: str | None, position: str | None) -> dict[str, Any]:
    return {"Op": op, "id": number, "v": value, "cdc_stream_position": position}


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[WholeShop]:
    yield from stocked(tmp_path)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeShop]:
    """A shop that tests only look at."""
    yield from stocked(tmp_path_factory.mktemp("as_of"))


def stocked(folder: Path) -> Iterator[WholeShop]:
    """Rows 1 to 9 loaded; an hour later rows 1 to 3 changed before the export, 4, 5 and 10 after it."""
    found = WholeShop(folder, None, TYPES)
    found.load([{"id": n, "v": f"v{n}"} for n in range(1, 10)])
    tell(found, *(event("U", n, f"w{n}", EARLY) for n in (1, 2, 3)), at=DAY + timedelta(hours=1))
    later = (event("U", 4, "w4", LATE), event("D", 5, None, LATE), event("I", 10, "w10", LATE))
    tell(found, *later, at=DAY + timedelta(hours=2))
    found.apply()
    yield found
    found.platform.lake.close()


def tell(shop: WholeShop, *events: dict[str, Any], at: datetime) -> None:
    types = {**TYPES, "cdc_stream_position": pa.string()}
    write_change_file(shop.raw, "public", "item", at=at, events=events, types=types)


def exported(
    shop: WholeShop, rows: dict[int, str], position: str = EXPORTED, captured: str | None = LATE
) -> Reconciliation:
    """Compare base with an export of ``rows`` (id → v), capture having come to ``captured``."""
    shop.platform.captured = lambda: captured
    path = shop.raw.parent / "export.parquet"
    table = pa.Table.from_pylist([{"id": n, "v": value} for n, value in rows.items()], pa.schema(TYPES))
    pq.write_table(table, path)
    reader = ParquetReader(shop.platform.lake, str(path), position)
    return shop.compare(reader=reader, origin=str(path))


#: What the source held at EXPORTED.
THEN = {n: f"w{n}" if n < 4 else f"v{n}" for n in range(1, 10)}


def verdicts(found: Reconciliation) -> dict[int, Verdict]:
    return {one.key["id"]: one.verdict for one in found.comparisons[0].discrepancies}


def test_keys_changed_since_the_export_stay_open_with_the_reason_and_the_others_are_judged(
    kept: WholeShop,
) -> None:
    found = exported(kept, THEN | {1: "other", 7: "other"} | {11: "lost"})

    assert Verdict.DIFFERENT is found.verdict
    decided = {1: Verdict.DIFFERENT, 7: Verdict.DIFFERENT, 11: Verdict.DIFFERENT}
    assert decided | {4: Verdict.UNVERIFIED, 5: Verdict.UNVERIFIED, 10: Verdict.UNVERIFIED} == verdicts(found)
    reasons = {one.key["id"]: one.reason for one in found.comparisons[0].discrepancies}
    assert "raw has a change of this key after 0/200" == reasons[5]
    tally = found.comparisons[0].tally
    assert (3, 3, 5) == (tally.different, tally.unverified, tally.matched)
    faults = {one.key["id"]: one.located.fault for one in found.comparisons[0].discrepancies if one.located}
    assert {1: Fault.CAPTURE_LOST, 7: Fault.CAPTURE_LOST, 11: Fault.CAPTURE_LOST} == faults


def test_a_change_at_the_very_position_of_the_export_is_in_it(kept: WholeShop) -> None:
    rows = {n: f"v{n}" for n in range(1, 10)} | {1: "other"}

    assert Verdict.DIFFERENT is verdicts(exported(kept, rows, EARLY))[1]
    assert Verdict.UNVERIFIED is verdicts(exported(kept, rows, "0/FF"))[1]


def test_what_capture_has_not_reached_is_in_flight(kept: WholeShop) -> None:
    rows = THEN | {7: "other"}

    assert Verdict.IN_FLIGHT is verdicts(exported(kept, rows, captured=EARLY))[7]
    assert Verdict.UNVERIFIED is verdicts(exported(kept, rows, captured=None))[7]


def test_without_a_position_nothing_is_called_different_and_one_that_is_none_is_refused(
    kept: WholeShop,
) -> None:
    assert {Verdict.UNVERIFIED} == set(verdicts(exported(kept, THEN | {7: "other"}, "")).values())

    found = exported(kept, THEN, "yesterday")
    assert Verdict.ERROR is found.verdict
    assert "'yesterday' is not a log position" in found.comparisons[0].reason


def test_a_load_no_change_proves_to_be_before_the_export_decides_nothing(kept: WholeShop) -> None:
    found = exported(kept, {n: value for n, value in THEN.items() if n != 9} | {7: "other"}, "0/90")

    assert {Verdict.UNVERIFIED} == set(verdicts(found).values())
    reasons = {one.key["id"]: one.reason for one in found.comparisons[0].discrepancies}
    assert "from a full load that no change proves to be before 0/90" in reasons[7]


def test_files_on_their_way_changes_without_a_position_and_raw_files_that_are_gone_leave_keys_open(
    shop: WholeShop,
) -> None:
    rows = THEN | {7: "other"}
    tell(shop, event("U", 7, "other", EARLY), at=DAY + timedelta(hours=3))
    take_in(shop.platform, "retail")
    assert Verdict.IN_FLIGHT is verdicts(exported(shop, rows))[7]

    tell(shop, event("U", 7, "w7", None), at=DAY + timedelta(hours=4))
    shop.apply()
    found = exported(shop, rows)
    assert Verdict.UNVERIFIED is verdicts(found)[7]
    reasons = {one.key["id"]: one.reason for one in found.comparisons[0].discrepancies}
    assert "does not tell its log position" in reasons[7]

    next(iter((shop.raw / LOADS).glob("2026*.parquet"))).unlink()
    assert {Verdict.UNVERIFIED} == set(verdicts(exported(shop, THEN | {8: "other"})).values())


def test_base_is_held_against_the_full_load_it_was_made_of_where_nothing_changed_since(
    shop: WholeShop,
) -> None:
    shop.platform.captured = lambda: None
    shop.tamper("UPDATE base SET v = 'other' WHERE id IN (4, 7)")
    shop.tamper("DELETE FROM base WHERE id = 8")
    (load,) = (shop.raw / LOADS).glob("LOAD*.parquet")

    found = shop.compare(reader=ParquetReader(shop.platform.lake, str(load)), origin=str(load))

    assert {Verdict.DIFFERENT} == {verdicts(found)[one] for one in (7, 8)}
    assert {Verdict.UNVERIFIED} == {verdicts(found)[one] for one in (1, 2, 3, 4, 5, 10)}
    faults = {one.key["id"]: one.located.fault for one in found.comparisons[0].discrepancies if one.located}
    assert {7: Fault.WRITTEN_OUT_OF_BAND, 8: Fault.WRITTEN_OUT_OF_BAND} == faults


def test_positions_that_are_not_those_of_commits_decide_nothing(shop: WholeShop) -> None:
    of_one_commit = (event("U", 6, "w6", "0/120"), event("U", 8, "w8", "0/130"))
    tell(shop, *of_one_commit, at=DAY + timedelta(hours=3))
    shop.apply()

    found = exported(shop, THEN | {6: "w6", 8: "w8", 7: "other"})

    assert {Verdict.UNVERIFIED} == set(verdicts(found).values())
    assert "are not those of their commits" in found.comparisons[0].discrepancies[0].reason


def test_positions_no_transaction_proves_to_be_those_of_commits_decide_nothing(tmp_path: Path) -> None:
    shop = WholeShop(tmp_path, None, TYPES)
    shop.load([{"id": n, "v": f"v{n}"} for n in range(1, 10)])
    for hours, number in enumerate((1, 2, 3), 1):
        tell(shop, event("U", number, f"w{number}", EARLY), at=DAY + timedelta(hours=hours))
    shop.apply()

    found = exported(shop, THEN | {7: "other"})
    shop.platform.lake.close()

    assert {Verdict.UNVERIFIED} == set(verdicts(found).values())
    assert "does not prove that the log positions" in found.comparisons[0].discrepancies[0].reason
