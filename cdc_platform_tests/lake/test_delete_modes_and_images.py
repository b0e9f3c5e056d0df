"""Soft deletes, and tables whose updates carry only the changed columns."""

from __future__ import annotations

import itertools

import pyarrow as pa
import pytest

from cdc_platform.lake.merge import MergeInput
from cdc_platform.lake.quarantine import list_items, release
from cdc_platform.lake.result import MergeResult
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import Change, change_file, load_file

SOFT = {"delete_mode": "soft"}
PARTIAL = {"images": "partial"}


def test_a_soft_deleted_row_stays_with_its_last_image(bench: Bench) -> None:
    table = bench.with_table(**SOFT)
    table.merge(load_file("l", (1, "a"), (2, "b")))
    table.merge(change_file("c", ("D", 1, None, 10), generation=1))

    assert [(1, "a", "D"), (2, "b", "L")] == table.rows("id", "v", "_cdc_op")


def test_a_soft_deleted_row_shows_the_image_of_its_own_batch(bench: Bench) -> None:
    table = bench.with_table(**SOFT)
    table.merge(load_file("l", (1, "a")))
    table.merge(change_file("c", ("U", 1, "b", 10), ("D", 1, None, 11), ("I", 2, "x", 12), generation=1))

    assert [(1, "b", "D"), (2, "x", "I")] == table.rows("id", "v", "_cdc_op")


def test_a_row_inserted_again_is_live_again(bench: Bench) -> None:
    table = bench.with_table(**SOFT)
    table.merge(change_file("a", ("I", 1, "a", 10), ("D", 1, None, 11)))
    table.merge(change_file("b", ("I", 1, "again", 12)))

    assert [(1, "again", "I")] == table.rows("id", "v", "_cdc_op")


SOFT_EVENTS = [("I", 1, "first", 10), ("U", 1, "last", 11), ("D", 1, None, 12)]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_a_soft_deleted_row_is_the_same_in_whatever_order_its_events_come(
    bench: Bench, order: tuple[int, ...]
) -> None:
    table = bench.with_table(**SOFT)
    files: list[MergeInput] = [change_file(f"c{n}", event) for n, event in enumerate(SOFT_EVENTS)]
    for number in order:
        table.merge(files[number])

    assert [(1, "last", "D", 12)] == table.rows("id", "v", "_cdc_op", "_cdc_position")


def test_a_soft_delete_of_an_unseen_key_shows_no_row(bench: Bench) -> None:
    table = bench.with_table(**SOFT)
    result = table.merge(change_file("c", ("D", 1, None, 10)))

    assert ([], 1) == (table.rows(), result.counts.deletes_without_row)


def test_a_soft_deleted_old_key_stays_when_a_key_changes(bench: Bench) -> None:
    table = bench.with_table(**SOFT)
    table.merge(load_file("l", (1, "a")))
    table.merge(change_file("c", ("U", 2, "a", 10, 1), generation=1))

    assert [(1, "a", "D"), (2, "a", "U")] == table.rows("id", "v", "_cdc_op")


WIDE = pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.string()), pa.field("w", pa.string())])


def wide_changes(*events: tuple[str, int, str | None, str | None, int]) -> list[Change]:
    return [Change(op, {"id": key, "v": v, "w": w}, position) for op, key, v, w, position in events]


def wide(name: str, *events: tuple[str, int, str | None, str | None, int]) -> MergeInput:
    return change_file(name, *wide_changes(*events), generation=1, columns=WIDE)


def three(bench: Bench) -> list[tuple[object, ...]]:
    return bench.rows("id", "v", "w")


def test_partial_updates_of_a_key_are_laid_over_each_other_and_over_the_row(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v1", "w1", 10), ("I", 2, "v2", None, 11)))
    table.merge(wide("b", ("U", 1, "V", None, 20), ("U", 1, None, "W", 21), ("U", 2, None, "w2", 22)))

    assert [(1, "V", "W"), (2, "v2", "w2")] == three(table)


def test_partial_updates_of_several_files_are_laid_in_order_of_position(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(
        wide("z", ("U", 1, "old", None, 11)),
        wide("a", ("U", 1, "new", None, 12)),
        wide("m", ("I", 1, "", "w", 10)),
    )

    assert [(1, "new", "w")] == three(table)


def test_an_insert_after_a_delete_starts_from_nothing(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 10)))
    table.merge(wide("b", ("D", 1, None, None, 20), ("I", 1, "again", None, 21), ("U", 1, None, "x", 22)))

    assert [(1, "again", "x")] == three(table)


