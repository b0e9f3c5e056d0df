"""Deadlines of tests count the time a process ran."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from cdc_platform_tests.patience import Patience


@pytest.mark.parametrize(
    ("moments", "over"),
    [
        ((0.5, 1.0, 1.5, 2.0), [False, False, False, False]),
        ((0.5, 1.5, 2.4, 3.0), [False, False, True, True]),
        # held for a hundred seconds in between
        ((0.5, 100.5, 100.9, 101.2), [False, False, False, True]),
    ],
)
def test_what_a_process_was_held_for_is_not_waited(moments: Iterable[float], over: list[bool]) -> None:
    clock = iter((0.0, *moments))
    patience = Patience(2, clock=lambda: next(clock))

    assert over == [patience.is_over for _ in over]
