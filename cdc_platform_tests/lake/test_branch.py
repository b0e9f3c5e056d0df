"""A table whose main waits: merges, maintenance and roll-backs on its branch, and what main shows."""

from __future__ import annotations

import os
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest
from pyiceberg.table import Table

from cdc_platform.config.maintenance import MaintenanceOptions, SnapshotOptions
from cdc_platform.errors import MergeError, StaleCommit
from cdc_platform.lake.applied import AppliedRecord, read_applied, record_path
from cdc_platform.lake.branch import PENDING, holds_back, published_id
from cdc_platform.lake.maintenance import Step, maintain
from cdc_platform.lake.maintenance.expiry import commit_expiry, plan_expiry
from cdc_platform.lake.merge import MergeInput, MergePlan, commit_merge, plan_merge
from cdc_platform.lake.publishing import hold_back, let_go, publish_up_to, unpublished
from cdc_platform.lake.rollback import commit_rollback, find_snapshot, plan_rollback
from cdc_platform.lake.summary import BATCH_MANIFEST
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file


@pytest.fixture
def held(bench: Bench) -> Bench:
    """A table that holds main back from its first merge on."""
    return bench.with_table(publish="on_match")


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def main_of(bench: Bench) -> Table:
    return bench.lake.catalog.load_table(bench.lake.identifier(SOURCE, bench.config.id))


def planned(bench: Bench, *inputs: MergeInput) -> MergePlan:
    return plan_merge(bench.lake, SOURCE, bench.config, inputs, completed_generation=None)


def published(bench: Bench) -> list[tuple[Any, ...]]:
    """Return the rows another program reads: pyiceberg's own scan of main."""
    rows = main_of(bench).scan(selected_fields=("id", "v")).to_arrow().to_pylist()
    return sorted((row["id"], row["v"]) for row in rows)


def publish_all(bench: Bench) -> None:
    table = loaded(bench)
    publish_up_to(table, table.metadata.refs[PENDING].snapshot_id)


def objects(bench: Bench) -> Any:
    return bench.lake.objects(SOURCE, bench.config.id)


def test_readers_of_main_see_an_empty_table_until_the_first_merge_is_published(held: Bench) -> None:
    held.merge(load_file("l", (1, "a"), (2, "b")), completed=1)

    assert ([], [(1, "a"), (2, "b")]) == (published(held), held.rows())
    publish_all(held)
    assert held.rows() == published(held)


def test_a_table_without_the_option_has_no_branch_and_main_moves_with_each_merge(bench: Bench) -> None:
    merged = bench.merge(change_file("c1", ("I", 1, "a", 10)))

    assert {"main"} == set(main_of(bench).metadata.refs)
    assert merged.snapshot_id == main_of(bench).metadata.current_snapshot_id


def test_merges_go_on_from_what_is_pending_and_the_record_follows_them(held: Bench) -> None:
    first = change_file("c1", ("I", 1, "a", 10), ("I", 2, "b", 11))
    held.merge(first)
    held.merge(change_file("c2", ("U", 1, "A", 20), ("D", 2, None, 21)))

    assert ([], [(1, "A")]) == (published(held), held.rows())
    assert {"c1", "c2"} == {
        key.rpartition("/")[2] for key, _ in read_applied(loaded(held), objects(held)).files
    }
    assert held.merge(first).snapshot_id is None


def test_main_can_be_moved_to_a_part_of_what_is_pending(held: Bench) -> None:
    first = held.merge(change_file("c1", ("I", 1, "a", 10)))
    held.merge(change_file("c2", ("U", 1, "A", 20)))
    assert first.snapshot_id is not None

    publish_up_to(loaded(held), first.snapshot_id)

    assert ([(1, "a")], [(1, "A")]) == (published(held), held.rows())
    assert 1 == len(unpublished(loaded(held)))


def test_publishing_again_makes_no_commit(held: Bench) -> None:
    first = held.merge(change_file("c1", ("I", 1, "a", 10)))
    held.merge(change_file("c2", ("U", 1, "A", 20)))
    publish_all(held)
    before = main_of(held).metadata_location
    assert first.snapshot_id is not None

    publish_up_to(loaded(held), first.snapshot_id)
    publish_all(held)

    assert before == main_of(held).metadata_location


def test_duckdb_reads_main_and_not_what_is_pending(held: Bench) -> None:
    from cdc_platform.lake.base_files import local_path
    from cdc_platform.lake.read import open_workspace

    held.merge(change_file("c1", ("I", 1, "a", 10)))
    publish_all(held)
    held.merge(change_file("c2", ("U", 1, "A", 20), ("I", 2, "b", 21)))

    con = open_workspace(held.lake, iceberg=True)
    try:
        query = f"SELECT id, v FROM iceberg_scan('{local_path(main_of(held).metadata_location)}')"
        assert [(1, "a")] == con.execute(query).fetchall()
    finally:
        con.close()


