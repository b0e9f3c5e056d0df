"""A table set back to an earlier snapshot becomes the same again when its files are merged again.

``CDC_ROLLBACK_CASES=2000 pytest … --timeout 3600`` rolls more random histories back.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table

from cdc_platform.errors import CommitOutcomeUnknown, MergeError, StaleCommit, UnreadableRawFile
from cdc_platform.lake import quarantine
from cdc_platform.lake.applied import read_applied
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.health import merge_history
from cdc_platform.lake.lineage import SnapshotInfo, snapshot_history
from cdc_platform.lake.merge import commit_merge, merge, plan_merge
from cdc_platform.lake.rollback import RollbackPlan, commit_rollback, find_snapshot, plan_rollback
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta
from cdc_platform.lake.summary import BATCH_MANIFEST
from cdc_platform_tests.histories.case import random_case
from cdc_platform_tests.histories.lakes import quick_lake, quick_reader
from cdc_platform_tests.histories.run import SOURCE as HISTORIES
from cdc_platform_tests.histories.run import Run, tuned
from cdc_platform_tests.histories.show import shown
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import COLUMNS as NARROW
from cdc_platform_tests.lake.memory_files import Change, change_file, load_file

CASES = int(os.environ.get("CDC_ROLLBACK_CASES", "16"))
WIDER = pa.schema([*NARROW, pa.field("w", pa.int64())])
COLUMNS = ("id", "v", "_cdc_op", "_cdc_generation", "_cdc_position", "_cdc_committed_at")


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def planned(bench: Bench, **target: Any) -> RollbackPlan:
    base = loaded(bench)
    return plan_rollback(bench.lake, SOURCE, bench.config.id, find_snapshot(base, **target), base)


def rolled_back(bench: Bench, snapshot_id: int | None) -> RollbackPlan:
    plan = planned(bench, snapshot_id=snapshot_id)
    commit_rollback(plan)
    return plan


def test_rows_record_tombstones_and_watermark_go_back_together(bench: Bench) -> None:
    first = bench.merge(load_file("l", (1, "a"), (2, "b")), completed=1)
    before, record = bench.rows(*COLUMNS), read_applied(loaded(bench), objects(bench))
    later = change_file("c2", ("D", 1, None, 20), ("I", 3, "c", 21), generation=1)
    bench.merge(later)
    after = bench.rows(*COLUMNS)

    plan = rolled_back(bench, first.snapshot_id)

    assert before == bench.rows(*COLUMNS)
    assert record == read_applied(loaded(bench), objects(bench))
    assert ([1], 1) == ([one.files for one in plan.undone], plan.undone[0].counts["rows_deleted"])
    bench.merge(later)
    assert after == bench.rows(*COLUMNS)


def objects(bench: Bench) -> Any:
    return bench.lake.objects(SOURCE, bench.config.id)


def test_the_property_that_leads_to_the_record_goes_back_as_well(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    bench.merge(change_file("c2", ("I", 2, "b", 20)))

    rolled_back(bench, first.snapshot_id)

    table = loaded(bench)
    assert f"batches/{first.batch_id}.json" == table.properties[BATCH_MANIFEST]


def test_a_snapshot_is_found_by_batch_and_by_time(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    second = bench.merge(change_file("c2", ("I", 2, "b", 20)))
    base = loaded(bench)
    one, two = reversed(snapshot_history(base))
    assert one.committed_at is not None

    assert one == find_snapshot(base, batch_id=first.batch_id[:10])
    assert one == find_snapshot(base, before=one.committed_at)
    assert two == find_snapshot(base, before=datetime.now(UTC))
    assert second.snapshot_id == two.snapshot_id


def test_what_is_no_snapshot_of_the_tables_history_is_refused(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    second = bench.merge(change_file("c2", ("I", 2, "b", 20)))
    bench.merge(change_file("c3", ("I", 3, "c", 30)))
    rolled_back(bench, second.snapshot_id)
    assert first.snapshot_id is not None
    loaded(bench).maintenance.expire_snapshots().by_id(first.snapshot_id).commit()

    for target, says in (
        ({"snapshot_id": 4711}, "expired, or is of another table"),
        ({"snapshot_id": first.snapshot_id}, "expired, or is of another table"),
        ({"batch_id": first.batch_id}, "no snapshot that is kept"),
        ({"before": datetime.now(UTC) - timedelta(days=1)}, "no snapshot that is kept is as old"),
    ):
        with pytest.raises(MergeError, match=says):
            planned(bench, **target)


def test_a_snapshot_that_was_rolled_back_is_in_force_again_record_and_all(bench: Bench) -> None:
    first = bench.merge(load_file("l", (1, "a"), (2, "b")), completed=1)
    bench.merge(change_file("c2", ("D", 1, None, 20), generation=1))
    third = bench.merge(change_file("c3", ("I", 3, "c", 30), generation=1))
    before, record = bench.rows(*COLUMNS), read_applied(loaded(bench), objects(bench))
    rolled_back(bench, first.snapshot_id)
    fourth = bench.merge(change_file("c4", ("I", 4, "d", 40), generation=1))

    plan = rolled_back(bench, third.snapshot_id)

    assert before == bench.rows(*COLUMNS)
    assert record == read_applied(loaded(bench), objects(bench))
    assert [fourth.snapshot_id] == [one.snapshot.snapshot_id for one in plan.undone]
    assert (2, third.snapshot_id) == (
        len(plan.brought_back),
        plan.brought_back[0].snapshot.snapshot_id,
    )
    assert ["c4"] == [file.key for file in plan.files]
    bench.merge(change_file("c4", ("I", 4, "d", 40), generation=1))
    assert [(2, "b"), (3, "c"), (4, "d")] == bench.rows()


def test_a_rows_replay_that_was_rolled_back_is_not_lost_on_the_way_forward(bench: Bench) -> None:
    faulty = change_file("a", ("I", None, "x", 10), ("I", 2, "y", 11), ("I", 3, "z", 12))
    first = bench.merge(faulty)
    (item,) = quarantine.list_items(bench.lake, SOURCE, bench.config.id)
    quarantine.release(bench.lake, SOURCE, bench.config.id, item.id)
    mended = change_file("a", ("I", 1, "x", 10), ("I", 2, "y", 11), ("I", 3, "z", 12))
    second = bench.merge(mended)
    rolled_back(bench, first.snapshot_id)
    rolled_back(bench, second.snapshot_id)
    bench.merge(mended)

    assert [(1, "x"), (2, "y"), (3, "z")] == bench.rows()
    assert [quarantine.QuarantineState.REPLAYED] == [
        one.state for one in quarantine.list_items(bench.lake, SOURCE, bench.config.id)
    ]


def test_files_of_a_superseded_load_need_not_be_merged_again(bench: Bench) -> None:
    first = bench.merge(load_file("l", (1, "a")), completed=1)
    bench.merge(change_file("c2", ("I", 2, "b", 20), generation=1))
    bench.merge(load_file("m", (1, "c"), generation=2), completed=2)

    assert ["m"] == [file.key for file in planned(bench, snapshot_id=first.snapshot_id).files]


def test_a_rollback_does_not_run_over_another_writer(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    bench.merge(change_file("c2", ("I", 2, "b", 20)))
    plan = planned(bench, snapshot_id=first.snapshot_id)
    bench.merge(change_file("c3", ("I", 3, "c", 30)))

    with pytest.raises(StaleCommit):
        commit_rollback(plan)

    assert [(1, "a"), (2, "b"), (3, "c")] == bench.rows()


def test_a_merge_planned_before_a_rollback_plans_again(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    bench.merge(change_file("c2", ("I", 2, "b", 20)))
    third = change_file("c3", ("I", 3, "c", 30))
    plan = plan_merge(bench.lake, SOURCE, bench.config, [third], completed_generation=None)
    rolled_back(bench, first.snapshot_id)

    with pytest.raises((StaleCommit, CommitOutcomeUnknown)):
        commit_merge(plan)
    plan.close()

    bench.merge(third)
    assert [(1, "a"), (3, "c")] == bench.rows()


def test_maintenance_in_between_is_undone_or_kept_with_its_batch(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    ours, foreign = maintained(bench, carries=True), maintained(bench, carries=False)
    bench.merge(change_file("c2", ("I", 2, "b", 20)))
    record = {"c1"}

    for target in (foreign, ours):
        rolled_back(bench, target)
        assert record == {key for key, _ in read_applied(loaded(bench), objects(bench)).files}
        bench.merge(change_file("c1", ("I", 1, "a", 10)), change_file("c2", ("I", 2, "b", 20)))
        assert [(1, "a"), (2, "b")] == bench.rows()
    assert ours == find_snapshot(loaded(bench), batch_id=first.batch_id).snapshot_id


def maintained(bench: Bench, *, carries: bool) -> int:
    """Commit a snapshot that changes nothing, as maintenance that carries the record on or not."""
    table = loaded(bench)
    current = table.current_snapshot()
    assert current is not None
    assert current.summary is not None
    record = {BATCH_MANIFEST: current.summary.additional_properties[BATCH_MANIFEST]} if carries else {}
    return commit_row_delta(table.transaction(), table, RowDelta(properties=record))


def test_a_snapshot_of_which_nobody_knows_the_files_is_refused(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    foreign = maintained(bench, carries=False)
    bench.merge(change_file("c2", ("I", 2, "b", 20)))
    assert first.snapshot_id is not None
    loaded(bench).maintenance.expire_snapshots().by_id(first.snapshot_id).commit()

    with pytest.raises(MergeError, match="holds is not known: another writer made it"):
        planned(bench, snapshot_id=foreign)


def test_a_snapshot_whose_tombstones_are_gone_is_refused(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10), ("D", 1, None, 11)))
    bench.merge(change_file("c2", ("I", 2, "b", 20)))
    (stone,) = read_applied(loaded(bench), objects(bench)).tombstones
    objects(bench).delete(stone)

    with pytest.raises(MergeError, match="the deletes remembered at snapshot"):
        planned(bench, snapshot_id=first.snapshot_id)


def test_columns_added_since_stay_and_are_filled_again(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    wider = change_file("c2", Change("U", {"id": 1, "v": "b", "w": 7}, 20), columns=WIDER)
    bench.merge(wider)
    after = bench.rows(*COLUMNS, "w")

    rolled_back(bench, first.snapshot_id)

    assert [(1, "a", None)] == bench.rows("id", "v", "w")
    bench.merge(wider)
    assert after == bench.rows(*COLUMNS, "w")


def test_a_replay_of_quarantine_that_is_undone_is_made_again(bench: Bench) -> None:
    bad = change_file("c1", ("I", None, "a", 10), ("I", 2, "b", 11), ("I", 3, "c", 12))
    first = bench.merge(bad)
    (item,) = quarantine.list_items(bench.lake, SOURCE, bench.config.id)
    quarantine.release(bench.lake, SOURCE, bench.config.id, item.id)
    good = change_file("c1", ("I", 1, "a", 10), ("I", 2, "b", 11), ("I", 3, "c", 12))
    bench.merge(good)
    assert [(1, "a"), (2, "b"), (3, "c")] == bench.rows()

    plan = rolled_back(bench, first.snapshot_id)

    assert ((item.id,), [(2, "b"), (3, "c")]) == (plan.replays, bench.rows())
    bench.merge(good)
    assert [(1, "a"), (2, "b"), (3, "c")] == bench.rows()
    (closed,) = quarantine.list_items(bench.lake, SOURCE, bench.config.id)
    assert quarantine.QuarantineState.REPLAYED is closed.state


def test_a_files_replay_that_a_rollback_reopened_and_did_not_take_back_is_closed_again(bench: Bench) -> None:
    torn = UnreadableRawFile("the file is cut short", where="torn", mend="let DMS write it again")
    first = bench.merge(change_file("c0", ("I", 1, "a", 9)))
    bench.merge(change_file("c1", ("I", 2, "b", 10), fault=torn))
    (item,) = quarantine.list_items(bench.lake, SOURCE, bench.config.id)
    quarantine.release(bench.lake, SOURCE, bench.config.id, item.id)
    bench.merge(change_file("c1", ("I", 2, "b", 10)))
    plan = planned(bench, snapshot_id=first.snapshot_id)

    # as a rollback does that dies before its commit
    quarantine.release_again(objects(bench), plan.replays)
    bench.merge(change_file("c1", ("I", 2, "b", 10)))

    (closed,) = quarantine.list_items(bench.lake, SOURCE, bench.config.id)
    assert ((item.id,), quarantine.QuarantineState.REPLAYED) == (plan.replays, closed.state)
    assert [(1, "a"), (2, "b")] == bench.rows()


def test_the_history_of_merges_is_that_of_the_table_as_it_stands(bench: Bench) -> None:
    first = bench.merge(change_file("c1", ("I", 1, "a", 10)))
    bench.merge(change_file("c2", ("I", 2, "b", 20)))

    rolled_back(bench, first.snapshot_id)

    history = merge_history(bench.lake, SOURCE, bench.config.id)
    assert [first.batch_id] == [one["cdc.batch-id"] for one in history]


@pytest.mark.parametrize("part", range(4))
def test_a_random_life_rolled_back_anywhere_and_merged_again_in_any_order_is_the_same(part: int) -> None:
    with quick_lake() as lake, quick_reader(lake) as read:
        for seed in range(part, CASES, 4):
            case, random = random_case(seed), Random(seed)
            run = Run(lake, case, read)
            run.go()
            base = lake.load(HISTORIES, run.table.id)
            if base is None:
                continue
            expected = sorted(read(run.table.id, None), key=repr)
            newest, target = snapshot_history(base)[0], random.choice(snapshot_history(base))
            _go_to(lake, run, target)
            _go_to(lake, run, newest)
            assert expected == sorted(read(run.table.id, None), key=repr), shown(case)
            _go_to(lake, run, target)
            files = [(file, run._generation(file)) for file in case.files if file.name in run._given]
            random.shuffle(files)
            cuts = sorted(random.choices(range(len(files) + 1), k=2))
            with tuned(case.tuned):
                # the last merge finds the rows that an earlier one released with their file
                for group in (files[: cuts[0]], files[cuts[0] : cuts[1]], files, files):
                    inputs = [run._input(file, generation) for file, generation in group]
                    wish = run._completed() if group is files else None
                    merge(lake, HISTORIES, run.table, inputs, completed_generation=wish)
            run._check()
            assert expected == sorted(read(run.table.id, None), key=repr), shown(case)


def _go_to(lake: Lake, run: Run, snapshot: SnapshotInfo) -> None:
    base = lake.load(HISTORIES, run.table.id)
    assert base is not None
    target = find_snapshot(base, snapshot_id=snapshot.snapshot_id)
    commit_rollback(plan_rollback(lake, HISTORIES, run.table.id, target, base))
