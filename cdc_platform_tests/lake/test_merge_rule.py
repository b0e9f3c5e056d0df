"""The merge rule, case by case."""

from __future__ import annotations

from datetime import date, timedelta

import pyarrow as pa
import pytest

from cdc_platform.errors import SchemaError, UnreadableRawFile
from cdc_platform.events import PositionKind
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import COLUMNS, EPOCH, Change, change_file, load_file

NARROW = pa.schema([pa.field("id", pa.int64())])


def test_changes_of_one_key_in_one_transaction_apply_in_order_of_position(bench: Bench) -> None:
    bench.merge(
        change_file("a", ("I", 1, "new", 10), ("U", 1, "newer", 11), ("D", 1, None, 12), ("I", 2, "b", 13))
    )

    assert [(2, "b")] == bench.rows()


def test_a_reinserted_row_survives(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "old")))
    bench.merge(change_file("a", ("D", 1, None, 10), ("I", 1, "again", 11), generation=1))

    assert [(1, "again")] == bench.rows()


def test_an_insert_followed_by_its_delete_leaves_nothing_and_is_remembered(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "new", 10), ("D", 1, None, 11)))
    bench.merge(change_file("late", ("I", 1, "new", 10)))

    assert [] == bench.rows()


def test_files_of_one_batch_apply_by_position_whatever_order_they_are_listed_in(bench: Bench) -> None:
    bench.merge(change_file("z", ("I", 1, "first", 10)), change_file("a", ("U", 1, "last", 12)))
    bench.merge(change_file("m", ("U", 1, "between", 11)))

    assert [(1, "last")] == bench.rows()


def test_a_file_delivered_again_is_skipped(bench: Bench) -> None:
    first = change_file("a", ("I", 1, "x", 10))
    bench.merge(first)
    again = bench.merge(first, first)

    assert (1, None) == (again.files_skipped, again.snapshot_id)


def test_a_file_delivered_again_under_another_name_changes_no_row(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "x", 10), ("D", 2, None, 11)))
    again = bench.merge(change_file("copy of a", ("I", 1, "x", 10), ("D", 2, None, 11)))

    assert 2 == again.counts.stale
    assert [(1, "x")] == bench.rows()


def test_changes_sent_again_with_new_positions_do_not_bring_back_an_older_image(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "old", 10), ("U", 1, "new", 11)))
    bench.merge(change_file("resumed", ("I", 1, "old", 20), ("U", 1, "new", 21)))

    assert [(1, "new")] == bench.rows()


def test_a_late_event_is_older_than_the_row(bench: Bench) -> None:
    bench.merge(change_file("b", ("U", 1, "new", 20)))
    late = bench.merge(change_file("a", ("U", 1, "old", 10)))

    assert 1 == late.counts.stale
    assert [(1, "new")] == bench.rows()


def test_a_late_event_does_not_bring_back_a_deleted_row(bench: Bench) -> None:
    bench.merge(change_file("b", ("D", 1, None, 20)))
    late = bench.merge(change_file("a", ("I", 1, "old", 10)))

    assert 1 == late.counts.stale
    assert [] == bench.rows()


def test_an_insert_of_an_existing_key_and_an_update_of_a_missing_one_are_upserts(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "loaded")))
    result = bench.merge(change_file("a", ("I", 1, "again", 10), ("U", 2, "unseen", 11), generation=1))

    assert [(1, "again"), (2, "unseen")] == bench.rows()
    assert (1, 1, 1) == (
        result.counts.rows_inserted,
        result.counts.rows_updated,
        result.counts.updates_without_row,
    )


def test_a_delete_of_a_missing_key_is_counted_and_remembered(bench: Bench) -> None:
    result = bench.merge(change_file("a", ("D", 1, None, 10)))

    assert 1 == result.counts.deletes_without_row
    assert [] == bench.rows()


def test_changes_that_come_before_the_load_win_over_it(bench: Bench) -> None:
    bench.merge(change_file("a", ("U", 1, "changed", 10), ("D", 2, None, 11), generation=1))
    bench.merge(load_file("l", (1, "loaded"), (2, "loaded"), (3, "loaded")), completed=1)

    assert [(1, "changed"), (3, "loaded")] == bench.rows()


