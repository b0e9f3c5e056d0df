"""Snapshots expire by age and count; what is kept can be read, rolled back to and merged into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException
from pyiceberg.table import Table

from cdc_platform.config.maintenance import CompactionOptions, SnapshotOptions
from cdc_platform.errors import StaleCommit
from cdc_platform.lake.health import applied_record
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.maintenance.expiry import ExpiryPlan, ExpiryResult, commit_expiry, plan_expiry
from cdc_platform.lake.read import scan
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

TWO = SnapshotOptions(min_count=2, max_count=2)
EAGER = CompactionOptions(min_files=2, min_deleted_rows=1)


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def planned(bench: Bench, options: SnapshotOptions = TWO, now: datetime | None = None) -> ExpiryPlan:
    objects = bench.lake.objects(SOURCE, bench.config.id)
    return plan_expiry(loaded(bench), objects, options, now=now)


def expired(bench: Bench, options: SnapshotOptions = TWO) -> ExpiryResult:
    return commit_expiry(planned(bench, options))


def change(bench: Bench, number: int, *events: tuple[Any, ...]) -> int:
    """Merge one batch and return its snapshot."""
    made = bench.merge(change_file(f"c{number}", *events, generation=1)).snapshot_id
    assert made is not None
    return made


def lived(bench: Bench, changes: int = 6) -> list[int]:
    """Return the snapshots of a load and some batches of updates and deletes."""
    first = bench.merge(load_file("l", *((key, "v") for key in range(20)))).snapshot_id
    assert first is not None
    return [first, *(change(bench, number, *events(number)) for number in range(changes))]


def events(number: int) -> list[tuple[Any, ...]]:
    return [("U", number, f"u{number}", 10 + number), ("D", 19 - number, None, 50 + number)]


def rows_at(bench: Bench, snapshot_id: int) -> list[tuple[Any, ...]]:
    found = scan(bench.lake, SOURCE, bench.config.id, snapshot_id=snapshot_id).read_all().to_pylist()
    return sorted((row["id"], row["v"]) for row in found)


def test_the_newest_are_kept_and_files_only_older_ones_named_are_removed(bench: Bench) -> None:
    snapshots = lived(bench)
    before = {each: rows_at(bench, each) for each in snapshots[-2:]}
    plan = planned(bench)
    result = commit_expiry(plan)

    assert (5, 2) == (result.snapshots, result.kept)
    assert before == {each: rows_at(bench, each) for each in snapshots[-2:]}
    assert snapshots[-2:] == [each.snapshot_id for each in loaded(bench).metadata.snapshots]
    assert len(plan.files) == result.files > 0
    assert [] == [path for path in plan.files if Path(path.removeprefix("file://")).exists()]


def test_a_plan_removes_nothing(bench: Bench) -> None:
    snapshots = lived(bench)
    plan = planned(bench)

    assert 5 == len(plan.expired)
    assert len(snapshots) == len(loaded(bench).metadata.snapshots)
    assert all(Path(path.removeprefix("file://")).exists() for path in plan.files)


def test_young_snapshots_are_kept_up_to_the_count_and_old_ones_down_to_the_least(bench: Bench) -> None:
    lived(bench)
    options = SnapshotOptions(max_age_days=7, min_count=2, max_count=4)
    later = datetime.now(UTC) + timedelta(days=8)

    assert 3 == len(planned(bench, options).expired)
    assert 5 == len(planned(bench, options, now=later).expired)
    assert 0 == len(planned(bench, SnapshotOptions()).expired)


def test_the_record_of_applied_files_stays_whole(bench: Bench) -> None:
    lived(bench, changes=23)
    before = applied_record(bench.lake, SOURCE, bench.config.id)
    result = expired(bench)
    after = applied_record(bench.lake, SOURCE, bench.config.id)

    assert result.objects > 0
    assert (before.files, before.tombstones) == (after.files, after.tombstones)
    assert 1 == bench.merge(change_file("c0", ("D", 19, None, 50), generation=1)).files_skipped
    assert 1 == bench.merge(change_file("late", ("I", 19, "back", 5), generation=1)).counts.stale


def test_a_rollback_to_a_kept_snapshot_finds_its_rows_and_its_record(bench: Bench) -> None:
    snapshots = lived(bench, changes=8)
    kept = SnapshotOptions(min_count=4, max_count=4)
    expired(bench, kept)
    target = snapshots[-4]
    before = rows_at(bench, target)
    with loaded(bench).manage_snapshots() as manage:
        manage.rollback_to_snapshot(target)
    again = [change_file(f"c{number}", *events(number), generation=1) for number in range(8)]
    rolled_back = sorted(bench.rows())
    result = bench.merge(*again)

    assert before == rolled_back
    assert (5, 3) == (result.files_skipped, len(result.files_applied))
    assert rows_at(bench, snapshots[-1]) == sorted(bench.rows())


def test_snapshots_that_were_rolled_back_count_by_age_and_not_among_the_newest(bench: Bench) -> None:
    ids = lived(bench)
    with loaded(bench).manage_snapshots() as manage:
        manage.rollback_to_snapshot(ids[3])
    young = planned(bench, SnapshotOptions(min_count=2, max_count=2, max_age_days=1))
    late = datetime.now(UTC) + timedelta(days=2)
    old = planned(bench, SnapshotOptions(min_count=2, max_count=2, max_age_days=1), late)

    assert set(ids[:2]) == {each.snapshot_id for each in young.expired}
    assert {*ids[:2], *ids[4:]} == {each.snapshot_id for each in old.expired}


def test_tags_and_branches_hold_their_snapshot_and_its_files(bench: Bench) -> None:
    snapshots = lived(bench)
    with loaded(bench).manage_snapshots() as manage:
        manage.create_tag(snapshots[1], "audited")
    before = rows_at(bench, snapshots[1])
    result = expired(bench)

    assert (4, 3) == (result.snapshots, result.kept)
    assert before == rows_at(bench, snapshots[1])


def test_a_tag_made_between_plan_and_commit_holds_its_snapshot(bench: Bench) -> None:
    snapshots = lived(bench)
    plan = planned(bench)
    with loaded(bench).manage_snapshots() as manage:
        manage.create_tag(snapshots[2], "audited")
    before = rows_at(bench, snapshots[2])
    result = commit_expiry(plan)

    assert (4, 3) == (result.snapshots, result.kept)
    assert before == rows_at(bench, snapshots[2])


def test_a_rollback_between_plan_and_commit_holds_the_snapshot_it_went_back_to(bench: Bench) -> None:
    snapshots = lived(bench)
    plan = planned(bench)
    with loaded(bench).manage_snapshots() as manage:
        manage.rollback_to_snapshot(snapshots[3])
    before = rows_at(bench, snapshots[3])
    commit_expiry(plan)

    assert before == sorted(bench.rows())
    assert 1 == bench.merge(change_file("c0", *events(0), generation=1)).files_skipped


def test_a_merge_between_plan_and_commit_loses_nothing(bench: Bench) -> None:
    lived(bench)
    plan = planned(bench)
    newest = change(bench, 77, ("I", 77, "new", 99), ("D", 0, None, 98))
    before = rows_at(bench, newest)
    commit_expiry(plan)

    assert before == rows_at(bench, newest) == sorted(bench.rows())
    assert 1 == bench.merge(change_file("c1", ("U", 1, "u1", 11), generation=1)).files_skipped


def test_files_a_compaction_replaced_go_with_the_snapshots_that_named_them(bench: Bench) -> None:
    lived(bench)
    before = sorted(bench.rows())
    commit_compaction(bench.lake, plan_compaction(loaded(bench), EAGER), attempts=1)
    expired(bench, SnapshotOptions(min_count=1, max_count=1))
    table = loaded(bench)
    files = list(Path(table.location().removeprefix("file://"), "data").rglob("*.parquet"))

    assert 1 == len(files)
    assert before == sorted(bench.rows())
    assert 1 == bench.merge(change_file("c0", ("U", 0, "u0", 10), generation=1)).files_skipped


def test_the_snapshot_that_holds_the_record_of_a_foreign_one_is_kept(bench: Bench) -> None:
    lived(bench, changes=2)
    for key in (7, 8):
        # another engine's snapshot says nothing of batches
        with pytest.warns(UserWarning, match="Merge on read is not yet supported"):
            loaded(bench).delete(f"id = {key}")
    expired(bench, SnapshotOptions(min_count=1, max_count=1))

    assert 2 == len(loaded(bench).metadata.snapshots)
    assert 1 == bench.merge(change_file("c0", ("U", 0, "u0", 10), generation=1)).files_skipped


def test_other_writers_that_never_let_it_commit_are_told_and_nothing_is_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    lived(bench)
    plan = planned(bench)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise CommitFailedException("moved")

    with monkeypatch.context() as broken:
        broken.setattr(type(bench.lake.catalog), "commit_table", refuse)
        with pytest.raises(StaleCommit, match="nothing was removed"):
            commit_expiry(plan)

    assert all(Path(path.removeprefix("file://")).exists() for path in plan.files)
