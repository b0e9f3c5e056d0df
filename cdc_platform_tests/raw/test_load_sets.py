"""Load sets and generations: a function of the LOAD files, whatever the order they are found in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.raw.load_sets import (
    NEVER_LOADED,
    REORDERING,
    LoadFile,
    LoadSets,
    assign_generations,
    milliseconds,
)

START = datetime(2024, 5, 31, 12, tzinfo=UTC)


def _file(counter: int, seconds: float, *, segment: str = "", version: str = "a") -> LoadFile:
    key = f"public/orders/{segment}LOAD{counter:08X}.parquet"
    return LoadFile(START + timedelta(seconds=seconds), counter, key, segment, version)


def _counters(sets: LoadSets) -> list[list[int]]:
    return [[file.counter for file in one.files] for one in sets.sets]


def test_a_table_never_loaded_has_generation_zero() -> None:
    assert NEVER_LOADED == LoadSets().generation_of(START)


def test_the_files_of_one_load_are_one_set_whose_generation_is_the_first_ones_time() -> None:
    sets = assign_generations([_file(1, 0), _file(2, 1), _file(3, 2)])

    assert [[1, 2, 3]] == _counters(sets)
    assert milliseconds(START) == sets.sets[0].generation


def test_a_name_written_again_opens_a_new_set() -> None:
    sets = assign_generations(
        [_file(1, 0), _file(2, 1), _file(1, 60, version="b"), _file(2, 61, version="b")]
    )

    assert [[1, 2], [1, 2]] == _counters(sets)
    assert [False, False] == [one.inferred for one in sets.sets]


def test_counters_go_on_past_nine_in_hexadecimal_order() -> None:
    sets = assign_generations([_file(counter, counter) for counter in range(1, 18)])

    assert [list(range(1, 18))] == _counters(sets)
    assert () == sets.sets[0].holes()


def test_segments_count_for_themselves() -> None:
    files = [
        _file(1, 0, segment="SEGMENT1"),
        _file(1, 1, segment="SEGMENT2"),
        _file(2, 2, segment="SEGMENT1"),
    ]

    assert 1 == len(assign_generations(files).sets)


def test_higher_counters_left_over_from_an_older_longer_load_do_not_mix_with_the_new_one() -> None:
    """The first load was never seen whole: its first file was overwritten by the second load."""
    much_later = REORDERING.total_seconds() + 60
    sets = assign_generations([_file(2, 1), _file(3, 2), _file(1, much_later, version="b")])

    assert [[2, 3], [1]] == _counters(sets)
    assert sets.sets[1].inferred
    assert not sets.is_complete(sets.sets[1], followed_by_change=True)
    assert not sets.is_complete(sets.sets[0], followed_by_change=True)


def test_files_of_one_load_may_overtake_each_other() -> None:
    """Parallel uploads, or a folder copied in any order: torn apart, a load would turn its changes stale."""
    assert 1 == len(assign_generations([_file(2, 0), _file(1, 3), _file(3, 5)]).sets)


def test_the_same_version_found_again_changes_nothing() -> None:
    once = assign_generations([_file(1, 0), _file(2, 1)])

    assert once == assign_generations([_file(2, 1), _file(1, 0)], once)


def test_a_change_belongs_to_the_newest_load_begun_before_it() -> None:
    sets = assign_generations([_file(1, 0), _file(1, 60, version="b")])
    first, second = (one.generation for one in sets.sets)

    at = [sets.generation_of(START + timedelta(seconds=seconds)) for seconds in (0, 59.9, 60, 1000)]

    assert [first, first, second, second] == at


def test_a_change_older_than_the_first_load_belongs_to_it() -> None:
    """A copied folder's LOAD files are as young as the copy; its changes keep the time in their names."""
    sets = assign_generations([_file(1, 0)])

    assert sets.sets[0].generation == sets.generation_of(START - timedelta(days=300))


