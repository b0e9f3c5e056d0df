"""How long a test waits for something: in the time its process ran, not in the time that went by.

A process that is held (a suspended machine, a debugger, a measurement that wants the machine for itself)
would find every deadline over when it goes on, though what it waits for was held as well.
"""

from __future__ import annotations

import time
from collections.abc import Callable

#: Longer is no step of a loop that waits; the rest of it nobody ran.
_LONGEST_STEP = 1.0


class Patience:
    """A deadline that is asked for again and again."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._left, self._clock, self._asked = seconds, clock, clock()

    @property
    def is_over(self) -> bool:
        """Whether the process ran for longer than it wants to wait."""
        now = self._clock()
        self._left -= min(now - self._asked, _LONGEST_STEP)
        self._asked = now
        return self._left < 0
