"""Whether a difference between source and base is real, decided by log position and never by waiting.

Base is pinned first, then the source is read at position L, then capture is asked how far it has come (C),
and only then the raw files are listed. So a key that differs is

* still in flight when C < L: a change up to L may not be in any file yet; or when a file changes it that
  base has not applied, accepted or not; or when a file there does not tell its keys (a full load, a bad one);
* different when C ≥ L and every file there is was applied: no change on its way can explain it any more;
* not verified when C is not known.

A key that is equal is equal at L, which is what its verdict says; but where a file on its way changes the key
again, equality may be passing, so it counts as in flight as well.

Where the source has no snapshot read there are two positions, L before the first row was read and H after the
last, and a row is of some instant between. H stands for L above, and nothing is decided, equal or not, before
C ≥ H: base was pinned before L, so whatever changed a key in (L, H] lies in files base has not applied, and
once they are known its keys are told; the rest did not change between L and H.
"""

from __future__ import annotations

from dataclasses import dataclass

from cdc_platform.lsn import find_lsn
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.words import counted


@dataclass(frozen=True, slots=True)
class Capture:
    """How far capture had come after the source was read.

    ``position`` is the log position up to which every change is in visible raw files, None when nobody can
    tell; ``source_now`` is the source's own position, asked afterwards; ``unaccepted`` counts the files on
    their way to base that do not tell which keys they change.
    """

    position: str | None
    source_now: str | None = None
    unaccepted: int = 0


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a difference is that no accepted file explains."""

    verdict: Verdict
    reason: str


def judge_difference(source_position: str, capture: Capture) -> Judgement:
    """Say what a difference at ``source_position`` is, given how far capture had come.

    >>> [judge_difference("0/20", Capture(captured)).verdict.value for captured in ("0/20", "0/1F")]
    ['DIFFERENT', 'IN_FLIGHT']
    """
    if capture.unaccepted:
        files = counted(capture.unaccepted, "raw file")
        return Judgement(Verdict.IN_FLIGHT, f"{files} on the way to base may hold the change")
    if capture.position is None:
        return Judgement(
            Verdict.UNVERIFIED, "capture's position is not known, so the change may be on its way"
        )
    read, captured = find_lsn(source_position), find_lsn(capture.position)
    if read is None or captured is None:
        return Judgement(Verdict.UNVERIFIED, f"{capture.position!r} is not a log position of this source")
    now = find_lsn(capture.source_now)
    if now is not None and captured > now:
        return Judgement(
            Verdict.UNVERIFIED,
            f"capture says {capture.position}, beyond the source's own {capture.source_now}: "
            "it follows another server's log",
        )
    if captured < read:
        return Judgement(
            Verdict.IN_FLIGHT,
            f"capture has come to {capture.position}, the source was read at {source_position}",
        )
    return Judgement(
        Verdict.DIFFERENT,
        f"every change up to {source_position} was captured ({capture.position}) and applied",
    )
