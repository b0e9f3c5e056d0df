"""Which keys a row names that no reader could type."""

from __future__ import annotations

from typing import Any

import pytest

from cdc_platform.lake.quarantine import QuarantineItem, QuarantineState
from cdc_platform.reconcile.faults import RawImage
from cdc_platform.reconcile.refused_rows import RefusedRow, RefusedRows

FILE = "public/item/20260301-120000000.parquet"
LOAD = "public/item/LOAD00000001.parquet"
KEYS = [{"shop": 1, "id": "a"}, {"shop": 2, "id": "b"}]


def refused(values: dict[str, Any], file: str = FILE) -> RefusedRows:
    found = RefusedRows(KEYS, ["shop", "id"], "BI_")
    found.add(RefusedRow(file, 0, "why"), values)
    return found


def event(file: str, row: int = 0, load: int = 0) -> RawImage:
    return RawImage(file, row, "U", deletes=False, generation=load, sequence=1, standing="applied")


def named(found: RefusedRows, newest: RawImage | None = None) -> list[int]:
    return [number for number in range(len(KEYS)) if found.of(number, (), newest)]


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        ({"Op": "X", "SHOP": "1", "Id": "a"}, [0]),
        ({"Op": "U", "shop": "2", "id": None, "BI_shop": "1", "BI_id": "a"}, [0]),
        ({"Op": "U", "shop": "2", "id": "b", "BI_shop": "1", "BI_id": "a"}, [0, 1]),
        ({"Op": "U", "shop": "2", "id": None, "BI_id": "b"}, [1]),
        ({"_cdc_op": "U", "shop": "2", "id": "c", "_cdc_before_id": "b"}, [1]),
        ({"Op": "D", "shop": "1", "id": "b"}, []),
    ],
)
def test_a_row_names_its_key_and_the_one_it_had_before(values: dict[str, Any], numbers: list[int]) -> None:
    found = refused(values)

    assert (numbers, "") == (named(found), found.doubt)


def test_a_row_that_names_no_key_may_be_of_any_unless_it_brings_a_new_one() -> None:
    told = [
        bool(refused(values, file).doubt)
        for values, file in [
            ({"Op": "U", "shop": "1", "id": None}, FILE),
            ({"record": "1;a;b;c"}, FILE),
            ({"Op": "I", "shop": "1", "id": None}, FILE),
            ({"shop": "1", "id": None}, LOAD),
        ]
    ]

    assert [True, True, False, False] == told


def test_rows_of_before_the_newest_file_that_was_applied_explain_nothing() -> None:
    found = refused({"Op": "X", "shop": "1", "id": "a"})

    assert [[0], []] == [named(found, event(FILE.replace("12", hour))) for hour in ("11", "13")]


def test_a_row_is_earlier_than_later_rows_of_its_file_and_a_load_than_the_changes_of_its_generation() -> None:
    change, load = (refused({"Op": "X", "shop": "1", "id": "a"}, file) for file in (FILE, LOAD))

    told = [
        [named(change, event(FILE, row=1)), named(load, event(FILE)), named(load, event(FILE, load=1))],
        [
            named(change, event(FILE)),
            named(load, event(LOAD, row=1)),
            named(load, event(FILE, load=-1)),
        ],
        [named(change, event("@repair/1/events.parquet"))],
    ]

    assert [[[], [], []], [[0], [0], [0]], [[0]]] == told


def test_items_count_while_they_wait_or_were_given_up_and_no_full_load_came_since() -> None:
    def told(**item: Any) -> list[bool]:
        found = RefusedRows(KEYS, ["shop", "id"], "BI_")
        values = {"Op": "X", "shop": "1", "id": "a"}
        whole = {"row": 3, "generation": 2, "values": values, **item}
        found.add_items([QuarantineItem("1", FILE, "e", reason="", mend="", window="w", **whole)], 2)
        return [one.is_discarded for one in found.of(0, (), None)]

    assert [False] == told()
    assert [False] == told(state=QuarantineState.RELEASED)
    assert [True] == told(state=QuarantineState.DISCARDED)
    assert [[], [], []] == [told(state=QuarantineState.REPLAYED), told(generation=1), told(row=None)]