def test_a_partial_update_of_a_key_without_a_row_is_set_aside(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    result = table.merge(wide("a", ("U", 1, "v", None, 10), ("I", 2, "v", "w", 11), ("I", 3, "v", "w", 12)))

    assert [(2, "v", "w"), (3, "v", "w")] == three(table)
    assert ["apply the older files of the table first, then release it"] == [
        i.mend for i in result.quarantined
    ]


def test_a_late_partial_update_is_stale_when_it_says_nothing_new(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 10), ("U", 1, "V", None, 20)))
    result = table.merge(wide("copy", ("I", 1, "v", "w", 10), ("U", 1, "V", None, 20)))

    assert ([(1, "V", "w")], ()) == (three(table), result.quarantined)


def test_a_late_partial_update_with_other_values_is_set_aside(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 10), ("U", 1, "V", None, 20)))
    result = table.merge(
        wide("late", ("U", 1, None, "lost?", 15), ("I", 2, "v", "w", 16), ("I", 3, "v", "w", 17))
    )

    assert [(1, "V", "w"), (2, "v", "w"), (3, "v", "w")] == three(table)
    assert [{"id": "1", "v": None, "w": "lost?"}] == [
        {name: item.values[name] for name in ("id", "v", "w")} for item in result.quarantined
    ]


def test_a_partial_update_after_a_reload_began_waits_for_the_row_of_the_reload(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "changed while nobody captured", 10)))
    early = change_file("b", *wide_changes(("U", 1, "V", None, 5)), generation=2, columns=WIDE)
    table.merge(early)
    load = change_file("l", *wide_changes(("L", 1, "v", "w", 0)), generation=2, columns=WIDE)
    table.merge(load)
    for item in list_items(table.lake, SOURCE, table.config.id):
        release(table.lake, SOURCE, table.config.id, item.id)
    table.merge(early, completed=2)

    assert [(1, "V", "w")] == three(table)


def test_partial_images_and_soft_deletes_go_together(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL, **SOFT)
    table.merge(wide("a", ("I", 1, "v", "w", 10)))
    table.merge(wide("b", ("U", 1, "V", None, 20), ("D", 1, None, None, 21)))

    assert [(1, "V", "w", "D")] == table.rows("id", "v", "w", "_cdc_op")


def test_a_partial_update_after_a_delete_is_set_aside_until_the_insert_between_them_comes(
    bench: Bench,
) -> None:
    for mode in ("hard", "soft"):
        table = bench.with_table(**PARTIAL, id=mode, delete_mode=mode)
        table.merge(wide("a", ("I", 1, "v", "w", 10), ("I", 2, "v", "w", 11), ("D", 2, None, None, 12)))
        others = [("I", key, "v", "w", 40 + key) for key in (5, 6, 7)]
        gone = ("D", 1, None, None, 20)
        result = table.merge(wide("b", gone, ("U", 1, "V", None, 30), ("U", 2, "V", None, 31), *others))

        assert [1, 2] == sorted(i.row for i in result.quarantined if i.row is not None)
        assert [5, 6, 7] == [key for key, op in table.rows("id", "_cdc_op") if op != "D"]


def _waiting(result: MergeResult) -> list[tuple[str, int | None]]:
    return [(item.key, item.row) for item in result.quarantined]


@pytest.mark.parametrize("mode", ["hard", "soft"])
def test_a_late_insert_that_a_newer_update_was_not_laid_over_is_set_aside(bench: Bench, mode: str) -> None:
    table = bench.with_table(**PARTIAL, delete_mode=mode)
    table.merge(wide("a", ("I", 1, "old", "old", 10)))
    table.merge(wide("c", ("U", 1, "V", None, 130)))
    result = table.merge(wide("late", ("D", 1, None, None, 70), ("I", 1, "new", "new", 80)))

    assert [("late", 1)] == _waiting(result)
    assert "cdc repair" in result.quarantined[0].mend


