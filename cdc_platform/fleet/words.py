"""Figures in words and short forms, the same on pages, in metadata and on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from cdc_platform.fleet.figures import TableFigures
from cdc_platform.reconcile.carried_rows import carried_from_json, told
from cdc_platform.reconcile.recent_runs import RunFigures
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.words import counted

_UNITS = ((86_400 * 365.25, "y"), (86_400, "d"), (3_600, "h"), (60, "min"))
#: So many columns or windows are named in a sentence.
_NAMED = 3


def duration(seconds: float | None) -> str:
    """Return a duration in its largest unit.

    >>> duration(0.4), duration(59), duration(150), duration(7_300), duration(200_000), duration(None)
    ('0.4 s', '59 s', '2 min', '2 h', '2 d', '–')
    """
    if seconds is None:
        return "–"
    for size, unit in _UNITS:
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"


def ago(moment: datetime | None, now: datetime) -> str:
    """Return how long ago ``moment`` was."""
    return duration(max(0.0, (now - moment).total_seconds())) if moment else "–"


def percent(share: float | None) -> str:
    """Return a share, never rounded up to all of it.

    >>> percent(1.0), percent(0.99999), percent(0.5), percent(0.0001), percent(None)
    ('100 %', '99.9 %', '50.0 %', '<0.1 %', '–')
    """
    if share is None:
        return "–"
    if share >= 1:
        return "100 %"
    if 0 < share < 0.001:
        return "<0.1 %"
    return f"{min(99.9, 100 * share):.1f} %"


def windows_sentence(one: TableFigures) -> str:
    """Say what the newest verdicts of all windows say."""
    if not one.windows_total:
        return "There is no window yet: no file was accepted."
    if not one.compared_windows:
        return f"None of {counted(one.windows_total, 'window')} was compared yet."
    parts = [f"{one.windows_matched:,} of {counted(one.windows_total, 'window')} match"]
    for verdict in (Verdict.DIFFERENT, Verdict.ERROR, Verdict.UNVERIFIED, Verdict.IN_FLIGHT):
        those = [known.window for known in one.compared_windows if known.verdict == verdict]
        if those:
            named = ", ".join(those[-_NAMED:]) + (" …" if len(those) > _NAMED else "")
            parts.append(f"{len(those):,} {verdict.value.replace('_', ' ').lower()} ({named})")
    if one.never_compared:
        parts.append(f"{len(one.never_compared):,} never compared")
    return "; ".join(parts) + "."


def whole_sentence(one: TableFigures, certificate: Mapping[str, Any] | None) -> str:
    """Say what the newest comparison of every row says, and its scope."""
    whole = one.whole
    if whole is None:
        return "The table was never compared as a whole: rows that no file of a window names are unproven."
    comparison = next(iter((certificate or {}).get("comparisons", ())), None)
    taken_over = _taken_over(whole, comparison)
    head = {
        Verdict.MATCH: _match_in_words(whole, taken_over),
        Verdict.DIFFERENT: f"{counted(whole.different, 'row')} differ{'s' if whole.different == 1 else ''}",
        Verdict.IN_FLIGHT: "nothing is proven different; changes are on their way",
        Verdict.UNVERIFIED: "nothing is proven different; not everything was decided",
        Verdict.ERROR: "the comparison failed",
    }[Verdict(whole.verdict)]
    scope = [counted(whole.compared, "row")] if whole.compared else []
    if comparison is not None and comparison["columns"]:
        compared, left_out = len(comparison["columns"]), [e["column"] for e in comparison["excluded"]]
        scope.append(f"{compared} of {compared + len(left_out)} columns")
        if left_out:
            named = ", ".join(left_out[:_NAMED]) + (" …" if len(left_out) > _NAMED else "")
            scope.append(f"left out: {named}")
    if whole.segments:
        scope.append(f"{whole.segments_matched:,} of {counted(whole.segments, 'segment')} match")
    if whole.source_position:
        scope.append(f"source at {whole.source_position}{' in the newest run' if taken_over else ''}")
    if whole.snapshot_id:
        scope.append(f"base snapshot {whole.snapshot_id}")
    said = f"Of the whole table, held against the source, {head}"
    return f"{said} ({'; '.join(scope)}).{taken_over}" if scope else f"{said}.{taken_over}"


def _match_in_words(whole: RunFigures, taken_over: str) -> str:
    if not whole.compared:
        return "neither side has a row"
    return (
        "every row was found equal, by this run or earlier ones"
        if taken_over
        else "every row is proven equal"
    )


def _taken_over(whole: RunFigures, comparison: Mapping[str, Any] | None) -> str:
    """Say which rows the run did not read itself; empty where it read them all."""
    carried = carried_from_json((comparison or {}).get("carried"))
    if comparison is not None and carried is not None:
        return f" Of the rows, {told(comparison['rows'], carried)}."
    if whole.source_rows is not None:
        return ""
    proof = f"; its oldest proof is of {whole.oldest_proof:%Y-%m-%d %H:%M} UTC" if whole.oldest_proof else ""
    return f" How many rows that run read, and how many earlier ones, was not recorded{proof}."


def export_sentence(one: TableFigures, now: datetime) -> str | None:
    """Say what the newest comparison with an export found; None without any."""
    export = one.export
    if export is None:
        return None
    found = f"{Verdict(export.verdict).value}, {export.matched:,} of {counted(export.compared, 'row')} equal"
    return (
        f"{export.against or 'An export'}, compared {ago(export.started_at, now)} ago: {found}. "
        "An export is of the past: no verdict of the table rests on it."
    )
