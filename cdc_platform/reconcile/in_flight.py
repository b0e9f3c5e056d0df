"""Whether a difference between source and base is real, decided by log position and never by waiting.

Base is pinned first, then the source is read at position L, then capture is asked how far it has come (C),
and only then the raw files are listed. So a key that differs is

* still in flight when C < L: a change up to L may not be in any file yet; or when a file changes it that
  base has not applied, accepted or not; or when a file there does not tell its keys (a full load, a bad one);
* different when C ≥ L and every file there is was applied: no change on its way can explain it any more;
* not verified when C is not known, or when what was read is known to be behind it: of a standby that has not
  replayed yet what capture had told before, and of another server.

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

#: The headers of a log page and of a segment's first page, and the least a page can be.
PAGE_HEADERS = (24, 40)
_SMALLEST_PAGE = 1024


@dataclass(frozen=True, slots=True)
class Capture:
    """How far capture had come after the source was read.

    ``position`` is the log position up to which every change is in visible raw files, None when nobody can
    tell; ``source_now`` is the source's own position, asked afterwards; ``unaccepted`` counts the files on
    their way to base that do not tell which keys they change. ``before`` is where capture stood before a
    standby was read, and of standbys alone: what a primary shows, capture is never ahead of. ``halted`` is
    why capture comes no further by itself, and what to do; it decides nothing.
    """

    position: str | None
    source_now: str | None = None
    unaccepted: int = 0
    before: str | None = None
    halted: str = ""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a difference is that no accepted file explains."""

    verdict: Verdict
    reason: str


def behind_capture(source_position: str, capture: Capture) -> Judgement | None:
    """Say that what was read at ``source_position`` is behind what capture has told; None where it is not.

    >>> [behind_capture("0/20", Capture("0/30", now)) is None for now in ("0/30", "0/20")]
    [True, False]
    """
    read, captured = find_lsn(source_position), find_lsn(capture.position)
    now, before = find_lsn(capture.source_now), find_lsn(capture.before)
    if captured is not None and now is not None and _is_beyond(captured, now):
        return Judgement(
            Verdict.UNVERIFIED,
            f"capture says {capture.position}, beyond the source's own {capture.source_now}: it is a replica "
            "that is behind, it was restored from an older copy, or capture follows another server's log",
        )
    if before is not None and read is not None and _is_beyond(before, read):
        return Judgement(
            Verdict.UNVERIFIED,
            f"the source is a replica that was behind: it was read at {source_position} after capture had "
            f"come to {capture.before}",
        )
    return None


def _is_beyond(position: int, end: int) -> bool:
    """Whether ``position`` is beyond the end of a log.

    An end just behind the header of a page is given as that page's begin, which is the same place.
    """
    is_same = position - end in PAGE_HEADERS and end % _SMALLEST_PAGE == 0
    return position > end and not is_same


def judge_difference(source_position: str, capture: Capture) -> Judgement:
    """Say what a difference at ``source_position`` is, given how far capture had come.

    >>> [judge_difference("0/20", Capture(captured)).verdict.value for captured in ("0/20", "0/1F")]
    ['DIFFERENT', 'IN_FLIGHT']
    """
    if capture.unaccepted:
        files = counted(capture.unaccepted, "raw file")
        return _in_flight(f"{files} on the way to base may hold the change", capture)
    if capture.position is None:
        return Judgement(
            Verdict.UNVERIFIED, "capture's position is not known, so the change may be on its way"
        )
    read, captured = find_lsn(source_position), find_lsn(capture.position)
    if read is None or captured is None:
        return Judgement(Verdict.UNVERIFIED, f"{capture.position!r} is not a log position of this source")
    behind = behind_capture(source_position, capture)
    if behind is not None:
        return behind
    if captured < read:
        come = f"capture has come to {capture.position}, the source was read at {source_position}"
        return _in_flight(come, capture)
    return Judgement(
        Verdict.DIFFERENT,
        f"every change up to {source_position} was captured ({capture.position}) and applied",
    )


def _in_flight(reason: str, capture: Capture) -> Judgement:
    return Judgement(Verdict.IN_FLIGHT, "; ".join(filter(None, (reason, capture.halted))))
