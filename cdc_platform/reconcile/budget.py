"""What a reconciliation may spend, and when it has."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import Protocol, runtime_checkable

from cdc_platform.errors import ConfigError

#: Queries a second: a source that is asked less often than every 17 minutes is not read.
SLOWEST_RATE = 0.001


@dataclass(frozen=True, slots=True)
class Budget:
    """The bounds of one run; None is without bound. What is left over is UNVERIFIED, never MATCH."""

    max_seconds: float | None = None
    max_rows: int | None = None
    queries_per_second: float | None = None
    #: Of this process: the source tells nobody what a session of its costs.
    max_cpu_seconds: float | None = None

    def __post_init__(self) -> None:
        """Raise ConfigError for a bound that bounds nothing."""
        for name in (one.name for one in fields(self)):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value >= 0):
                mend = "give a number, or leave the bound out"
                raise ConfigError("the budget", [(name, f"{value} bounds nothing", mend)])
        if self.queries_per_second is not None and self.queries_per_second < SLOWEST_RATE:
            what, mend = f"{self.queries_per_second} is too few", f"give at least {SLOWEST_RATE}"
            raise ConfigError("the budget", [("queries_per_second", what, mend)])


class BudgetSpent(Exception):
    """A bound of the budget was reached while the source was read."""


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment, of ``time.monotonic``, at which reading the source must end, and why."""

    moment: float
    reason: str

    def seconds_left(self) -> float:
        """Return how long it is until then, 0 when it is over."""
        return max(0.0, self.moment - time.monotonic())


@runtime_checkable
class EndsInTime(Protocol):
    """A snapshot that ends a read of many rows at a deadline, whether or not the source answers."""

    def end_by(self, deadline: Deadline | None) -> None:
        """Let such reads raise BudgetSpent at the deadline."""
        ...


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

    def seconds_left(self) -> float | None:
        """Return how much is left of the time; None where it has no bound."""
        seconds = self.budget.max_seconds
        return None if seconds is None else self.started + seconds - time.monotonic()

    def bound(self, snapshot: object, *, at_least: float = 0.0) -> None:
        """Let ``snapshot`` end by when the time is over, but in no less than ``at_least`` seconds."""
        left = self.seconds_left()
        if left is not None and isinstance(snapshot, EndsInTime):
            reason = f"the budget of {self.budget.max_seconds:g} seconds was spent"
            snapshot.end_by(Deadline(time.monotonic() + max(left, at_least), reason))

    def over_after(self, at_least: float) -> Callable[[], bool]:
        """Return what tells that time or processor time is over, in ``at_least`` seconds at the soonest."""
        seconds, cpu = self.seconds_left(), self.budget.max_cpu_seconds
        spent = time.process_time() - self.cpu_before
        ends = math.inf if seconds is None else time.monotonic() + max(seconds, at_least)
        cpu_ends = math.inf if cpu is None else time.process_time() + max(cpu - spent, at_least)
        return lambda: time.monotonic() >= ends or time.process_time() >= cpu_ends

    def before_query(self) -> None:
        """Hold the source's queries to the rate the budget allows.

        Raises BudgetSpent where the next one would be allowed only when the time is over.
        """
        rate, left = self.budget.queries_per_second, self.seconds_left()
        if rate:
            pause = self._last_query + 1 / rate - time.monotonic()
            if pause > 0 and left is not None and pause >= left:
                raise BudgetSpent(
                    f"the budget of {self.budget.max_seconds:g} seconds has no time for another query "
                    f"at {rate:g} a second"
                )
            if pause > 0:
                time.sleep(pause)
        self._last_query = time.monotonic()
