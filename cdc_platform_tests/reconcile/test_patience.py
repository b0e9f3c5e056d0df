"""Capture is given a moment to come to where the source was read, and what decides is its position."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from cdc_platform.reconcile.patience import CapturePatience


class Time:
    """A clock that goes on only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def told(*positions: str | None) -> Callable[[], str | None]:
    """Return what tells one position after the other, the last for ever."""
    left = list(positions)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def patience(time: Time, seconds: float = 2.0) -> CapturePatience:
    return CapturePatience(seconds, time.clock, time.sleep)


def asked(
    of: CapturePatience, positions: Iterable[str | None], wanted: str, source: str = "retail"
) -> str | None:
    return of.ask(source, told(*positions), wanted)


def test_capture_that_comes_to_the_position_in_a_moment_is_waited_for() -> None:
    assert asked(patience(Time()), ["0/10", "0/18", "0/20"], "0/20") == "0/20"


def test_capture_that_is_there_is_asked_once() -> None:
    time = Time()

    assert (asked(patience(time), ["0/20", "0/30"], "0/20"), time.now) == ("0/20", 0.0)


def test_capture_that_does_not_come_is_where_it_said_last() -> None:
    time = Time()

    assert asked(patience(time), ["0/10", "0/18"], "0/20") == "0/18"
    assert 2.0 <= time.now < 2.3


def test_capture_that_did_not_come_is_not_waited_for_again_before_it_has_come_there() -> None:
    time = Time()
    ours = patience(time)
    asked(ours, ["0/10"], "0/20")
    given_up = time.now

    assert asked(ours, ["0/18", "0/30"], "0/30") == "0/18"
    assert time.now == given_up
    assert asked(ours, ["0/20", "0/30"], "0/30") == "0/30"


def test_another_source_is_waited_for_all_the_same() -> None:
    ours = patience(Time())
    asked(ours, ["0/10"], "0/20")

    assert asked(ours, ["0/10", "0/20"], "0/20", "wholesale") == "0/20"


def test_nothing_is_waited_for_where_positions_cannot_be_compared() -> None:
    time = Time()

    assert asked(patience(time), [None, "0/20"], "0/20") is None
    assert asked(patience(time), ["mysql-bin.000001:4", "0/20"], "0/20") == "mysql-bin.000001:4"
    assert asked(patience(time), ["0/10", "0/20"], "") == "0/10"
    assert time.now == 0.0


def test_without_patience_capture_is_asked_once() -> None:
    assert asked(patience(Time(), seconds=0), ["0/10", "0/20"], "0/20") == "0/10"
