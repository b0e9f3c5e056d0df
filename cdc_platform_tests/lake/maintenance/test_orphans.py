"""Orphans: files that no snapshot names and that are old enough; nothing else is ever removed."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table

from cdc_platform.config.maintenance import OrphanOptions
from cdc_platform.errors import MergeError
from cdc_platform.lake.maintenance.orphans import OrphanPlan, plan_orphans, remove_orphans
from cdc_platform.lake.merge import commit_merge, plan_merge
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

HOURS = OrphanOptions(min_age_hours=2)


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def planned(
    bench: Bench, options: OrphanOptions = HOURS, *, hours_later: float = 0, force: bool = False
) -> OrphanPlan:
    objects = bench.lake.objects(SOURCE, bench.config.id)
    now = datetime.now(UTC) + timedelta(hours=hours_later)
    return plan_orphans(loaded(bench), objects, options, now=now, force=force)


def folder(bench: Bench) -> Path:
    return Path(loaded(bench).location().removeprefix("file://"))


def every_file(bench: Bench) -> set[Path]:
    return {path for path in Path(bench.lake.warehouse).rglob("*") if path.is_file()}


def left_behind(bench: Bench, *, hours: float) -> set[str]:
    """Leave what a crashed merge leaves, of that age."""
    objects = Path(bench.lake.objects(SOURCE, bench.config.id).url("batches")).parent
    paths = [
        folder(bench) / "data" / "00000-crashed.parquet",
        folder(bench) / "metadata" / "snap-1-0-crashed.avro",
        objects / "batches" / "crashed.json",
        objects / "tombstones" / "crashed.parquet",
    ]
    at = (datetime.now(UTC) - timedelta(hours=hours)).timestamp()
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"crashed")
        os.utime(path, (at, at))
    return {str(path) for path in paths}


def worn(bench: Bench) -> None:
    bench.merge(load_file("l", *((key, "v") for key in range(10))))
    for number in range(3):
        events = [("U", number, "u", 10 + number), ("D", 9 - number, None, 50 + number)]
        bench.merge(change_file(f"c{number}", *events, generation=1))


def test_old_files_nobody_names_are_removed_and_no_other(bench: Bench) -> None:
    worn(bench)
    before, rows = every_file(bench), bench.rows()
    left = left_behind(bench, hours=3)
    plan = planned(bench)
    result = remove_orphans(plan)

    assert left == {file.location for file in plan.files}
    assert (4, 28) == (result.files, result.bytes)
    assert (before, rows) == (every_file(bench), bench.rows())


def test_a_plan_only_lists(bench: Bench) -> None:
    worn(bench)
    left = left_behind(bench, hours=3)
    planned(bench)

    assert all(Path(path).exists() for path in left)


def test_young_files_stay(bench: Bench) -> None:
    worn(bench)
    left_behind(bench, hours=1)

    assert () == planned(bench).files


def test_whatever_a_kept_snapshot_names_is_never_an_orphan(bench: Bench) -> None:
    worn(bench)

    assert () == planned(bench, hours_later=1_000).files


def test_files_of_a_merge_under_way_stay_until_it_has_committed(bench: Bench) -> None:
    worn(bench)
    plan = plan_merge(
        bench.lake,
        SOURCE,
        bench.config,
        [change_file("now", ("U", 4, "now", 99), generation=1)],
        completed_generation=None,
    )
    before = planned(bench, hours_later=1).files
    commit_merge(plan)
    plan.close()

    assert () == before == planned(bench, hours_later=1_000).files
    assert (4, "now") in bench.rows()


def test_less_than_an_hour_is_refused_unless_forced(bench: Bench) -> None:
    worn(bench)
    left = left_behind(bench, hours=0.5)
    hasty = OrphanOptions(min_age_hours=0.1)
    with pytest.raises(MergeError, match=r"orphans of 0.1 h .* → raise `maintenance.orphans.min_age_hours`"):
        planned(bench, hasty)

    assert left == {file.location for file in planned(bench, hasty, force=True).files}


def test_quarantine_manifests_of_windows_and_other_objects_are_left_alone(bench: Bench) -> None:
    worn(bench)
    objects = bench.lake.objects(SOURCE, bench.config.id)
    objects.put("windows/2024-05-01.json", b"{}")
    objects.put("quarantine/item.json", b"{}")

    assert () == planned(bench, hours_later=1_000).files


def test_what_killed_writers_left_half_written_goes_and_the_locks_stay(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")))
    objects = Path(bench.lake.objects(SOURCE, bench.config.id).url("loads.json")).parent
    halves = [objects / part / ".writing-there.tmp" for part in ("batches", "windows", "quarantine", ".")]
    for half in halves:
        half.parent.mkdir(parents=True, exist_ok=True)
        half.write_bytes(b"half")
    young, old = planned(bench), planned(bench, hours_later=3)
    before = every_file(bench)
    remove_orphans(old)

    assert [] == list(young.files)
    assert {half.resolve() for half in halves} == before - every_file(bench)
