"""What a table's page tells of a run that found a difference: kinds, columns, faults, rows of each kind."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from cdc_platform.fleet.figures import TableFigures
from cdc_platform.fleet.table_history import TOLD_RUNS, KeptDiscrepancy, TableHistory
from cdc_platform.reconcile.faults import Fault, faults_in_words
from cdc_platform.reconcile.report_lanes import Sample, sample_of
from cdc_platform.reconcile.scopes import WHOLE
from cdc_platform.reconcile.suspects import key_text
from cdc_platform.reconcile.verdict import Verdict

#: So many rows of a run are shown with all their witnesses; its report shows more.
SHOWN_ROWS = 3


@dataclass(frozen=True, slots=True)
class WrongComparison:
    """One comparison that found a difference. ``kinds`` counts all of them, unless ``is_sample`` says not."""

    name: str
    reason: str
    different: int
    compared: int
    kinds: Mapping[str, int]
    is_sample: bool
    columns: Sequence[Mapping[str, Any]]
    attribution: str
    faults: str


@dataclass(frozen=True, slots=True)
class Wrong:
    """A run that holds and found a difference; ``rows`` are shown of ``rows_total`` that were kept."""

    window: str
    run_id: str
    started_at: datetime
    comparisons: tuple[WrongComparison, ...]
    rows: tuple[Sample, ...]
    rows_total: int

    @property
    def is_whole(self) -> bool:
        """Whether it compared the whole table."""
        return self.window in WHOLE


def wrongs(table: TableFigures, history: TableHistory) -> tuple[Wrong, ...]:
    """Return the runs to tell of, the whole run first, then the newest windows."""
    known = {
        one.run_id: (one.window, one.started_at) for one in (*table.compared_windows, table.whole) if one
    }
    return tuple(
        _wrong(
            run,
            *known[run],
            history.comparisons.get(run, ()),
            history.discrepancies.get(run, ()),
        )
        for run in history.wrong[:TOLD_RUNS]
    )


def _wrong(
    run: str,
    window: str,
    started_at: datetime,
    comparisons: Sequence[Mapping[str, Any]],
    kept: Sequence[KeptDiscrepancy],
) -> Wrong:
    real = [one for one in kept if one.found.verdict is Verdict.DIFFERENT]
    sources = {key_text(one.found.key): one.found for one in real if one.found.witnesses[0] == "source"}
    # a key that differs from both other witnesses is shown once, with all three
    both = [one for one in real if one.comparison.startswith("raw") and key_text(one.found.key) in sources]
    rest = [one for one in real if one.comparison.startswith("source")]
    alone = [one for one in real if one.comparison.startswith("raw") and one not in both]
    shown = _of_every_kind([*rest, *alone])
    return Wrong(
        window=window,
        run_id=run,
        started_at=started_at,
        comparisons=tuple(
            _comparison(row, [one for one in real if one.comparison == row["comparison"]])
            for row in comparisons
            if row["verdict"] == Verdict.DIFFERENT
        ),
        rows=tuple(sample_of(one.found, sources, one.labels) for one in shown),
        rows_total=len(rest) + len(alone),
    )


def _of_every_kind(kept: Sequence[KeptDiscrepancy]) -> list[KeptDiscrepancy]:
    """Return the first rows in turns by kind and fault, so that no kind is hidden behind another."""
    seen: Counter[tuple[str, str]] = Counter()
    turns = []
    for one in kept:
        what = one.found.kind.value, one.found.located.fault.value if one.found.located else ""
        turns.append((seen[what], one))
        seen[what] += 1
    return [one for _, one in sorted(turns, key=lambda turn: turn[0])[:SHOWN_ROWS]]


def _comparison(row: Mapping[str, Any], kept: Sequence[KeptDiscrepancy]) -> WrongComparison:
    counted = json.loads(row["kinds"] or "{}")
    sampled = dict(Counter(one.found.kind.value for one in kept).most_common())
    faults = {Fault(name): keys for name, keys in json.loads(row["faults"] or "{}").items()}
    different = row["keys_different"] or 0
    return WrongComparison(
        name=row["comparison"],
        reason=row["reason"] or "",
        different=different,
        compared=row["keys_compared"] or 0,
        kinds=counted or sampled,
        is_sample=not counted and sum(sampled.values()) < different,
        columns=json.loads(row["column_differences"] or "[]"),
        attribution=row["attribution"] or "",
        faults=faults_in_words(faults, different),
    )
