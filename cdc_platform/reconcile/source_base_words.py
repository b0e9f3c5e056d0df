"""What a comparison of changed keys with the source found, in words."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.verdict import Tally, Verdict


def reason_of(tally: Tally, judgement: Judgement, open_points: Sequence[str]) -> str:
    """Return what was found, and ``open_points``, which stand against MATCH."""
    if not tally.compared and not open_points:
        return "no key was changed in this window, so nothing was read from the source"
    parts = [f"{tally.matched:,} of {tally.compared:,} keys changed in the window are equal in the source"]
    if tally.different:
        parts.append(f"{tally.different:,} differ{'s' if tally.different == 1 else ''}")
    if tally.in_flight:
        parts.append(f"{tally.in_flight:,} in flight{because(judgement, Verdict.IN_FLIGHT)}")
    if tally.unverified:
        parts.append(f"{tally.unverified:,} could not be decided{because(judgement, Verdict.UNVERIFIED)}")
    return "; ".join([*parts, *open_points])


def because(judgement: Judgement, verdict: Verdict) -> str:
    """Return the reason behind keys of ``verdict``, as the end of what is said of them; empty for others."""
    return f": {judgement.reason}" if judgement.verdict is verdict else ""
