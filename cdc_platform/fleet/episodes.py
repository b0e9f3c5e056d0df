"""Differences over time: when each came to be, when it was found, when it was gone, whether it came back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from cdc_platform.reconcile.scopes import FULL, PROVING
from cdc_platform.reconcile.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Episode:
    """A stretch of time in which one window, or the whole table, was known to differ.

    ``came_after``: no difference found is older than this, for the run before it matched, or the oldest of
    the rows' newest events was committed then.
    """

    window: str
    found_at: datetime
    found_by: str
    most: int
    came_after: datetime | None = None
    gone_at: datetime | None = None
    #: Whether the window had differed before and matched in between.
    reopened: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the newest verdict still says so."""
        return self.gone_at is None

    @property
    def detect_seconds(self) -> float | None:
        """How long the difference was there before it was found, at most; None when nothing tells."""
        if self.came_after is None or self.came_after > self.found_at:
            return None
        return (self.found_at - self.came_after).total_seconds()

    @property
    def repair_seconds(self) -> float | None:
        """How long it took from the run that found it to one that proved it gone."""
        return (self.gone_at - self.found_at).total_seconds() if self.gone_at else None


def episodes(
    runs: Iterable[Mapping[str, Any]], committed: Mapping[str, datetime] | None = None
) -> tuple[Episode, ...]:
    """Return the episodes in ``runs`` (rows of the table ``runs``, any order), the newest first.

    Full and incremental runs are of one window, FULL: what one finds, the other may prove gone. Only MATCH
    ends an episode: a run that is in flight or failed says nothing. ``committed`` is, by run, when the oldest
    of the newest events of the rows it found different was committed.
    """
    found: list[Episode] = []
    by_window: dict[str, list[Mapping[str, Any]]] = {}
    for run in sorted(runs, key=lambda one: (one["started_at"], one["run_id"])):
        by_window.setdefault(FULL if run["window"] in PROVING else run["window"], []).append(run)
    for window, its in by_window.items():
        found += _of_window(window, its, committed or {})
    return tuple(sorted(found, key=lambda one: one.found_at, reverse=True))


def _of_window(
    window: str, runs: Sequence[Mapping[str, Any]], committed: Mapping[str, datetime]
) -> list[Episode]:
    found: list[Episode] = []
    now: Episode | None = None
    matched_at: datetime | None = None
    for run in runs:
        if run["verdict"] == Verdict.DIFFERENT:
            if now is None:
                known = [one for one in (matched_at, committed.get(run["run_id"])) if one is not None]
                came = max(known, default=None)
                now = Episode(window, run["started_at"], run["run_id"], 0, came, reopened=bool(found))
            now = replace(now, most=max(now.most, run["different"]))
        elif run["verdict"] == Verdict.MATCH:
            matched_at = run["started_at"]
            if now is not None:
                found.append(replace(now, gone_at=matched_at))
                now = None
    return [*found, now] if now is not None else found
