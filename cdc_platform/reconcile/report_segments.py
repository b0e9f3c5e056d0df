"""The segments of a whole table for the HTML report: a map with a cell for each, and those that differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.words import in_a_cell

#: So many segments that do not match are listed; the map shows all.
LISTED_SEGMENTS = 12
_BY_KEY, _BY_HASH = "range of the key, in its order", "share of the rows, by the hash of the row"
_COUNTS = ("matched", "different", "in_flight", "unverified")
#: What a cell says besides its colour; a segment that differs says how many rows do.
_MARKS = {Verdict.IN_FLIGHT: "…", Verdict.UNVERIFIED: "?", Verdict.ERROR: "!"}


@dataclass(frozen=True, slots=True)
class Cell:
    """One segment on the map; ``strength`` from 0 to 1 grows with the share of rows that differ."""

    verdict: str
    mark: str
    strength: float
    title: str


@dataclass(frozen=True, slots=True)
class SegmentMap:
    """All segments as cells, with the verdicts counted, and the first of those that do not match."""

    cells: tuple[Cell, ...]
    verdicts: Mapping[str, int]
    listed: tuple[Mapping[str, Any], ...]
    open: int
    carried: int
    #: What they are segments of, and what a cell is of.
    of: str
    cell: str


def segment_map(certificate: Mapping[str, Any]) -> SegmentMap | None:
    """Return the map of a full run's certificate; None when it has no segments."""
    segments: Sequence[Mapping[str, Any]] = certificate.get("segments", ())
    if not segments:
        return None
    differing = [one for one in segments if one["verdict"] != Verdict.MATCH.value]
    # what is wrong first, then what is open; each in the key's order
    differing.sort(key=lambda one: one["verdict"] not in (Verdict.DIFFERENT.value, Verdict.ERROR.value))
    return SegmentMap(
        cells=tuple(map(_cell, segments)),
        verdicts={
            verdict.value: number
            for verdict in Verdict
            if (number := sum(one["verdict"] == verdict.value for one in segments))
        },
        listed=tuple(differing[:LISTED_SEGMENTS]),
        open=len(differing),
        carried=sum(one["carried_from"] is not None for one in segments),
        of="key" if certificate.get("merge_key") else "table",
        cell=_BY_KEY if certificate.get("merge_key") else _BY_HASH,
    )


def _rows(segment: Mapping[str, Any]) -> int:
    # those the run read, and those it took over from earlier runs
    return int(max(segment["rows"].values()) + segment.get("carried_rows", 0))


def _cell(segment: Mapping[str, Any]) -> Cell:
    verdict, counts = Verdict(segment["verdict"]), [segment[name] for name in _COUNTS]
    share = segment["different"] / max(1, sum(counts))
    strength = 0.45 + 0.55 * math.sqrt(share) if verdict is Verdict.DIFFERENT else 0.8
    mark = in_a_cell(segment["different"]) if verdict is Verdict.DIFFERENT else _MARKS.get(verdict, "")
    title = (
        f"{segment['keys']}: {verdict.value.replace('_', ' ')}, {_rows(segment):,} rows; {segment['reason']}"
    )
    return Cell(verdict.value, mark, round(0.45 if verdict is Verdict.MATCH else strength, 2), title)
