"""The bounds of a repair, at their very edges."""

from __future__ import annotations

from dataclasses import replace

import pytest

from cdc_platform.config.repair import RepairOptions
from cdc_platform.events import Position
from cdc_platform.repair.guards import Seen, guards

PLACE = Position(1, 500)
FINE = Seen(
    keys=20,
    deletes=1,
    compared=100,
    base_rows=1_000,
    source_rows=99,
    unverified=0,
    incomplete=(),
    place=PLACE,
    no_place="",
    highest=Position(1, 499),
)
LIMITS = RepairOptions(max_rows=20, max_share=0.2, share_from=100)


def refused(limits: RepairOptions = LIMITS, **changes: object) -> list[str]:
    return [guard.name for guard in guards(replace(FINE, **changes), limits) if not guard.passed]  # type: ignore[arg-type]


def test_a_repair_at_its_bounds_is_let_through_by_every_guard() -> None:
    names = [guard.name for guard in guards(FINE, LIMITS)]

    assert ["place", "rows", "share of window", "share of table", "deletes"] == names
    assert [] == refused()


def test_one_row_more_than_allowed_is_refused() -> None:
    assert ["rows"] == refused(keys=21, compared=1_000)


@pytest.mark.parametrize("highest", [PLACE, Position(1, 501), Position(2, 0)])
def test_events_that_would_not_stand_above_what_base_knows_are_refused(highest: Position) -> None:
    assert ["place"] == refused(highest=highest)


def test_where_base_knows_nothing_of_the_keys_any_place_will_do() -> None:
    assert [] == refused(highest=None)


def test_without_a_place_a_repair_is_refused_with_the_reason_and_one_of_nothing_is_not() -> None:
    why = "positions tell nothing of commits"
    (place,) = (one for one in guards(replace(FINE, place=None, no_place=why), LIMITS) if one.name == "place")

    assert (False, True) == (place.passed, why in place.told)
    assert [] == refused(place=None, keys=0, deletes=0)


def test_more_than_the_share_of_the_keys_of_a_window_is_refused() -> None:
    assert ["share of window"] == refused(compared=100, keys=21, limits=_many())


def test_more_than_the_share_of_the_rows_of_base_is_refused() -> None:
    assert ["share of table"] == refused(base_rows=100, keys=21, compared=1_000, limits=_many())
    assert ["share of window", "share of table"] == refused(base_rows=100, keys=21, limits=_many())


def test_shares_count_from_so_many_keys_on() -> None:
    assert [] == refused(compared=99, base_rows=99, keys=50, limits=_many())
    assert ["share of window"] == refused(compared=100, base_rows=99, keys=50, limits=_many())


def test_a_whole_run_has_no_share_of_a_window() -> None:
    assert [] == refused(compared=100, keys=21, is_whole=True, limits=_many())


def _many() -> RepairOptions:
    return LIMITS.model_copy(update={"max_rows": 50})
