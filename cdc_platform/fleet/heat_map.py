"""The windows of a table as a map: a row for each month of days, or for each day of hours."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from cdc_platform.reconcile.recent_runs import RunFigures
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.words import in_a_cell

#: So many rows of the map are open; older ones are folded away.
OPEN_ROWS = 31
#: What a cell says besides its colour; of one that differs, how many keys do.
MARKS = {Verdict.MATCH: "✓", Verdict.IN_FLIGHT: "…", Verdict.UNVERIFIED: "?", Verdict.ERROR: "!"}


@dataclass(frozen=True, slots=True)
class WindowCell:
    """One window. ``place`` is its column; ``verdict`` is empty for one that was never compared."""

    window: str
    place: int
    verdict: str
    mark: str
    strength: float
    title: str
    href: str | None


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Rows of cells with the labels of rows and columns; ``folded`` are the older rows."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[WindowCell, ...]], ...]
    folded: tuple[tuple[str, tuple[WindowCell, ...]], ...]

    @property
    def is_empty(self) -> bool:
        """Whether there is no window at all."""
        return not self.rows


def heat_map(
    windows: Sequence[str], verdicts: Mapping[str, RunFigures], links: Mapping[str, str], *, hourly: bool
) -> HeatMap:
    """Return the map of ``windows`` (keys) and of all that were compared; ``links`` by window."""
    keys = sorted({*windows, *verdicts}, reverse=True)
    columns = [f"{hour:02d}" for hour in range(24)] if hourly else [str(day) for day in range(1, 32)]
    label, first = (len("2026-01-31"), 0) if hourly else (len("2026-01"), 1)
    rows = []
    for row, its in groupby(keys, key=lambda key: key[:label]):
        cells = [
            _cell(key, int(key[label + 1 :][:2]) - first + 1, verdicts.get(key), links.get(key))
            for key in reversed([*its])
        ]
        rows.append((row, tuple(cells)))
    return HeatMap(tuple(columns), tuple(rows[:OPEN_ROWS]), tuple(rows[OPEN_ROWS:]))


def _cell(window: str, place: int, known: RunFigures | None, href: str | None) -> WindowCell:
    if known is None:
        return WindowCell(window, place, "", "", 0.0, f"{window}: never compared", href)
    verdict = Verdict(known.verdict)
    share = known.different / max(1, known.compared)
    strength = 0.55 + 0.45 * math.sqrt(min(1.0, share)) if verdict is Verdict.DIFFERENT else 0.4
    mark = in_a_cell(known.different) if verdict is Verdict.DIFFERENT else MARKS.get(verdict, "")
    said = f"{known.different:,} of " if known.different else ""
    keys = f", {said}{known.compared:,} keys{' differ' if said else ''}" if known.compared else ""
    title = (
        f"{window}: {verdict.value.replace('_', ' ')}{keys}, compared {known.started_at:%Y-%m-%d %H:%M} UTC"
    )
    return WindowCell(window, place, verdict.value, mark, round(strength, 2), title, href)