def test_a_load_is_complete_when_a_change_followed_it_and_none_is_missing() -> None:
    sets = assign_generations([_file(1, 0), _file(2, 1)])

    assert not sets.is_complete(sets.sets[0], followed_by_change=False)
    assert sets.is_complete(sets.sets[0], followed_by_change=True)


def test_a_load_with_a_hole_is_never_complete_whoever_says_so() -> None:
    sets = assign_generations([_file(1, 0), _file(3, 1)])
    confirmed = sets.confirmed(sets.sets[0].generation)

    assert (":00000002",) == sets.sets[0].holes()
    assert not confirmed.is_complete(confirmed.sets[0], followed_by_change=True)


def test_a_confirmed_load_is_complete_without_a_change() -> None:
    sets = assign_generations([_file(1, 0)])
    confirmed = sets.confirmed(sets.sets[0].generation)

    assert confirmed.is_complete(confirmed.sets[0], followed_by_change=False)


def test_a_confirmation_survives_what_is_found_later() -> None:
    sets = assign_generations([_file(1, 0)])
    later = assign_generations([_file(1, 60, version="b")], sets.confirmed(sets.sets[0].generation))

    assert [True, False] == [one.confirmed for one in later.sets]


def test_a_set_keeps_its_generation_when_an_earlier_file_of_it_is_found() -> None:
    known = assign_generations([_file(2, 5)])
    later = assign_generations([_file(1, 0)], known)

    assert [[1, 2]] == _counters(later)
    assert known.sets[0].generation == later.sets[0].generation


_FILES = st.lists(
    st.builds(
        _file,
        st.integers(1, 4),
        st.integers(0, 3_000),
        segment=st.sampled_from(["", "SEGMENT1"]),
        version=st.sampled_from(["a", "b", "c"]),
    ),
    max_size=10,
    unique_by=lambda file: file.version,
)


@given(files=_FILES, data=st.data())
def test_the_sets_do_not_depend_on_the_order_or_the_portions_in_which_files_are_found(
    files: list[LoadFile], data: st.DataObject
) -> None:
    shuffled = data.draw(st.permutations(files))
    cut = data.draw(st.integers(0, len(files)))

    at_once = assign_generations(files)
    in_portions = assign_generations(shuffled[cut:], assign_generations(shuffled[:cut]))

    assert {frozenset(one.files) for one in at_once.sets} == {
        frozenset(one.files) for one in in_portions.sets
    }
    assert {frozenset(o.files): o.inferred for o in at_once.sets} == {
        frozenset(o.files): o.inferred for o in in_portions.sets
    }


@given(files=_FILES, data=st.data())
def test_found_in_the_order_of_writing_no_file_ever_changes_its_generation(
    files: list[LoadFile], data: st.DataObject
) -> None:
    ordered = sorted(files)
    known = LoadSets()
    seen: dict[tuple[str, str], int] = {}
    while ordered:
        count = data.draw(st.integers(1, len(ordered)))
        portion, ordered = ordered[:count], ordered[count:]
        known = assign_generations(portion, known)
        now = {file.version: one.generation for one in known.sets for file in one.files}
        assert seen == {version: now[version] for version in seen}
        seen = now


@given(files=_FILES)
def test_every_file_is_in_one_set_and_no_set_holds_a_counter_twice(files: list[LoadFile]) -> None:
    sets = assign_generations(files)

    assert sorted(files) == sorted(file for one in sets.sets for file in one.files)
    for one in sets.sets:
        places = [(file.segment, file.counter) for file in one.files]
        assert len(places) == len(set(places))
    generations = [one.generation for one in sets.sets]
    assert sorted(set(generations)) == generations


@given(files=_FILES)
def test_load_sets_are_read_as_they_were_stored(files: list[LoadFile]) -> None:
    sets = assign_generations(files)

    assert sets == LoadSets.from_json(sets.to_json())
