"""Compaction rewrites files and changes no row, whatever else happens to the table meanwhile."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.errors import CommitOutcomeUnknown, MergeError
from cdc_platform.lake import summary
from cdc_platform.lake.data_files import DataFileWriter
from cdc_platform.lake.health import table_health
from cdc_platform.lake.live_rows import live_files
from cdc_platform.lake.maintenance.compaction import GroupResult, commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import CompactionPlan, plan_compaction
from cdc_platform.lake.read import scan
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import COLUMNS, Change, change_file, load_file

EAGER = CompactionOptions(min_files=2, min_deleted_rows=1)
CONTROL = ("_cdc_op", "_cdc_generation", "_cdc_position", "_cdc_committed_at")


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def planned(bench: Bench, options: CompactionOptions = EAGER) -> CompactionPlan:
    return plan_compaction(loaded(bench), options)


def compacted(bench: Bench, plan: CompactionPlan | None = None, attempts: int = 5) -> tuple[GroupResult, ...]:
    return commit_compaction(bench.lake, plan or planned(bench), attempts=attempts)


def worn(bench: Bench) -> Bench:
    """Merge a load and three batches: four files, one of them with deletes."""
    bench.merge(load_file("l", *((key, f"v{key}") for key in range(20))))
    for number in range(3):
        events = [("U", key, f"u{number}", 10 + number) for key in range(number, 20, 5)]
        bench.merge(change_file(f"c{number}", *events, ("D", 19 - number, None, 50 + number), generation=1))
    return bench


def everything(bench: Bench) -> list[tuple[Any, ...]]:
    """Return all rows with every column, sorted."""
    found = scan(bench.lake, SOURCE, bench.config.id).read_all().to_pylist()
    return sorted((tuple(row.values()) for row in found), key=repr)


def files_on_disk(bench: Bench) -> set[Path]:
    return {path for path in Path(bench.lake.warehouse).rglob("*.parquet") if "_cdc" not in path.parts}


def test_many_small_files_with_deletes_become_one_sorted_file_with_the_same_rows(bench: Bench) -> None:
    before = everything(worn(bench))
    (result,) = compacted(bench)
    (file,) = live_files(loaded(bench)).files
    rows = loaded(bench).scan().to_arrow()

    assert (4, 1) == (result.files_before, result.files_after)
    assert () == file.deletes
    assert before == everything(bench)
    assert rows == rows.sort_by("id")


def test_the_snapshot_is_a_replacement_with_its_proof_and_the_record_stands(bench: Bench) -> None:
    worn(bench)
    (result,) = compacted(bench)
    snapshot = loaded(bench).current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    properties = snapshot.summary.additional_properties

    assert "replace" == snapshot.summary.operation.value
    assert str(result.rows) == properties[summary.PROOF_ROWS] == properties["total-records"]
    assert str(result.hash_sum) == properties[summary.PROOF_HASH_SUM]
    assert ("1", "0", "0") == tuple(
        properties[f"total-{name}"] for name in ("data-files", "delete-files", "position-deletes")
    )
    again = change_file("c0", ("U", 3, "again", 10), generation=1)
    assert 1 == bench.merge(again).files_skipped


def test_a_row_keeps_its_position_so_an_older_event_stays_stale_after_it(bench: Bench) -> None:
    worn(bench)
    compacted(bench)
    result = bench.merge(change_file("late", ("U", 0, "late", 5), ("U", 19, "back", 7), generation=1))

    assert 2 == result.counts.stale
    assert (0, "u0") in bench.rows()


def test_a_plan_changes_nothing(bench: Bench) -> None:
    worn(bench)
    before, files = loaded(bench).metadata_location, files_on_disk(bench)
    plan = planned(bench)

    assert 1 == len(plan.groups)
    assert (before, files) == (loaded(bench).metadata_location, files_on_disk(bench))


def test_a_compacted_table_has_nothing_due(bench: Bench) -> None:
    worn(bench)
    compacted(bench)

    assert () == planned(bench).groups


def test_few_small_files_and_few_deletes_are_left(bench: Bench) -> None:
    worn(bench)

    assert () == planned(bench, CompactionOptions(min_files=5)).groups
    assert 1 == len(planned(bench, CompactionOptions(min_files=4)).groups)


def test_a_share_of_deleted_rows_makes_a_file_due(bench: Bench) -> None:
    bench.merge(load_file("l", *((key, "v") for key in range(100))))
    bench.merge(change_file("c", *(("D", key, None, 10) for key in range(9)), generation=1))
    options = CompactionOptions(min_deleted_rows=1, delete_debt=0.1)
    few = planned(bench, options).groups
    bench.merge(change_file("d", ("D", 99, None, 11), generation=1))
    (group,) = planned(bench, options).groups

    assert () == few
    assert (1, 100, 10) == (len(group.files), group.rows, group.deleted)


def test_the_smallest_files_are_gathered_before_larger_ones_are_touched(bench: Bench) -> None:
    bench.merge(load_file("l", (1, Random(7).randbytes(100_000).hex())))
    for number in range(3):
        bench.merge(change_file(f"c{number}", ("I", 10_000 + number, "small", 10), generation=1))
    (group,) = planned(bench, CompactionOptions(min_files=3)).groups

    assert 3 == len(group.files)
    assert {1} == {file.data.record_count for file in group.files}


def test_groups_are_of_bounded_size_and_each_is_a_snapshot_of_its_own(bench: Bench) -> None:
    noise = Random(7)
    for number in range(6):
        bench.merge(load_file(f"l{number}", (number, noise.randbytes(400_000).hex())))
    before, snapshots = everything(bench), len(loaded(bench).metadata.snapshots)
    results = compacted(bench, planned(bench, EAGER.model_copy(update={"group_mb": 1})))

    assert [(2, 1), (2, 1), (2, 1)] == [(each.files_before, each.files_after) for each in results]
    assert 3 == len(loaded(bench).metadata.snapshots) - snapshots
    assert before == everything(bench)


def test_what_is_rewritten_after_a_merge_stays_within_its_budget(bench: Bench) -> None:
    noise = Random(7)
    for number in range(4):
        bench.merge(load_file(f"l{number}", (number, noise.randbytes(400_000).hex())))
    options = EAGER.model_copy(update={"group_mb": 1})

    assert 2 == len(plan_compaction(loaded(bench), options).groups)
    assert 1 == len(plan_compaction(loaded(bench), options, most_bytes=1_500_000).groups)
    assert 0 == len(plan_compaction(loaded(bench), options, most_bytes=500_000).groups)


@pytest.mark.parametrize("partition_by", [("v",), ("bucket(2, id)",), ("truncate(5, id)", "v")])
def test_partitions_are_compacted_each_for_itself(bench: Bench, partition_by: tuple[str, ...]) -> None:
    parted = bench.with_table(id="parted", partition_by=partition_by)
    parted.merge(load_file("l", *((key, f"p{key % 2}") for key in range(12))))
    parted.merge(change_file("c", *(("U", key, f"p{key % 3 % 2}", 10) for key in range(12)), generation=1))
    parted.merge(change_file("d", *(("U", key, f"p{key % 2}", 11) for key in range(12)), generation=1))
    before = everything(parted)
    results = compacted(parted)
    files = live_files(loaded(parted)).files

    assert all(result.skipped is None for result in results)
    assert before == everything(parted)
    assert len(files) == len({repr(file.data.partition) for file in files})
    assert {()} == {file.deletes for file in files}
    assert 12 == len(loaded(parted).scan().to_arrow())


def test_files_of_an_older_schema_are_rewritten_with_the_new_one(bench: Bench) -> None:
    wider = COLUMNS.append(pa.field("w", pa.int32()))
    widest = wider.set(2, pa.field("w", pa.int64()))
    bench.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")))
    bench.merge(change_file("c", Change("U", {"id": 1, "v": "A", "w": 7}, 10), generation=1, columns=wider))
    bench.merge(
        change_file("d", Change("U", {"id": 2, "v": "B", "w": 2**40}, 11), generation=1, columns=widest)
    )
    compacted(bench)

    assert [(1, "A", 7), (2, "B", 2**40), (3, "c", None)] == bench.rows("id", "v", "w")


def test_a_soft_deleted_row_stays_marked(bench: Bench) -> None:
    soft = bench.with_table(id="soft", delete_mode="soft")
    before = everything(worn(soft))
    compacted(soft)
    health = table_health(soft.lake, SOURCE, soft.config)

    assert before == everything(soft)
    assert health is not None
    assert 3 == health.soft_deleted_rows


@pytest.mark.parametrize("no_key", ["append", "multiset"])
def test_a_table_without_a_key_keeps_every_repetition(bench: Bench, no_key: str) -> None:
    keyless = bench.with_table(id=no_key, merge_key=(), no_key=no_key)
    keyless.merge(load_file("l", (1, "a"), (1, "a"), (2, "b")))
    keyless.merge(change_file("c", ("I", 1, "a", 10), ("I", 3, None, 11), generation=1))
    compacted(keyless)

    assert [(1, "a"), (1, "a"), (1, "a"), (2, "b"), (3, None)] == keyless.rows()
    assert 1 == len(live_files(loaded(keyless)).files)


def test_a_file_of_which_every_row_is_deleted_goes_away_without_a_successor(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")))
    bench.merge(change_file("c", ("D", 1, None, 10), ("D", 2, None, 11), generation=1))
    compacted(bench)
    bench.merge(change_file("d", ("D", 3, None, 12), generation=1))

    assert [] == bench.rows()
    assert () == live_files(loaded(bench)).files


def test_deletes_and_updates_merged_meanwhile_hold_in_the_rewritten_files(bench: Bench) -> None:
    plan = planned(worn(bench))
    bench.merge(
        change_file("now", ("U", 4, "now", 90), ("D", 7, None, 91), ("I", 77, "new", 92), generation=1)
    )
    before = everything(bench)
    (result,) = compacted(bench, plan)

    assert result.skipped is None
    assert before == everything(bench)
    assert 2 == sum(file.record_count for one in live_files(loaded(bench)).files for file in one.deletes)
    assert 1 == bench.merge(change_file("now", ("D", 7, None, 91), generation=1)).files_skipped


def test_a_merge_between_the_writing_and_the_commit_costs_an_attempt_not_the_work(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = planned(worn(bench))
    commit = type(bench.lake.catalog).commit_table
    waiting = [change_file("now", ("U", 4, "now", 90), ("D", 7, None, 91), generation=1)]

    def overtaken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if waiting:
            bench.merge(waiting.pop())
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(type(bench.lake.catalog), "commit_table", overtaken)
    (result,) = compacted(bench, plan)
    values = dict(bench.rows())

    assert (2, None) == (result.attempts, result.skipped)
    assert "now" == values[4]
    assert 7 not in values


def test_a_schema_change_merged_meanwhile_does_not_stop_it(bench: Bench) -> None:
    plan = planned(worn(bench))
    wider = COLUMNS.append(pa.field("w", pa.int32()))
    bench.merge(
        change_file("now", Change("U", {"id": 4, "v": "now", "w": 5}, 90), generation=1, columns=wider)
    )
    before = everything(bench)
    (result,) = compacted(bench, plan)

    assert result.skipped is None
    assert before == everything(bench)


def test_a_group_another_compaction_rewrote_is_skipped_and_leaves_no_file(bench: Bench) -> None:
    plan = planned(worn(bench))
    compacted(bench)
    before, files = everything(bench), files_on_disk(bench)
    (result,) = compacted(bench, plan)

    assert result.skipped is not None
    assert "another writer removed" in result.skipped
    assert (before, files) == (everything(bench), files_on_disk(bench))


def test_a_group_that_loses_every_attempt_is_skipped_and_leaves_no_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyiceberg.exceptions import CommitFailedException

    before = everything(worn(bench))
    files = files_on_disk(bench)

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise CommitFailedException("moved")

    with monkeypatch.context() as broken:
        broken.setattr(type(bench.lake.catalog), "commit_table", refuse)
        (result,) = compacted(bench, attempts=2)

    assert "other writers committed first, 2 times" == result.skipped
    assert (before, files) == (everything(bench), files_on_disk(bench))


def test_files_stay_while_nobody_knows_whether_they_were_committed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    worn(bench)
    files = files_on_disk(bench)

    def no_answer(*args: Any, **kwargs: Any) -> Any:
        raise TimeoutError("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(bench.lake.catalog), "commit_table", no_answer)
        with pytest.raises(CommitOutcomeUnknown):
            compacted(bench)

    assert files < files_on_disk(bench)


def test_a_rewrite_that_loses_a_row_is_not_committed_and_leaves_no_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(worn(bench))
    files = files_on_disk(bench)
    write = DataFileWriter.write

    def lossy(self: Any, batches: Any) -> Any:
        return write(self, (batch.slice(1) for batch in batches))

    monkeypatch.setattr(DataFileWriter, "write", lossy)
    with pytest.raises(MergeError, match=r"17 rows with hash sum \d+ became 16 .* nothing was committed"):
        compacted(bench)

    assert (before, files) == (everything(bench), files_on_disk(bench))


def test_a_rewrite_that_swaps_two_values_is_not_committed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = everything(worn(bench))
    write = DataFileWriter.write

    def swapping(self: Any, batches: Any) -> Any:
        for batch in batches:
            at = batch.schema.get_field_index("v")
            yield from write(self, [batch.set_column(at, "v", batch.column(at)[::-1])])

    monkeypatch.setattr(DataFileWriter, "write", swapping)
    with pytest.raises(MergeError, match="do not hold the rows that were read"):
        compacted(bench)

    assert before == everything(bench)