def test_a_row_of_a_load_is_older_than_any_change_of_its_generation_and_newer_than_the_last(
    bench: Bench,
) -> None:
    bench.merge(change_file("a", ("I", 1, "generation 0", 10**37)))
    bench.merge(load_file("l", (1, "generation 1")))
    assert [(1, "generation 1")] == bench.rows()

    bench.merge(change_file("b", ("U", 1, "changed", 1), generation=1))
    assert [(1, "changed")] == bench.rows()


def test_rows_deleted_at_the_source_disappear_when_a_reload_is_complete(bench: Bench) -> None:
    bench.merge(load_file("l1", (1, "a"), (2, "b"), (3, "c"), generation=1), completed=1)
    part = bench.merge(load_file("l2", (1, "A"), generation=2))
    assert ([(1, "A"), (2, "b"), (3, "c")], None) == (bench.rows(), part.generation_completed)

    whole = bench.merge(load_file("l3", (3, "C"), generation=2), completed=2)
    assert ([(1, "A"), (3, "C")], 2, 1) == (
        bench.rows(),
        whole.generation_completed,
        whole.counts.rows_unloaded,
    )


def test_older_changes_are_not_applied_on_top_of_a_complete_reload(bench: Bench) -> None:
    bench.merge(load_file("l1", (1, "a"), generation=1), completed=1)
    bench.merge(load_file("l2", (1, "A"), generation=2), completed=2)
    result = bench.merge(
        change_file("old", ("U", 1, "stale", 10**30), ("I", 9, "stale", 10**30), generation=1)
    )

    assert ([(1, "A")], 2, 1) == (bench.rows(), result.counts.superseded, len(result.files_applied))


def test_a_reload_of_an_empty_table_leaves_no_row(bench: Bench) -> None:
    bench.merge(load_file("l1", (1, "a"), (2, "b")), completed=1)
    result = bench.merge(completed=2)

    assert ([], 2) == (bench.rows(), result.counts.rows_unloaded)


def test_a_load_with_an_unreadable_file_is_not_complete(bench: Bench) -> None:
    bench.merge(load_file("l1", (1, "a"), (2, "b")), completed=1)
    torn = UnreadableRawFile("the file is cut short", where="l3", mend="let DMS write it again")
    result = bench.merge(
        load_file("l2", (1, "A"), generation=2),
        load_file("l3", (2, "B"), generation=2, fault=torn),
        completed=2,
    )

    assert None is result.generation_completed
    assert [(1, "A"), (2, "b")] == bench.rows()


