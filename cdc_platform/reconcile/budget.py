"""What a reconciliation may spend, and when it has."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Budget:
    """The bounds of one run; None is without bound. What is left over is UNVERIFIED, never MATCH."""

    max_seconds: float | None = None
    max_rows: int | None = None
    queries_per_second: float | None = None
    #: Of this process: the source tells nobody what a session of its costs.
    max_cpu_seconds: float | None = None


@dataclass(slots=True)
class Spending:
    """How much of a budget was spent."""

    budget: Budget
    started: float = field(default_factory=time.monotonic)
    cpu_before: float = field(default_factory=time.process_time)
    rows: int = 0
    _last_query: float = float("-inf")

    def exhausted(self) -> str | None:
        """Return which bound was reached, in words; None while there is some left."""
        seconds, rows = self.budget.max_seconds, self.budget.max_rows
        if seconds is not None and time.monotonic() - self.started >= seconds:
            return f"the budget of {seconds:g} seconds was spent"
        cpu = self.budget.max_cpu_seconds
        if cpu is not None and time.process_time() - self.cpu_before >= cpu:
            return f"the budget of {cpu:g} processor seconds was spent"
        if rows is not None and self.rows >= rows:
            return f"the budget of {rows:,} source rows was spent"
        return None

    def before_query(self) -> None:
        """Hold the source's queries to the rate the budget allows."""
        if self.budget.queries_per_second:
            pause = self._last_query + 1 / self.budget.queries_per_second - time.monotonic()
            if pause > 0:
                time.sleep(pause)
        self._last_query = time.monotonic()
