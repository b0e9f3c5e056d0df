"""Files as they really come: late, twice, reloaded, copied, cut by windows. Base ends the same."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from itertools import permutations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.pipeline import complete_load, merge_table, take_in
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

TABLE = {"name": "public.thing", "merge_key": ["id"]}
TYPES = {"id": pa.int64(), "n": pa.int32()}
DAY = datetime(2024, 5, 1, 8, tzinfo=UTC)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    return Workbench(tmp_path, TABLE)


def _load(bench: Workbench, at: datetime, *keys: int, counter: int = 1, n: int = 0) -> Path:
    rows = [{"id": key, "n": n} for key in keys]
    return bench.raw / write_load_file(
        bench.raw, "public", "thing", rows, at=at, types=TYPES, counter=counter
    )


def _change(bench: Workbench, at: datetime, *events: dict[str, Any]) -> Path:
    return bench.raw / write_change_file(bench.raw, "public", "thing", at=at, events=events, types=TYPES)


def _numbers(bench: Workbench) -> dict[int, int]:
    return {key: row["n"] for key, row in bench.by_key("thing", "id").items()}


def test_windows_merged_in_any_order_give_the_same_table(tmp_path: Path) -> None:
    days = [DAY + timedelta(days=day) for day in range(3)]
    results = []
    for number, order in enumerate(permutations(range(3))):
        bench = Workbench(tmp_path / str(number), TABLE)
        _load(bench, DAY, 1, 2)
        for day, at in enumerate(days):
            events = [{"Op": "U", "id": 1, "n": day + 1}, {"Op": "I", "id": 10 + day, "n": day}]
            _change(bench, at + timedelta(hours=1), *events)
        take_in(bench.platform, SOURCE)
        for day in order:
            merge_table(bench.platform, SOURCE, "thing", [f"{days[day]:%Y-%m-%d}"])
        results.append(_numbers(bench))

    assert [{1: 3, 2: 0, 10: 0, 11: 1, 12: 2}] * 6 == results


def test_a_file_delivered_twice_under_two_names_counts_once(bench: Workbench) -> None:
    path = _change(bench, DAY, {"Op": "I", "id": 1, "n": 1}, {"Op": "D", "id": 1})
    shutil.copy2(path, path.with_name("20240501-080009999.parquet"))
    bench.apply("thing")

    assert {} == _numbers(bench)


def test_a_late_older_file_does_not_bring_a_deleted_row_back(bench: Workbench) -> None:
    _load(bench, DAY, 1)
    _change(bench, DAY + timedelta(hours=2), {"Op": "D", "id": 1})
    bench.apply("thing")
    _change(bench, DAY + timedelta(hours=1), {"Op": "U", "id": 1, "n": 5})
    bench.apply("thing")

    assert {} == _numbers(bench)


def test_changes_applied_before_their_full_load_was_delivered_survive_it(bench: Workbench) -> None:
    _change(bench, DAY + timedelta(hours=1), {"Op": "U", "id": 1, "n": 7}, {"Op": "I", "id": 3, "n": 3})
    bench.apply("thing")
    _load(bench, DAY, 1, 2)
    bench.apply("thing")

    assert {1: 7, 2: 0, 3: 3} == _numbers(bench)


def test_a_copied_folder_keeps_its_changes_though_its_load_looks_younger(bench: Workbench) -> None:
    load = _load(bench, DAY, 1, 2)
    os.utime(load)
    _change(bench, DAY + timedelta(hours=1), {"Op": "U", "id": 1, "n": 7}, {"Op": "D", "id": 2})
    bench.apply("thing")

    assert {1: 7} == _numbers(bench)


def test_a_copied_folder_without_transfer_times_keeps_its_changes(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, TABLE, raw={"timestamp_column": None})
    options = bench.platform.source(SOURCE).raw
    rows = [{"id": 1, "n": 0}, {"id": 2, "n": 0}]
    write_load_file(bench.raw, "public", "thing", rows, types=TYPES, options=options)
    events = [{"Op": "U", "id": 1, "n": 7}, {"Op": "D", "id": 2}]
    write_change_file(bench.raw, "public", "thing", at=DAY, events=events, types=TYPES, options=options)
    bench.apply("thing")

    assert {1: 7} == _numbers(bench)


def test_changes_of_before_the_first_load_do_not_override_it(bench: Workbench) -> None:
    _change(bench, DAY, {"Op": "I", "id": 1, "n": 7}, {"Op": "I", "id": 2, "n": 7})
    _load(bench, DAY + timedelta(hours=1), 1, n=9)
    _change(bench, DAY + timedelta(hours=2), {"Op": "I", "id": 3, "n": 3})
    bench.apply("thing")

    assert {1: 9, 3: 3} == _numbers(bench)


def test_a_reload_removes_rows_that_vanished_at_the_source_meanwhile(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2)
    _change(bench, DAY + timedelta(hours=1), {"Op": "I", "id": 3, "n": 3})
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2), 1, n=9)
    _change(bench, DAY + timedelta(hours=3), {"Op": "I", "id": 4, "n": 4})
    bench.apply("thing")

    assert {1: 9, 4: 4} == _numbers(bench)


def test_nothing_is_removed_before_a_reload_is_known_to_be_complete(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2)
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2), 1, n=9)
    bench.apply("thing")

    assert {1: 9, 2: 0} == _numbers(bench)


def test_a_person_may_declare_a_reload_complete(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2)
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2), 1, n=9)
    take_in(bench.platform, SOURCE)
    complete_load(bench.platform, SOURCE, "thing")
    bench.apply("thing")

    assert {1: 9} == _numbers(bench)


def test_a_load_with_a_missing_counter_removes_nothing(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2, 3)
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2), 1, n=9)
    _load(bench, DAY + timedelta(hours=2, seconds=1), 3, n=9, counter=3)
    _change(bench, DAY + timedelta(hours=3), {"Op": "I", "id": 4, "n": 4})
    bench.apply("thing")

    assert {1: 9, 2: 0, 3: 9, 4: 4} == _numbers(bench)


def test_a_late_file_of_a_load_completes_it(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2, 3)
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2), 1, n=9)
    _load(bench, DAY + timedelta(hours=2, seconds=2), 3, n=9, counter=3)
    _change(bench, DAY + timedelta(hours=3), {"Op": "I", "id": 4, "n": 4})
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2, seconds=1), 5, n=9, counter=2)
    bench.apply("thing")

    assert {1: 9, 3: 9, 4: 4, 5: 9} == _numbers(bench)


def test_old_changes_that_come_after_a_complete_reload_are_superseded(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2)
    bench.apply("thing")
    _load(bench, DAY + timedelta(hours=2), 1, n=9)
    _change(bench, DAY + timedelta(hours=3), {"Op": "I", "id": 4, "n": 4})
    bench.apply("thing")
    _change(bench, DAY + timedelta(hours=1), {"Op": "U", "id": 1, "n": 1}, {"Op": "I", "id": 2, "n": 2})
    bench.apply("thing")

    assert {1: 9, 4: 4} == _numbers(bench)


def test_a_load_file_left_over_from_a_longer_load_is_not_taken_for_complete(bench: Workbench) -> None:
    left_over = _load(bench, DAY, 7, counter=3)
    os.utime(left_over, (DAY.timestamp(), DAY.timestamp()))
    _load(bench, DAY + timedelta(days=1), 1)
    _load(bench, DAY + timedelta(days=1, seconds=1), 2, counter=2)
    _change(bench, DAY + timedelta(days=1, hours=1), {"Op": "U", "id": 1, "n": 5})
    bench.apply("thing")
    complete_load(bench.platform, SOURCE, "thing")
    bench.apply("thing")

    assert {1: 5, 2: 0} == _numbers(bench)


def test_applying_again_makes_no_snapshot(bench: Workbench) -> None:
    _load(bench, DAY, 1)
    first = bench.apply("thing")
    again = bench.apply("thing")

    assert (True, None) == (first.snapshot_id is not None, again.snapshot_id)
