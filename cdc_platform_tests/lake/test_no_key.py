"""Tables without a merge key: append and multiset."""

from __future__ import annotations

import pyarrow as pa

from cdc_platform.events import PositionKind
from cdc_platform.lake.quarantine import list_items, release
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import Change, change_file, load_file

APPEND = {"merge_key": (), "no_key": "append"}
MULTISET = {"merge_key": (), "no_key": "multiset"}


def both(op: str, key: int, value: str | None, position: int, before: tuple[int, str | None]) -> Change:
    return Change(op, {"id": key, "v": value}, position, {"id": before[0], "v": before[1]})


def test_an_append_table_keeps_every_row_that_came(bench: Bench) -> None:
    table = bench.with_table(**APPEND)
    table.merge(load_file("l", (1, "a"), (1, "a")))
    result = table.merge(change_file("c", ("I", 1, "a", 10), ("D", 1, "a", 11), generation=1))

    assert [(1, "a"), (1, "a"), (1, "a")] == table.rows()
    assert 1 == result.counts.ignored


def test_an_update_of_an_append_table_is_set_aside(bench: Bench) -> None:
    table = bench.with_table(**APPEND)
    result = table.merge(change_file("c", ("I", 1, "a", 10), ("I", 2, "b", 11), ("U", 1, "c", 12)))

    assert [(1, "a"), (2, "b")] == table.rows()
    assert [2] == [item.row for item in result.quarantined]


def test_an_event_that_comes_again_under_another_name_is_known_by_its_change_sequence(bench: Bench) -> None:
    table = bench.with_table(**APPEND)
    table.merge(change_file("a", ("I", 1, "a", 10), ("I", 1, "a", 11)))
    again = table.merge(change_file("copy", ("I", 1, "a", 10), ("I", 1, "a", 11), ("I", 2, "b", 12)))

    assert [(1, "a"), (1, "a"), (2, "b")] == table.rows()
    assert 2 == again.counts.stale


def test_without_a_change_sequence_only_the_file_tells_a_repetition(bench: Bench) -> None:
    table = bench.with_table(**APPEND)
    first = change_file("a", ("I", 1, "a", 10), position_kind=PositionKind.COMMIT_TIME)
    table.merge(first)
    table.merge(first)
    table.merge(change_file("copy", ("I", 1, "a", 10), position_kind=PositionKind.COMMIT_TIME))

    assert [(1, "a"), (1, "a")] == table.rows()


def test_a_delete_removes_exactly_one_equal_copy(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    table.merge(load_file("l", (1, None), (1, None), (1, "b")))
    table.merge(change_file("c", ("D", 1, None, 10), generation=1))

    assert [(1, "b"), (1, None)] == table.rows()


def test_a_delete_finds_its_copy_within_the_batch(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    table.merge(change_file("c", ("I", 1, "a", 10), ("I", 1, "a", 11), ("D", 1, "a", 12), ("I", 1, "a", 13)))

    assert [(1, "a"), (1, "a")] == table.rows()


def test_a_delete_takes_no_copy_that_came_after_it(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    result = table.merge(
        change_file("c", ("D", 1, "a", 10), ("I", 1, "a", 11), ("I", 2, "b", 12), ("I", 3, "c", 13))
    )

    assert [(1, "a"), (2, "b"), (3, "c")] == table.rows()
    assert ["a delete that finds no equal row"] == [item.reason for item in result.quarantined]


def test_an_unmatched_delete_is_replayed_when_its_row_has_come(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    late = change_file("late", ("D", 1, "a", 20), ("I", 2, "b", 21), ("I", 3, "c", 22))
    table.merge(late)
    table.merge(change_file("early", ("I", 1, "a", 10)))
    (item,) = list_items(table.lake, SOURCE, table.config.id)
    release(table.lake, SOURCE, table.config.id, item.id)
    table.merge(late)

    assert [(2, "b"), (3, "c")] == table.rows()


def test_a_delete_and_the_insert_it_removed_act_once_when_they_come_again(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    table.merge(load_file("l", (1, "a")))
    table.merge(change_file("c", ("I", 1, "a", 10), ("D", 1, "a", 11), generation=1))
    again = table.merge(change_file("copy", ("I", 1, "a", 10), ("D", 1, "a", 11), generation=1))

    assert [(1, "a")] == table.rows()
    assert ([], 2) == ([item.reason for item in again.quarantined], again.counts.stale)


def test_an_update_with_a_full_before_image_replaces_one_copy(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    table.merge(load_file("l", (1, "a"), (1, "a")))
    update = both("U", 1, "b", 10, (1, "a"))
    table.merge(change_file("c", update, generation=1, before=("id", "v")))

    assert [(1, "a"), (1, "b")] == table.rows()


def test_an_update_without_a_full_before_image_is_set_aside(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    table.merge(load_file("l", (1, "a")))
    result = table.merge(
        change_file("c", ("U", 1, "b", 10), ("I", 3, "c", 11), ("I", 4, "d", 12), generation=1, before=())
    )

    assert [(1, "a"), (3, "c"), (4, "d")] == table.rows()
    assert [0] == [item.row for item in result.quarantined]


def test_a_complete_reload_replaces_the_rows_of_a_table_without_a_key(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    table.merge(load_file("l1", (1, "a"), (1, "a")), completed=1)
    table.merge(load_file("l2", (1, "a"), generation=2), completed=2)

    assert [(1, "a")] == table.rows()


def test_a_column_added_later_is_part_of_a_copy(bench: Bench) -> None:
    table = bench.with_table(**MULTISET)
    wider = pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.string()), pa.field("n", pa.string())])
    table.merge(load_file("l", (1, "a")))
    table.merge(
        change_file(
            "c",
            Change("I", {"id": 1, "v": "a", "n": "x"}, 10),
            Change("D", {"id": 1, "v": "a", "n": None}, 11),
            generation=1,
            columns=wider,
        )
    )

    assert [(1, "a", "x")] == table.rows("id", "v", "n")
