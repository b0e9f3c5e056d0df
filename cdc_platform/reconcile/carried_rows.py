"""The rows of a table a run did not read, because earlier runs had found them equal: how many, and when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol

from cdc_platform.reconcile.run_ids import begun_at
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.reconcile.certificate_fields import CarriedFields, ProofFields

#: What a comparison's ``rows`` are called.
SOURCE_ROWS, BASE_ROWS = "source rows", "base rows"
RAW_EVENTS = "raw events"
#: Of base's rows, those a table keeps by declaration after the source deleted them.
KEPT_ROWS = "rows kept by declaration"


@dataclass(frozen=True, slots=True)
class ReadBefore:
    """When and at which position of the source's log an earlier run read rows of both sides."""

    at: datetime
    source_position: str | None

    def __str__(self) -> str:
        """Return it in words."""
        at = f"{self.at:%Y-%m-%d %H:%M:%S} UTC"
        return f"{at} with the source at {self.source_position}" if self.source_position else at

    def as_json(self) -> ProofFields:
        """Return it as JSON can hold it."""
        return {"at": self.at.isoformat(), "source_position": self.source_position}


@dataclass(frozen=True, slots=True)
class CarriedRows:
    """``rows`` in ``segments`` that earlier runs found equal and this one did not read.

    ``oldest`` and ``newest`` are of the segments; None where no run id tells when they were read.
    """

    rows: int
    segments: int
    oldest: ReadBefore | None = None
    newest: ReadBefore | None = None

    def as_json(self) -> CarriedFields:
        """Return it as JSON can hold it."""
        return {
            "rows": self.rows,
            "segments": self.segments,
            "oldest_proof": self.oldest.as_json() if self.oldest else None,
            "newest_proof": self.newest.as_json() if self.newest else None,
        }

    @property
    def when(self) -> str:
        """When they were read, in words."""
        if self.oldest is None or self.newest is None:
            return "at a time that is not known"
        if self.oldest == self.newest:
            return f"on {self.oldest}"
        return f"the oldest on {self.oldest}, the newest on {self.newest}"


def carried_from_json(stored: Mapping[str, Any] | None) -> CarriedRows | None:
    """Return what ``as_json`` made; None of None, as certificates of runs that took nothing over have it."""
    if stored is None:
        return None
    oldest, newest = (_read_before(stored[name]) for name in ("oldest_proof", "newest_proof"))
    return CarriedRows(stored["rows"], stored["segments"], oldest, newest)


def _read_before(stored: Mapping[str, Any] | None) -> ReadBefore | None:
    if stored is None:
        return None
    return ReadBefore(datetime.fromisoformat(stored["at"]), stored["source_position"])


class OneSegment(Protocol):
    """What is asked of a segment's result."""

    @property
    def carried_rows(self) -> int: ...
    @property
    def carried_from(self) -> str | None: ...
    @property
    def verified_at(self) -> datetime | None: ...
    @property
    def source_position(self) -> str | None: ...


def carried_of(segments: Sequence[OneSegment]) -> CarriedRows | None:
    """Return what a run took over from earlier ones; None where it read every segment itself."""
    taken = [one for one in segments if one.carried_from is not None]
    if not taken:
        return None
    known = [ReadBefore(at, one.source_position) for one in taken if (at := _read_at(one)) is not None]
    return CarriedRows(
        rows=sum(one.carried_rows for one in taken),
        segments=len(taken),
        oldest=min(known, key=lambda one: one.at, default=None),
        newest=max(known, key=lambda one: one.at, default=None),
    )


def _read_at(segment: OneSegment) -> datetime | None:
    return segment.verified_at or begun_at(segment.carried_from or "")


def told(rows: Mapping[str, int], carried: CarriedRows) -> str:
    """Say what a run read and what it did not; ``rows`` are those it read of either side."""
    source, base = rows.get(SOURCE_ROWS, 0), rows.get(BASE_ROWS, 0)
    return (
        f"this run read {counted(source, 'row')} of the source and {counted(base, 'row')} of base; it did "
        f"not read {counted(carried.rows, 'row')} that earlier runs read on both sides and found equal, "
        f"{carried.when}"
    )