def test_a_publication_beside_a_merge_is_refused_and_moves_nothing(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    old = loaded(held)
    held.merge(change_file("c2", ("I", 2, "b", 20)))

    with pytest.raises(StaleCommit, match="another writer moved"):
        publish_up_to(old, old.metadata.refs[PENDING].snapshot_id)
    assert [] == published(held)


def test_a_merge_planned_before_a_publication_still_commits(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    plan = plan_merge(
        held.lake, SOURCE, held.config, [change_file("c2", ("I", 2, "b", 20))], completed_generation=None
    )
    publish_all(held)

    with closing(plan):
        commit_merge(plan)

    assert ([(1, "a")], [(1, "a"), (2, "b")]) == (published(held), held.rows())


def test_a_merge_planned_before_main_was_held_back_does_not_write_main(bench: Bench) -> None:
    bench.merge(change_file("c1", ("I", 1, "a", 10)))
    plan = plan_merge(
        bench.lake, SOURCE, bench.config, [change_file("c2", ("I", 2, "b", 20))], completed_generation=None
    )
    hold_back(loaded(bench))

    with closing(plan), pytest.raises(StaleCommit):
        commit_merge(plan)

    assert ([(1, "a")], [(1, "a")]) == (published(bench), bench.rows())


def test_two_writers_of_the_branch_at_once_lose_neither(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    plan = planned(held, change_file("c3", ("I", 3, "c", 30)))
    held.merge(change_file("c2", ("I", 2, "b", 20)))

    with closing(plan), pytest.raises(StaleCommit):
        commit_merge(plan)
    assert [(1, "a"), (2, "b")] == held.rows()


def test_of_two_that_hold_a_table_back_at_once_one_is_told(bench: Bench) -> None:
    bench.merge(change_file("c1", ("I", 1, "a", 10)))
    old = loaded(bench)
    hold_back(loaded(bench))

    with pytest.raises(StaleCommit):
        hold_back(old)
    assert {"main", PENDING} == set(main_of(bench).metadata.refs)


def test_turning_the_option_on_keeps_what_main_has_and_holds_back_what_follows(bench: Bench) -> None:
    bench.merge(change_file("c1", ("I", 1, "a", 10)))
    held = bench.with_table(publish="on_match")

    held.merge(change_file("c2", ("U", 1, "A", 20)))

    assert ([(1, "a")], [(1, "A")]) == (published(held), held.rows())


def test_turning_the_option_off_publishes_all_with_the_next_merge_and_ends_the_branch(held: Bench) -> None:
    first = change_file("c1", ("I", 1, "a", 10))
    held.merge(first)
    free = held.with_table()

    free.merge(first)

    assert ([(1, "a")], {"main"}) == (published(free), set(main_of(free).metadata.refs))
    free.merge(change_file("c2", ("U", 1, "A", 20)))
    assert [(1, "A")] == published(free) == free.rows()


def test_a_merge_under_way_when_the_branch_ends_plans_again(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    plan = plan_merge(
        held.lake, SOURCE, held.config, [change_file("c2", ("I", 2, "b", 20))], completed_generation=None
    )
    let_go(loaded(held))

    with closing(plan), pytest.raises(StaleCommit):
        commit_merge(plan)
    assert [(1, "a")] == published(held)


def test_a_main_that_another_program_wrote_is_not_moved_and_a_roll_back_mends_it(held: Bench) -> None:
    shared = held.merge(change_file("c1", ("I", 1, "a", 10)))
    publish_all(held)
    later = change_file("c2", ("I", 2, "b", 20))
    held.merge(later)
    main = main_of(held)
    main.append(main.scan().to_arrow())

    with pytest.raises(MergeError, match=f"another program wrote main.*--to-snapshot {shared.snapshot_id}"):
        publish_all(held)
    roll_back(held, shared.snapshot_id)
    held.merge(later)
    publish_all(held)

    assert [(1, "a"), (2, "b")] == published(held) == held.rows()


def roll_back(bench: Bench, snapshot_id: int | None) -> None:
    base = loaded(bench)
    target = find_snapshot(base, snapshot_id=snapshot_id)
    commit_rollback(plan_rollback(bench.lake, SOURCE, bench.config.id, target, base))


def test_a_roll_back_of_what_is_pending_leaves_main(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    publish_all(held)
    second = held.merge(change_file("c2", ("I", 2, "b", 20)))
    third = change_file("c3", ("I", 3, "c", 30))
    held.merge(third)

    roll_back(held, second.snapshot_id)

    assert ([(1, "a")], [(1, "a"), (2, "b")]) == (published(held), held.rows())
    held.merge(third)
    publish_all(held)
    assert [(1, "a"), (2, "b"), (3, "c")] == published(held)


def test_a_roll_back_of_what_is_published_takes_main_along(held: Bench) -> None:
    first = held.merge(change_file("c1", ("I", 1, "a", 10)))
    held.merge(change_file("c2", ("I", 2, "b", 20)))
    publish_all(held)
    held.merge(change_file("c3", ("I", 3, "c", 30)))

    roll_back(held, first.snapshot_id)

    assert [(1, "a")] == published(held) == held.rows()
    assert first.snapshot_id == published_id(loaded(held))


def test_a_roll_back_behind_the_first_merge_leaves_nothing_and_the_next_merge_brings_all_again(
    held: Bench,
) -> None:
    first, load = change_file("c1", ("I", 1, "a", 10), ("D", 2, None, 11)), load_file("l", (3, "c"))
    beginning = None
    for one in (first, load):
        held.merge(one)
        beginning = beginning or published_id(loaded(held))
    publish_all(held)

    roll_back(held, beginning)

    assert [] == published(held) == held.rows()
    assert BATCH_MANIFEST not in loaded(held).properties
    assert AppliedRecord() == read_applied(loaded(held), objects(held))
    held.merge(first, load)
    assert [(1, "a"), (3, "c")] == held.rows()
    assert {"c1", "l"} == {key for key, _ in read_applied(loaded(held), objects(held)).files}


def test_what_the_first_merge_recorded_is_not_the_record_of_the_empty_table_before_it(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    main = main_of(held)

    assert None is record_path(main)


def test_a_table_that_another_program_emptied_keeps_its_record_when_snapshots_before_that_expire(
    bench: Bench,
) -> None:
    bench.merge(change_file("c1", ("I", 1, "a", 10)))
    record = record_path(loaded(bench))
    main = main_of(bench)
    main.append(main.scan().to_arrow())
    with main.transaction() as transaction:
        transaction.set_properties({"write.delete.mode": "copy-on-write"})
    main.delete()
    options = SnapshotOptions(max_age_days=1, min_count=1, max_count=1)
    later = datetime.now(UTC) + timedelta(days=30)

    expired = commit_expiry(plan_expiry(loaded(bench), objects(bench), options, now=later))

    assert ([], 1) == (bench.rows(), expired.snapshots)
    assert record == record_path(loaded(bench))


def test_compaction_writes_the_branch_and_main_moves_over_it(held: Bench) -> None:
    for n in range(4):
        held.merge(change_file(f"c{n}", ("I", n, "a", 10 + n)))
        if n == 1:
            publish_all(held)
    options = {"compaction": {"min_files": 2}}
    held.config = held.config.model_copy(update={"maintenance": MaintenanceOptions.model_validate(options)})

    done = maintain(held.lake, SOURCE, held.config, [Step.COMPACT])

    assert done is not None
    assert done.groups
    assert [(0, "a"), (1, "a")] == published(held)
    assert [(n, "a") for n in range(4)] == held.rows()
    publish_all(held)
    assert held.rows() == published(held)
    assert 1 == len(list(main_of(held).scan().plan_files()))


def test_expiry_keeps_main_and_all_that_is_between_main_and_the_branch(held: Bench) -> None:
    for n in range(6):
        held.merge(change_file(f"c{n}", ("U" if n else "I", 1, f"v{n}", 10 + n)))
        if n == 2:
            publish_all(held)
    policy = MaintenanceOptions.model_validate(
        {"snapshots": {"min_count": 1, "max_count": 1, "max_age_days": 1}}
    )
    later = datetime.now(UTC) + timedelta(days=30)

    result = commit_expiry(plan_expiry(loaded(held), objects(held), policy.snapshots, now=later))

    assert (3, 4) == (result.snapshots, result.kept)
    assert ([(1, "v2")], [(1, "v5")]) == (published(held), held.rows())
    publish_all(held)
    assert [(1, "v5")] == published(held)


def test_orphan_clean_up_keeps_the_files_of_main_and_of_the_branch(held: Bench) -> None:
    held.merge(change_file("c1", ("I", 1, "a", 10)))
    publish_all(held)
    held.merge(change_file("c2", ("U", 1, "A", 20)))
    root = Path(main_of(held).location().removeprefix("file://"))
    stray = root / "data" / "stray.parquet"
    duckdb.sql("SELECT 1 AS id").write_parquet(str(stray))
    for file in root.rglob("*.*"):
        os.utime(file, (0, 0))

    done = maintain(held.lake, SOURCE, held.config, [Step.ORPHANS])

    assert done is not None
    assert done.orphans is not None
    assert not stray.exists()
    assert ([(1, "a")], [(1, "A")]) == (published(held), held.rows())


def test_a_table_made_by_a_merge_that_died_is_held_back_by_the_next(
    held: Bench,
) -> None:
    from cdc_platform.lake.schema import TargetSchema, new_table

    file = change_file("c1", ("I", 1, "a", 10))
    free = held.with_table()
    plan = planned(free, file)
    with closing(plan):
        new_table(free.lake, SOURCE, free.config, plan.target, where="item")

    held.merge(file)

    assert holds_back(loaded(held))
    assert ([], [(1, "a")]) == (published(held), held.rows())
    assert isinstance(plan.target, TargetSchema)


def test_going_forward_again_publishes_nothing(held: Bench) -> None:
    first = held.merge(change_file("c1", ("I", 1, "a", 10)))
    second = held.merge(change_file("c2", ("I", 2, "b", 20)))
    roll_back(held, first.snapshot_id)
    held.merge(change_file("c3", ("I", 3, "c", 30)))
    publish_all(held)

    roll_back(held, second.snapshot_id)

    assert ([(1, "a")], [(1, "a"), (2, "b")]) == (published(held), held.rows())
