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
#: For so long after a moment in which capture did not come, it is given none.
_PAUSE_SECONDS = 60.0
_LOOK_SECONDS = 0.1


class CapturePatience:
    """Gives the capture of sources a moment to come to a position; ``seconds`` = 0: none.

    One that did not come is under way, and busy: the next tables of its source do not wait for it.
    """

    def __init__(
        self,
        seconds: float = MOMENT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seconds, self._clock, self._sleep = seconds, clock, sleep
        self._again_at: dict[str, float] = {}

    def ask(self, source: str, ask: Callable[[], str | None], position: str) -> str | None:
        """Return what ``ask`` says, asking again for a moment while that is behind ``position``."""
        wanted, captured = find_lsn(position), ask()
        until = self._clock() + self._seconds
        if self._clock() < self._again_at.get(source, 0.0):
            return captured
        while _is_behind(captured, wanted):
            if self._clock() >= until:
                self._again_at[source] = self._clock() + _PAUSE_SECONDS
                break
            self._sleep(_LOOK_SECONDS)
            captured = ask()
        return captured


def _is_behind(captured: str | None, wanted: int | None) -> bool:
    found = find_lsn(captured)
    return wanted is not None and found is not None and found < wanted
