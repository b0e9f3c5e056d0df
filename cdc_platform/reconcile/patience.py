"""Giving capture a moment to come to where the source was read.

A source that nothing is written to any more still has a moment's log that capture is to report: what
reading itself makes PostgreSQL write (pages are pruned, hints set), and what its own processes note. So where
capture is behind the place the source was read at, it is asked again for a moment. What is decided is decided
by its position alone, never by the time that went by.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from cdc_platform.lsn import find_lsn

#: PostgreSQL's log writer takes up to 0.6 s until all is on disk; the rest is for capture to report it.
MOMENT_SECONDS = 2.0
_LOOK_SECONDS = 0.1


class CapturePatience:
    """Gives the capture of sources a moment to come to a position; ``seconds`` = 0: none.

    One that did not come is busy, or held up: the next tables of its source do not wait for it before it has
    come to where it was awaited.
    """

    def __init__(
        self,
        seconds: float = MOMENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = seconds, clock, sleep
        self._given_up: dict[str, str] = {}

    def ask(self, source: str, ask: Callable[[], str | None], position: str) -> str | None:
        """Return what ``ask`` says, asking again for a moment while that is behind ``position``."""
        captured = ask()
        if is_behind(captured, self._given_up.get(source)):
            return captured
        until = self._clock() + self._seconds
        while is_behind(captured, position):
            if self._clock() >= until:
                self._given_up[source] = position
                break
            self._sleep(_LOOK_SECONDS)
            captured = ask()
        return captured


def is_behind(captured: str | None, position: str | None) -> bool:
    """Whether capture is known not to have come to ``position``.

    >>> is_behind("0/10", "0/20"), is_behind("0/20", "0/20"), is_behind(None, "0/20")
    (True, False, False)
    """
    found, wanted = find_lsn(captured), find_lsn(position)
    return found is not None and wanted is not None and found < wanted
