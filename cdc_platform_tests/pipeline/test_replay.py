"""What was applied stays: over a rollback, whatever was quarantined meanwhile, and over a load known late."""

from __future__ import annotations

import os
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.lake import quarantine
from cdc_platform.lake.lineage import snapshot_history
from cdc_platform.lake.quarantine import QuarantineItem, QuarantineState
from cdc_platform.lake.rollback import commit_rollback, find_snapshot, plan_rollback
from cdc_platform.pipeline import take_in
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

TABLE = {"name": "public.thing", "merge_key": ["id"]}
DAY = datetime(2024, 5, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
NEXT_DAY = date(2024, 5, 2)
TYPES = {"id": pa.int64(), "n": pa.string()}


def _load(bench: Workbench, at: datetime = DAY, **rows: str) -> Path:
    loaded = [{"id": key, "n": rows.get(f"n{key}", "loaded")} for key in (1, 2, 3)]
    path = bench.raw / write_load_file(bench.raw, "public", "thing", loaded, at=at, types=TYPES)
    os.utime(path, (at.timestamp(),) * 2)
    return path


def _change(bench: Workbench, at: datetime, *rows: tuple[str, int | None, str]) -> Path:
    events = [{"Op": op, "id": key, "n": n} for op, key, n in rows]
    path = bench.raw / write_change_file(bench.raw, "public", "thing", at=at, events=events, types=TYPES)
    os.utime(path, (at.timestamp(),) * 2)
    return path


def _bench(folder: Path, *, start: date = date(2024, 5, 1), **table: Any) -> Workbench:
    """Return the table as a ``cdc.yaml`` with these values has it; what it holds stays."""
    return Workbench(folder, TABLE | table, start=start)


def _numbers(bench: Workbench) -> dict[int, str]:
    return {key: row["n"] for key, row in bench.by_key("thing", "id").items()}


def _items(bench: Workbench, state: QuarantineState | None = None) -> list[QuarantineItem]:
    return quarantine.list_items(bench.platform.lake, SOURCE, "thing", state=state)


def _decide(bench: Workbench, decide: Any) -> None:
    for item in _items(bench, QuarantineState.OPEN):
        decide(bench.platform.lake, SOURCE, "thing", item.id)


def _back_to_the_first_snapshot(bench: Workbench) -> None:
    base = bench.platform.lake.load(SOURCE, "thing")
    assert base is not None
    target = find_snapshot(base, snapshot_id=snapshot_history(base)[-1].snapshot_id)
    commit_rollback(plan_rollback(bench.platform.lake, SOURCE, "thing", target, base))


@pytest.mark.parametrize("decide", [quarantine.discard, None], ids=["tidied up", "left alone"])
def test_an_applied_file_that_the_first_window_now_leaves_out_is_applied_again_after_a_rollback(
    tmp_path: Path, decide: Any
) -> None:
    first = _bench(tmp_path)
    _load(first)
    first.apply("thing")
    _change(first, DAY + HOUR, ("U", 1, "changed"))
    first.apply("thing")
    later = _bench(tmp_path, start=NEXT_DAY)
    _change(later, DAY + 30 * HOUR, ("U", 2, "changed"))
    later.apply("thing")
    if decide is not None:
        _decide(later, decide)
    _back_to_the_first_snapshot(later)
    later.apply("thing")

    assert {1: "changed", 2: "changed", 3: "loaded"} == _numbers(later)
    assert [] == _items(later)


def test_a_released_row_that_fails_for_the_file_it_is_in_waits_alone(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    _load(bench)
    bench.apply("thing")
    _change(bench, DAY + HOUR, ("U", 1, "11"), ("U", 2, "22"), ("I", None, "x"))
    bench.apply("thing")
    _decide(bench, quarantine.release)
    wrong = _bench(tmp_path, columns=[{"name": "n", "type": "long"}])
    wrong.apply("thing")
    waiting = [(item.row, "'n' is string in the table" in item.reason) for item in _items(wrong)]
    bench = _bench(tmp_path)
    _back_to_the_first_snapshot(bench)
    bench.apply("thing")

    assert [(2, True)] == waiting
    assert {1: "11", 2: "22", 3: "loaded"} == _numbers(bench)


def test_a_row_released_while_its_file_is_gone_comes_in_when_the_file_is_back(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    _load(bench)
    path = _change(bench, DAY + HOUR, ("U", 1, "11"), ("U", 2, "22"), ("I", None, "x"))
    bench.apply("thing")
    away = path.rename(tmp_path / "away")
    _decide(bench, quarantine.release)
    bench.apply("thing")
    gone = [(item.row, item.state, "gone" in item.reason) for item in _items(bench)]
    away.rename(path)
    bench.apply("thing")

    assert [(2, QuarantineState.OPEN, True)] == gone
    assert [(2, "the merge key is NULL")] == [(item.row, item.reason[:21]) for item in _items(bench)]


def test_an_item_of_a_file_that_is_applied_is_closed(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    _load(bench)
    bench.apply("thing")
    (accepted,) = bench.platform.accepted(SOURCE, "thing").files
    item = quarantine.item_of(accepted, None, reason="it could not be read", mend="mend it")
    quarantine.record(bench.platform.objects(SOURCE, "thing"), [item])
    bench.apply("thing")

    assert [QuarantineState.REPLAYED] == [item.state for item in _items(bench)]


@pytest.mark.parametrize("full", [True, False], ids=["listed whole", "listed quickly"])
def test_files_of_before_the_first_window_come_in_once_it_begins_earlier(tmp_path: Path, full: bool) -> None:
    bench = _bench(tmp_path, start=NEXT_DAY)
    _load(bench)
    _change(bench, DAY + HOUR, ("U", 1, "changed"))
    bench.apply("thing")
    waiting = len(_items(bench, QuarantineState.OPEN))
    bench = _bench(tmp_path)
    take_in(bench.platform, SOURCE, full=full)
    result = bench.apply("thing")

    assert (2, 0) == (waiting, result.files_waiting)
    assert {1: "changed", 2: "loaded", 3: "loaded"} == _numbers(bench)
    assert {QuarantineState.REPLACED} == {item.state for item in _items(bench)}


@pytest.fixture
def late(tmp_path: Path) -> tuple[Workbench, Path]:
    """A merged change file of an update and an insert, gone before the load ahead of it became known."""
    bench = _bench(tmp_path)
    path = _change(bench, DAY + HOUR, ("U", 1, "changed"), ("I", 50, "inserted"))
    bench.apply("thing")
    away = path.rename(tmp_path / "away")
    _load(bench)
    _change(bench, DAY + 2 * HOUR, ("U", 2, "newer"))
    return bench, away


def test_a_load_known_late_waits_while_a_merged_change_file_after_it_is_gone(
    late: tuple[Workbench, Path],
) -> None:
    bench, _ = late
    first, second = bench.apply("thing"), bench.apply("thing")

    assert {1: "changed", 2: "newer", 50: "inserted"} == _numbers(bench)
    assert [None, None] == [first.generation_completed, second.generation_completed]
    assert (1, 1) == (first.files_quarantined, second.files_waiting)
    assert first.warnings == second.warnings
    (told,) = first.warnings
    assert "the full load of 2024-05-01 00:00:00 waits (1 LOAD file held back)" in told
    assert "20240501-010000000.parquet was merged before the load was known" in told
    assert f"cdc quarantine discard {_items(bench)[0].id[:12]}" in told


def test_a_load_that_waited_comes_in_with_the_change_file_that_is_back(late: tuple[Workbench, Path]) -> None:
    bench, away = late
    bench.apply("thing")
    away.rename(bench.raw / "public" / "thing" / "20240501-010000000.parquet")
    result = bench.apply("thing")

    assert {1: "changed", 2: "newer", 3: "loaded", 50: "inserted"} == _numbers(bench)
    assert () == result.warnings
    assert result.generation_completed is not None


def test_a_load_that_waited_comes_in_once_the_changes_that_are_gone_are_given_up(
    late: tuple[Workbench, Path],
) -> None:
    bench, _ = late
    bench.apply("thing")
    _decide(bench, quarantine.discard)
    result = bench.apply("thing")

    assert {1: "loaded", 2: "newer", 3: "loaded"} == _numbers(bench)
    assert () == result.warnings


def test_a_reload_known_late_waits_while_a_merged_change_file_after_it_is_gone(tmp_path: Path) -> None:
    bench = _bench(tmp_path)
    _load(bench)
    bench.apply("thing")
    path = _change(bench, DAY + 6 * HOUR, ("U", 1, "changed"), ("I", 50, "inserted"))
    bench.apply("thing")
    path.unlink()
    _load(bench, DAY + 5 * HOUR, n1="reloaded", n2="reloaded", n3="reloaded")
    _change(bench, DAY + 7 * HOUR, ("U", 2, "newer"))
    bench.apply("thing")

    assert {1: "changed", 2: "newer", 3: "loaded", 50: "inserted"} == _numbers(bench)


def test_a_table_without_a_key_has_no_row_twice_while_its_load_waits(tmp_path: Path) -> None:
    bench = _bench(tmp_path, merge_key=[], no_key="append")
    gone = _change(bench, DAY + HOUR, ("I", 1, "a"))
    _change(bench, DAY + 2 * HOUR, ("I", 2, "b"))
    bench.apply("thing")
    gone.unlink()
    _load(bench)
    bench.apply("thing")

    assert [(1, "a"), (2, "b")] == sorted((row["id"], row["n"]) for row in bench.rows("thing"))
