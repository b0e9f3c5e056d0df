"""From what a child answered to the entry of a result and the line a person reads."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from bench.children import Outcome
from bench.competitors.task import Answer


def told(outcome: Outcome, wrong: Callable[[Answer], str | None]) -> dict[str, Any]:
    """Return an outcome as an entry's values; an answer that ``wrong`` finds fault with has no time."""
    common = {
        "peak_anonymous": outcome.peak_anonymous,
        "process_seconds": round(outcome.wall_seconds, 3),
    }
    answer = outcome.answer
    if answer is None:
        return {**common, "failure": outcome.failure or "the child gave no answer"}
    if fault := wrong(answer):
        return {**common, "failure": fault}
    return {
        **common,
        "peak_rss": answer.peak_rss,
        "seconds": round(statistics.median(answer.seconds), 4),
        "runs": [round(one, 4) for one in answer.seconds],
        "cold": None if answer.cold is None else round(answer.cold, 4),
        "details": answer.details,
    }


def wording(measured: Mapping[str, Any]) -> str:
    """Return an entry in one line."""
    if "failure" in measured:
        return f"failed: {measured['failure']}"
    cold = "" if measured["cold"] is None else f", cold {measured['cold']:.2f} s"
    peaks = f"{measured['peak_anonymous'] / 2**20:,.0f} MiB ({measured['peak_rss'] / 2**20:,.0f} resident)"
    return f"{measured['seconds']:8.3f} s{cold}, {peaks}"