def test_a_key_change_removes_the_old_key(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")))
    bench.merge(change_file("a", ("U", 5, "moved", 10, 1), generation=1))
    bench.merge(change_file("late", ("U", 1, "before the move", 9, 1), generation=1))

    assert [(5, "moved")] == bench.rows()


def test_a_chain_of_key_changes_of_one_row_leaves_the_last_key(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")))
    bench.merge(change_file("a", ("U", 2, "a", 10, 1), ("U", 3, "a", 11, 2), generation=1))

    assert [(3, "a")] == bench.rows()


def test_two_rows_swap_keys_through_a_temporary_key(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    bench.merge(
        change_file("a", ("U", 99, "a", 10, 1), ("U", 1, "b", 11, 2), ("U", 2, "a", 12, 99), generation=1)
    )

    assert [(1, "b"), (2, "a")] == bench.rows()


def swap(name: str, first: str, second: str) -> list[Change]:
    return [
        Change("U", {"id": 2, "v": first}, 10, {"id": 1}, EPOCH),
        Change("U", {"id": 1, "v": second}, 11, {"id": 2}, EPOCH),
    ]


def test_two_rows_that_swap_keys_in_one_statement_both_survive(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    bench.merge(change_file("a", *swap("a", "a", "b"), generation=1))

    assert [(1, "b"), (2, "a")] == bench.rows()


def test_a_swap_delivered_twice_changes_nothing_more(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    bench.merge(change_file("a", *swap("a", "a", "b"), generation=1))
    bench.merge(change_file("b", *swap("b", "a", "b"), generation=1))

    assert [(1, "b"), (2, "a")] == bench.rows()


def test_a_swap_told_twice_in_one_file_keeps_both_rows(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    bench.merge(change_file("a", *swap("a", "a", "b"), *swap("a", "a", "b"), generation=1))

    assert [(1, "b"), (2, "a")] == bench.rows()


def test_one_row_that_moves_away_and_back_is_one_row(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")))
    bench.merge(change_file("a", *swap("a", "a", "a"), generation=1))

    assert [(1, "a")] == bench.rows()


def test_composite_keys_are_compared_column_by_column(bench: Bench) -> None:
    columns = pa.schema([pa.field("a", pa.string()), pa.field("b", pa.int64()), pa.field("v", pa.string())])
    keyed = bench.with_table(merge_key=("a", "b"))
    keyed.merge(load_file("l", {"a": "x", "b": 1, "v": "p"}, {"a": "x", "b": 2, "v": "q"}, columns=columns))
    keyed.merge(
        change_file(
            "c",
            Change("D", {"a": "x", "b": 1}, 10),
            Change("U", {"a": "X", "b": 2, "v": "other case"}, 11),
            Change("U", {"a": "x ", "b": 2, "v": "other space"}, 12),
            generation=1,
            columns=columns,
            before=(),
        )
    )

    assert [("X", 2, "other case"), ("x ", 2, "other space"), ("x", 2, "q")] == keyed.rows("a", "b", "v")


@pytest.mark.parametrize("other", [[], ["a"]], ids=["key of one column", "key of two"])
def test_a_row_whose_key_is_not_a_number_is_found_again_among_several_files(
    bench: Bench, other: list[str]
) -> None:
    columns = pa.schema([pa.field("a", pa.int64()), pa.field("k", pa.float64()), pa.field("v", pa.string())])
    table = bench.with_table(merge_key=(*other, "k"))
    nan = float("nan")

    def change(name: str, *events: tuple[str, int, float, str, int]) -> None:
        made = [Change(op, {"a": a, "k": k, "v": v}, position) for op, a, k, v, position in events]
        table.merge(change_file(name, *made, columns=columns, before=()))

    change("a", ("I", 1, 1.5, "x", 10), ("I", 1, nan, "x", 11))
    change("b", ("I", 2, 7.0, "x", 12))
    change("c", ("U", 1, nan, "y", 13))
    assert ["x", "x", "y"] == sorted(v for (v,) in table.rows("v"))

    change("d", ("D", 1, nan, "", 14))
    change("late", ("U", 1, nan, "z", 12))
    assert [("x",), ("x",)] == table.rows("v")


def test_a_delete_with_only_the_key_removes_the_row_from_its_partition(bench: Bench) -> None:
    columns = pa.schema([*COLUMNS, pa.field("day", pa.date32())])
    table = bench.with_table(partition_by=("day",))
    table.merge(load_file("l", {"id": 1, "v": "a", "day": date(2024, 1, 1)}, columns=columns))
    table.merge(change_file("a", Change("D", {"id": 1}, 10), generation=1, columns=columns))

    assert [] == table.rows()


def test_an_update_that_moves_a_row_to_another_partition_leaves_one_row(bench: Bench) -> None:
    columns = pa.schema([*COLUMNS, pa.field("day", pa.date32())])
    table = bench.with_table(partition_by=("month(day)",))
    table.merge(load_file("l", {"id": 1, "v": "a", "day": date(2024, 1, 1)}, columns=columns))
    moved = Change("U", {"id": 1, "v": "b", "day": date(2024, 6, 1)}, 10)
    table.merge(change_file("a", moved, generation=1, columns=columns))

    assert [(1, "b", date(2024, 6, 1))] == table.rows("id", "v", "day")


@pytest.mark.parametrize("day", [date.min, date.max])
def test_the_first_and_the_last_date_are_keys_like_others_under_partitions(bench: Bench, day: date) -> None:
    columns = pa.schema([pa.field("day", pa.date32()), pa.field("v", pa.string())])
    table = bench.with_table(merge_key=("day",), partition_by=("year(day)",))
    days = [date(2000, 1, 1) + timedelta(days=number) for number in range(300)]
    for sequence, value in ((10, "a"), (20, "b")):
        changes = [Change("U", {"day": each, "v": value}, sequence) for each in (day, *days)]
        table.merge(change_file(value, *changes, columns=columns, before=()))

    assert [(day, "b")] == [row for row in table.rows("day", "v") if row[0] == day]


def test_a_row_whose_partition_column_is_null_is_kept_and_found_again(bench: Bench) -> None:
    table = bench.with_table(partition_by=("v",))
    table.merge(load_file("l", (1, None), (2, "b")))
    table.merge(change_file("a", ("U", 1, "b", 10), generation=1))

    assert [(1, "b"), (2, "b")] == table.rows()


def test_successive_tasks_of_one_table_are_ordered_by_generation_first(bench: Bench) -> None:
    bench.merge(change_file("old task", ("U", 1, "old task", 10**35), generation=1))
    bench.merge(change_file("new task", ("U", 1, "new task", 5), generation=2))

    assert [(1, "new task")] == bench.rows()


def test_positions_of_two_kinds_are_never_compared(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "x", 10)))
    result = bench.merge(change_file("b", ("U", 1, "y", 11), position_kind=PositionKind.COMMIT_TIME))

    assert [(1, "x")] == bench.rows()
    assert ["file"] == [item.kind for item in result.quarantined]
    assert "start a new generation" in result.quarantined[0].mend


def test_every_merge_makes_one_snapshot_that_says_what_it_did(bench: Bench) -> None:
    result = bench.merge(change_file("a", ("I", 1, "x", 10), ("U", 2, "y", 11), ("D", 3, None, 12)))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None
    properties = snapshot.summary.additional_properties

    assert [result.snapshot_id] == [each.snapshot_id for each in table.metadata.snapshots]
    assert {
        "cdc.batch-id": result.batch_id,
        "cdc.batch-manifest": f"batches/{result.batch_id}.json",
        "cdc.windows": "2024-05-01",
        "cdc.position-low": "0:10",
        "cdc.position-high": "0:12",
        "cdc.position-kind": "change-sequence",
        "cdc.watermark": "2024-05-01T00:00:12+00:00",
        "cdc.files-applied": "1",
        "cdc.inserts": "1",
        "cdc.deletes-without-row": "1",
        "cdc.stale": "0",
    }.items() <= properties.items()


def test_replaced_delete_files_keep_the_debt_at_one_per_data_file(bench: Bench) -> None:
    bench.merge(load_file("l", *((key, "x") for key in range(10))))
    for key in range(4):
        bench.merge(change_file(f"c{key}", ("D", key, None, 10 + key), generation=1))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    snapshot = table.current_snapshot()
    assert snapshot is not None
    assert snapshot.summary is not None

    assert ("1", "4", "1") == tuple(
        snapshot.summary.additional_properties[f"total-{name}"]
        for name in ("delete-files", "position-deletes", "data-files")
    )


def test_a_data_file_without_a_row_left_is_dropped_with_its_delete_file(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    bench.merge(change_file("c1", ("D", 1, None, 10), generation=1))
    bench.merge(change_file("c2", ("D", 2, None, 11), generation=1))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None

    assert [] == list(table.scan().plan_files())


def test_a_batch_without_effect_is_recorded_all_the_same(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "x", 10)))
    empty = bench.merge(change_file("empty"))

    assert (None is not empty.snapshot_id, 1) == (True, len(empty.files_applied))
    assert 1 == bench.merge(change_file("empty")).files_skipped


def test_a_table_declared_in_contradiction_is_refused(bench: Bench) -> None:
    table = bench.with_table(merge_key=(), no_key="multiset", delete_mode="soft")

    with pytest.raises(SchemaError, match="cannot keep deleted rows → set `delete_mode: hard`"):
        table.merge(change_file("a", ("I", 1, "x", 10)))


def test_two_swaps_through_one_temporary_key_in_one_transaction_leave_nothing_at_it(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")))
    moves = [(1, 99, "a"), (2, 1, "b"), (99, 2, "a"), (3, 99, "c"), (1, 3, "b"), (99, 1, "c")]
    changes = [
        Change("U", {"id": new, "v": text}, 10 + number, {"id": old}, EPOCH)
        for number, (old, new, text) in enumerate(moves)
    ]
    bench.merge(change_file("a", *changes, generation=1))

    assert [(1, "c"), (2, "a"), (3, "b")] == bench.rows()


def test_a_load_without_a_row_or_a_file_makes_no_table(bench: Bench) -> None:
    result = bench.merge(completed=1)

    assert (None, None) == (result.snapshot_id, bench.lake.load(SOURCE, bench.config.id))


def test_a_file_without_rows_makes_an_empty_table_that_reads_as_empty(bench: Bench) -> None:
    bench.merge(load_file("l"))

    assert [] == bench.rows()
