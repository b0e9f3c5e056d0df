"""Raw files put back: with the times they had, or as a copied folder with times of its own."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.lake import quarantine
from cdc_platform.pipeline import merge_table, take_in
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

TYPES = {"id": pa.int64(), "n": pa.int32()}
DAY = datetime(2024, 5, 1, 8, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A table whose rows do not say when they were transferred, so that loads can be alike byte by byte."""
    return Workbench(tmp_path, {"name": "public.thing", "merge_key": ["id"]}, raw={"timestamp_column": None})


def _load(bench: Workbench, at: datetime, *keys: int, counter: int = 1, n: int = 0) -> Path:
    rows, options = [{"id": key, "n": n} for key in keys], bench.platform.source(SOURCE).raw
    return bench.raw / write_load_file(
        bench.raw, "public", "thing", rows, at=at, types=TYPES, counter=counter, options=options
    )


def _change(bench: Workbench, at: datetime, *events: dict[str, Any]) -> Path:
    options = bench.platform.source(SOURCE).raw
    return bench.raw / write_change_file(
        bench.raw, "public", "thing", at=at, events=events, types=TYPES, options=options
    )


def _numbers(bench: Workbench) -> dict[int, int]:
    return {key: row["n"] for key, row in bench.by_key("thing", "id").items()}


def _waiting(bench: Workbench) -> int:
    items = quarantine.list_items(bench.platform.lake, SOURCE, "thing")
    return sum(item.state in quarantine.WAITING for item in items)


def _copied_back(bench: Workbench) -> None:
    """Copy the folder away and back, as ``cp -r`` does: contents alike, times and inodes new."""
    away = bench.raw.with_name("away")
    shutil.copytree(bench.raw, away, copy_function=shutil.copy)
    shutil.rmtree(bench.raw)
    shutil.copytree(away, bench.raw, copy_function=shutil.copy)


@pytest.mark.parametrize("seen_before", [True, False], ids=["known", "unknown"])
def test_a_damaged_file_restored_with_its_old_time_comes_in(
    bench: Workbench, tmp_path: Path, seen_before: bool
) -> None:
    path = _change(bench, DAY, {"Op": "I", "id": 1, "n": 1})
    if seen_before:
        take_in(bench.platform, SOURCE)
    shutil.copy2(path, tmp_path / "backup")
    path.write_bytes(b"PAR1 no more")
    bench.apply("thing")
    waiting = _waiting(bench)
    shutil.copy2(tmp_path / "backup", path)
    bench.apply("thing")

    assert (1, 0) == (waiting, _waiting(bench))
    assert {1: 1} == _numbers(bench)
    assert 0 == take_in(bench.platform, SOURCE).files


def test_a_load_file_restored_with_its_old_time_comes_in_as_of_its_load(
    bench: Workbench, tmp_path: Path
) -> None:
    path = _load(bench, DAY, 1)
    _load(bench, DAY, 2, counter=2)
    take_in(bench.platform, SOURCE)
    (before,) = bench.platform.load_sets(SOURCE, "thing").sets
    shutil.copy2(path, tmp_path / "backup")
    path.write_bytes(b"PAR1 no more")
    os.utime(path, ((DAY + 30 * HOUR).timestamp(),) * 2)
    bench.apply("thing")
    shutil.copy2(tmp_path / "backup", path)
    bench.apply("thing")

    assert ({1: 0, 2: 0}, 0) == (_numbers(bench), _waiting(bench))
    assert before == bench.platform.load_sets(SOURCE, "thing").sets[0]


def test_a_file_that_is_back_from_a_backup_comes_in_by_itself(bench: Workbench, tmp_path: Path) -> None:
    path = _change(bench, DAY, {"Op": "I", "id": 1, "n": 1})
    take_in(bench.platform, SOURCE)
    shutil.move(path, tmp_path / "backup")
    merge_table(bench.platform, SOURCE, "thing")
    waiting = _waiting(bench)
    shutil.copy(tmp_path / "backup", path)
    bench.apply("thing")

    assert (1, 0) == (waiting, _waiting(bench))
    assert {1: 1} == _numbers(bench)


def test_a_copied_folder_is_no_second_load(bench: Workbench) -> None:
    _load(bench, DAY, 1, 2)
    _load(bench, DAY, 3, counter=2)
    _change(
        bench, DAY + HOUR, {"Op": "U", "id": 1, "n": 7}, {"Op": "D", "id": 2}, {"Op": "I", "id": 9, "n": 9}
    )
    bench.apply("thing")
    _copied_back(bench)
    again = take_in(bench.platform, SOURCE)
    _change(bench, datetime.now(UTC) + HOUR, {"Op": "I", "id": 4, "n": 4})
    bench.apply("thing")

    assert 0 == again.files
    assert 1 == len(bench.platform.load_sets(SOURCE, "thing").sets)
    assert {1: 7, 3: 0, 4: 4, 9: 9} == _numbers(bench)


def test_files_of_a_copied_folder_can_be_read_in_a_new_process(bench: Workbench) -> None:
    _load(bench, DAY, 1)
    take_in(bench.platform, SOURCE)
    _copied_back(bench)
    take_in(bench.platform, SOURCE)
    merge_table(type(bench.platform)(bench.platform.config), SOURCE, "thing")

    assert ({1: 0}, 0) == (_numbers(bench), _waiting(bench))


@pytest.mark.parametrize("alike", [1, 2])
def test_a_reload_some_of_whose_files_are_alike_keeps_their_rows(bench: Workbench, alike: int) -> None:
    """What DMS writes for a table of which only a part has changed; the third file is left over."""
    keys = {1: (1, 2), 2: (3, 4)}
    for counter in keys:
        _load(bench, DAY, *keys[counter], counter=counter)
    _load(bench, DAY, 8, counter=3)
    _change(bench, DAY + HOUR, {"Op": "I", "id": 9, "n": 9})
    bench.apply("thing")
    reloaded = DAY + 24 * HOUR
    for counter in keys:
        at = reloaded + timedelta(minutes=counter)
        _load(bench, at, *keys[counter], counter=counter, n=0 if counter == alike else 5)
        bench.apply("thing")
    _change(bench, reloaded + HOUR, {"Op": "I", "id": 7, "n": 7})
    bench.apply("thing")

    changed = keys[3 - alike]
    assert {key: 5 if key in changed else 0 for key in (1, 2, 3, 4)} | {7: 7} == _numbers(bench)


def test_a_copy_made_right_after_a_reload_brings_no_left_over_file_back(bench: Workbench) -> None:
    _load(bench, DAY, 1)
    _load(bench, DAY, 8, counter=2)
    bench.apply("thing")
    now = datetime.now(UTC)
    _load(bench, now - timedelta(minutes=1), 1, n=5)
    bench.apply("thing")
    _copied_back(bench)
    _change(bench, now + HOUR, {"Op": "I", "id": 7, "n": 7})
    bench.apply("thing")

    assert {1: 5, 7: 7} == _numbers(bench)
