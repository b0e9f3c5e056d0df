"""How far one table is proven, in figures gathered from small objects beside it and from metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from cdc_platform.publication import Publication
from cdc_platform.reconcile.recent_runs import OF_SOURCE, RunFigures
from cdc_platform.reconcile.scopes import KEYS, PROVING
from cdc_platform.reconcile.verdict import Verdict, combine

#: So many runs are drawn for a table.
DRAWN_RUNS = 30
#: What a table shows that nothing was ever compared of.
UNPROVEN = "NEVER COMPARED"
_WORST_FIRST = (Verdict.DIFFERENT, Verdict.ERROR, Verdict.UNVERIFIED, Verdict.IN_FLIGHT)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a table stands without regard to verdicts. ``watermark``: commit time of the newest change."""

    rows: int | None = None
    snapshot_id: str | None = None
    watermark: datetime | None = None
    pending_files: int = 0
    quarantined_files: int = 0
    quarantined_rows: int = 0
    #: None where main shows every merge.
    publication: Publication | None = None
    #: By how much the newest merge is ahead of what main shows.
    held_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Repaired:
    """The newest step of a repair of the table."""

    at: datetime
    action: str
    keys: int
    verdict: str | None


@dataclass(frozen=True, slots=True)
class TableFigures:
    """One table of the fleet."""

    source: str
    table_id: str
    name: str
    standing: Standing = Standing()
    #: Windows that have files, oldest first, and the newest run of each that was compared.
    windows: tuple[str, ...] = ()
    verdicts: Mapping[str, RunFigures] = field(default_factory=dict)
    #: Oldest first.
    runs: tuple[RunFigures, ...] = ()
    repaired: Repaired | None = None
    #: Why nothing can be told of the table.
    error: str | None = None

    @property
    def where(self) -> str:
        """The table for a person."""
        return f"{self.source}/{self.table_id}"

    @property
    def compared_windows(self) -> tuple[RunFigures, ...]:
        """The newest run of each window, oldest window first."""
        return tuple(one for _, one in sorted(self.verdicts.items()))

    @property
    def window_verdict(self) -> Verdict | None:
        """The verdict of all windows together; None when none was compared. Never MATCH with one left out."""
        known = self.compared_windows
        if not known:
            return None
        left_out = [Verdict.UNVERIFIED] if self.never_compared else []
        return combine([*(Verdict(one.verdict) for one in known), *left_out])

    @property
    def never_compared(self) -> list[str]:
        """The windows that have files and no run, oldest first."""
        return sorted(set(self.windows) - set(self.verdicts))

    @property
    def windows_total(self) -> int:
        """How many windows there are to compare."""
        return len({*self.windows, *self.verdicts})

    @property
    def windows_matched(self) -> int:
        """How many of them match."""
        return sum(one.verdict == Verdict.MATCH for one in self.compared_windows)

    @property
    def whole(self) -> RunFigures | None:
        """The newest comparison of every row with the source, full or incremental."""
        of_source = (one for one in reversed(self.runs) if one.is_of_source)
        return next((one for one in of_source if one.window in PROVING), None)

    @property
    def export(self) -> RunFigures | None:
        """The newest comparison of every row with an export; no verdict of the table rests on it."""
        whole = (one for one in reversed(self.runs) if one.is_whole and one.window != KEYS)
        return next((one for one in whole if not one.is_of_source), None)

    @property
    def whole_verdict(self) -> Verdict | None:
        """Its verdict; None when there was none."""
        return Verdict(self.whole.verdict) if self.whole else None

    @property
    def verdict(self) -> Verdict | None:
        """The worse of both verdicts; None when nothing was ever compared, or nothing can be told."""
        known = [one for one in (self.window_verdict, self.whole_verdict) if one is not None]
        return combine(known) if known and self.error is None else None

    @property
    def verdict_text(self) -> str:
        """The verdict for a person."""
        if self.error is not None:
            return "UNREADABLE"
        return self.verdict.value if self.verdict is not None else UNPROVEN

    @property
    def rows_proven(self) -> float | None:
        """The share of rows the newest whole run proved; None without one that compared any."""
        return self.whole.matched / self.whole.compared if self.whole and self.whole.compared else None

    @property
    def different(self) -> int:
        """How many differences are confirmed: by the windows together or the whole run, the more of both."""
        by_windows = sum(one.different for one in self.compared_windows)
        return max(by_windows, self.whole.different if self.whole else 0)

    @property
    def in_flight(self) -> int:
        """How many keys were found in flight, counted as ``different`` is."""
        by_windows = sum(one.in_flight for one in self.compared_windows)
        return max(by_windows, self.whole.in_flight if self.whole else 0)

    @property
    def quarantined(self) -> int:
        """How many files and rows wait in quarantine."""
        return self.standing.quarantined_files + self.standing.quarantined_rows

    @property
    def oldest_window_proof(self) -> datetime | None:
        """When the window that was proven longest ago was; None when none is."""
        return min(
            (one.started_at for one in self.compared_windows if one.verdict == Verdict.MATCH), default=None
        )

    @property
    def oldest_proof(self) -> datetime | None:
        """When the oldest proof was made that the table's standing rests on; None without any."""
        known = [
            one for one in (self.whole.oldest_proof if self.whole else None, self.oldest_window_proof) if one
        ]
        return min(known, default=None)

    @property
    def last_run(self) -> RunFigures | None:
        """The newest run of any kind."""
        return self.runs[-1] if self.runs else None

    @property
    def drawn(self) -> tuple[RunFigures, ...]:
        """The runs a page draws, oldest first."""
        return self.runs[-DRAWN_RUNS:]

    @property
    def badness(self) -> tuple[int, int, int, int, str]:
        """Sorts the worst table first: verdict, differences, quarantine, what main holds back."""
        verdict = self.verdict
        if self.error is not None:
            place = 1
        elif verdict is None:
            place = len(_WORST_FIRST)
        else:
            place = _WORST_FIRST.index(verdict) if verdict in _WORST_FIRST else len(_WORST_FIRST) + 1
        held = self.standing.publication.pending if self.standing.publication else 0
        return place, -self.different, -self.quarantined, -held, self.where

    def as_json(self) -> dict[str, Any]:
        """Return the figures as JSON can hold them."""
        standing, whole, last, export = self.standing, self.whole, self.last_run, self.export
        publication = standing.publication
        return {
            "table": self.where,
            "verdict": self.verdict_text,
            "window_verdict": self.window_verdict,
            "windows": self.windows_total,
            "windows_matched": self.windows_matched,
            "whole_verdict": self.whole_verdict,
            "whole_run_at": _text(whole.started_at) if whole else None,
            "whole_run_against": (whole.against or OF_SOURCE) if whole else None,
            "export_verdict": export.verdict if export else None,
            "export_run_at": _text(export.started_at) if export else None,
            "export": export.against if export else None,
            "rows_proven": self.rows_proven,
            "segments": whole.segments if whole else None,
            "segments_matched": whole.segments_matched if whole else None,
            "oldest_proof": _text(self.oldest_proof),
            "different": self.different,
            "in_flight": self.in_flight,
            "quarantined_files": standing.quarantined_files,
            "quarantined_rows": standing.quarantined_rows,
            "rows": standing.rows,
            "watermark": _text(standing.watermark),
            "pending_files": standing.pending_files,
            "snapshots_held_back": publication.pending if publication else 0,
            "held_back_seconds": standing.held_seconds,
            "held_back_because": publication.sentence if publication and publication.pending else None,
            "repaired_at": _text(self.repaired.at) if self.repaired else None,
            "last_run": last.as_json() if last else None,
            "error": self.error,
        }


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