def test_a_late_insert_that_shows_what_the_row_shows_is_stale(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 10)), wide("c", ("U", 1, "V", None, 130)))
    result = table.merge(
        wide("late", ("D", 1, None, None, 70), ("I", 1, "v", "w", 80), ("U", 1, "V", None, 90))
    )

    assert ([(1, "V", "w")], []) == (three(table), _waiting(result))


def test_a_late_delete_alone_changes_nothing(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 80), ("U", 1, "V", None, 130)))
    result = table.merge(wide("late", ("D", 1, None, None, 70)))

    assert ([(1, "V", "w")], []) == (three(table), _waiting(result))


def test_a_late_insert_from_before_a_delete_is_stale(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("D", 1, None, None, 70)))
    table.merge(wide("b", ("I", 1, "v", "w", 80), ("U", 1, "V", None, 90)))
    result = table.merge(wide("late", ("I", 1, "old", "old", 10), ("U", 1, None, "older", 20)))

    assert ([(1, "V", "w")], []) == (three(table), _waiting(result))


def test_late_events_of_a_row_that_is_a_whole_image_are_stale(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 80)))
    result = table.merge(wide("late", ("I", 1, "old", "old", 10), ("U", 1, None, "older", 20)))

    assert ([(1, "v", "w")], []) == (three(table), _waiting(result))


def test_an_update_that_supplies_every_column_needs_no_row(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    result = table.merge(wide("a", ("U", 1, "V", "W", 20), ("U", 1, None, "X", 30)))

    assert ([(1, "V", "X")], []) == (three(table), _waiting(result))


def test_a_late_event_does_not_matter_where_the_batch_sets_its_columns_anew(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 10), ("U", 1, "V", None, 130)))
    result = table.merge(
        wide("late", ("I", 1, "?", "w", 80), ("U", 1, "late", None, 90)),
        wide("new", ("U", 1, "newest", None, 140)),
    )

    assert ([(1, "newest", "w")], []) == (three(table), _waiting(result))


def test_late_updates_of_a_batch_are_judged_by_what_they_say_together(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "v", "w", 10), ("U", 1, "V", None, 130)))
    result = table.merge(
        wide("late", ("U", 1, None, "first", 20), ("U", 1, "early", None, 30), ("U", 1, None, "w", 40))
    )

    assert ([(1, "V", "w")], [("late", 1)]) == (three(table), _waiting(result))


def test_a_file_sent_again_under_another_name_sets_nothing_aside(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    files = [
        wide("a", ("I", 1, "v", "w", 10), ("U", 1, "x", None, 20)),
        wide("b", ("U", 1, "y", None, 30), ("U", 1, None, "z", 40)),
    ]
    table.merge(*files)
    again = wide("again", ("I", 1, "v", "w", 10), ("U", 1, "x", None, 20))
    result = table.merge(*files, again)

    assert ([(1, "y", "z")], []) == (three(table), _waiting(result))


def test_a_late_update_that_applied_files_say_was_overwritten_is_stale(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    newer = wide("b", ("U", 1, "new", None, 30))
    table.merge(wide("a", ("I", 1, "v", "w", 10)), newer)
    result = table.merge(newer, wide("late", ("U", 1, "between", None, 20)))

    assert ([(1, "new", "w")], []) == (three(table), _waiting(result))


def test_what_waits_as_late_is_let_go_once_the_row_was_brought_in_whole(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL)
    table.merge(wide("a", ("I", 1, "old", "old", 10), ("U", 1, "V", None, 130)))
    late = wide("late", ("I", 1, "new", "new", 80))
    (item,) = table.merge(late).quarantined
    table.merge(wide("repair", ("I", 1, "V", "new", 200)))
    release(table.lake, SOURCE, table.config.id, item.id)
    result = table.merge(late)

    assert ([(1, "V", "new")], []) == (three(table), _waiting(result))


def test_the_image_of_a_soft_deleted_row_is_laid_from_late_updates_too(bench: Bench) -> None:
    table = bench.with_table(**PARTIAL, **SOFT)
    table.merge(wide("a", ("I", 1, "v", "w", 10)))
    table.merge(wide("c", ("D", 1, None, None, 100)))
    table.merge(wide("b", ("U", 1, "v", None, 50), ("U", 1, "V", None, 60)))

    assert [(1, "V", "w", "D")] == table.rows("id", "v", "w", "_cdc_op")
