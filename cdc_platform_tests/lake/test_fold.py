"""The newest event of each key, folded from the events of a batch as they came."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, POSITION_TYPE, ROW, TIMESTAMP_TYPE
from cdc_platform.lake.fold import Places, fold_events

#: op, generation, position, key
Event = tuple[str, int, int, int]
POSITIONS = st.sampled_from([0, 1, 2, 2**63, 2**64 - 1, 2**64, 2**64 + 1, 10**38 - 1])
EVENTS = st.tuples(st.sampled_from("IUD"), st.integers(0, 2), POSITIONS, st.integers(-3, 3))
FILES = st.lists(st.lists(EVENTS, max_size=12), min_size=1, max_size=3)


def table(events: list[Event], **extra: Any) -> pa.Table:
    ops, generations, positions, keys = zip(*events, strict=True) if events else ((), (), (), ())
    columns = {
        OP: pa.array(ops, pa.string()),
        GENERATION: pa.array(generations, pa.int64()),
        POSITION: pa.array(list(map(Decimal, positions)), POSITION_TYPE),
        COMMITTED_AT: pa.nulls(len(events), TIMESTAMP_TYPE),
        ROW: pa.array(range(len(events)), pa.int64()),
        "id": pa.array(keys, pa.int32()),
    }
    return pa.table({**columns, **extra})


def newest(files: list[list[Event]]) -> dict[int, tuple[int, str]]:
    """Return for each key the row of its newest event among all, and the event's op."""
    best: dict[int, tuple[Any, ...]] = {}
    for row, (op, generation, position, key) in enumerate(event for file in files for event in file):
        weight = (generation, position, op != "D", row, op)
        best[key] = max(best.get(key, weight), weight)
    return {key: (best[key][3], best[key][4]) for key in sorted(best)}


@given(files=FILES)
def test_the_newest_event_of_each_key_is_chosen_and_keys_ascend(files: list[list[Event]]) -> None:
    fold = fold_events({number: table(file) for number, file in enumerate(files)}, ["id"], {"id": pa.int64()})
    if not any(files):
        assert fold is None
        return
    assert fold is not None
    expected = newest(files)

    assert list(expected) == fold.words[0].tolist()
    assert [row for row, _ in expected.values()] == fold.rows.tolist()
    assert [op == "D" for _, op in expected.values()] == fold.deletes.tolist()
    told = {row["_cdc_number"]: row["col_id"] for row in fold.touched().to_pylist()}
    assert dict(enumerate(expected)) == told


@given(left=st.lists(st.tuples(st.integers(0, 2), POSITIONS)), right=st.data())
def test_positions_compare_by_generation_then_sequence(left: list[tuple[int, int]], right: Any) -> None:
    other = [right.draw(st.tuples(st.integers(0, 2), POSITIONS)) for _ in left]
    sides = [table([("I", *place, 0) for place in side]) for side in (left, other)]
    places = [Places.of(side.column(GENERATION), side.column(POSITION)) for side in sides]

    expected = [mine > theirs for mine, theirs in zip(left, other, strict=True)]
    assert expected == places[0].above(places[1]).tolist()


@pytest.mark.parametrize(("op", "before", "is_declined"), [("U", 2, True), ("U", 1, False), ("D", 2, False)])
def test_a_batch_with_an_update_that_moves_a_row_is_declined(op: str, before: int, is_declined: bool) -> None:
    events = table([(op, 0, 1, 1)], _cdc_before_id=pa.array([before], pa.int32()))
    assert is_declined == (fold_events({0: events}, ["id"], {"id": pa.int64()}) is None)


def test_a_key_of_another_kind_than_the_tables_is_declined() -> None:
    assert fold_events({0: table([("I", 0, 1, 1)])}, ["id"], {"id": pa.string()}) is None
