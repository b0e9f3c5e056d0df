"""When each segment of a table was last proven, and from where on changes to it count: incremental's memory.

One JSON object in the table's object store. All segments stand at one snapshot of base: a row that base did
not change since, and no raw file since names, is as it was when its segment was proven. Keys that were not
equal then are kept beside it and looked up again by every run until they are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NotRequired

from pydantic import AwareDatetime, TypeAdapter
from typing_extensions import TypedDict

from cdc_platform.errors import StateError
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.reconcile.segments import Bound
from cdc_platform.reconcile.source_identity import NOWHERE, Reached

PROOFS = "reports/full/proofs.json"
_FORM = 1

#: Every segment is read again within so long unless cdc.yaml says otherwise.
VERIFY_WITHIN = timedelta(days=30)

#: A raw file in one of its versions, as a part of one generation.
FileVersion = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Proof:
    """When and where all rows of a segment were read on both sides."""

    verified_at: datetime
    source_position: str
    snapshot_id: int
    run_id: str


@dataclass(frozen=True, slots=True)
class Proofs:
    """The segments of a table and what is proven of them, as of base's snapshot ``snapshot_id``.

    ``record`` names the record of files applied by then, ``covered`` files that were not and need not be
    read: their changes lie before the source was read. ``rows`` are base's in each segment. A segment
    without a proof is to be compared. ``reached`` is how far the source had come when all of them were moved
    on to that snapshot: later than any was read whole.
    """

    conditions: Mapping[str, str]
    bounds: tuple[Bound, ...]
    snapshot_id: int
    record: str | None
    segments: Mapping[int, Proof]
    rows: Mapping[int, int]
    run_id: str
    at: datetime
    covered: frozenset[FileVersion] = frozenset()
    open_keys: str | None = None
    reached: Reached = NOWHERE

    @property
    def numbers(self) -> range:
        """The numbers of all segments, that of rows without a key included."""
        return range(len(self.bounds) + 2)

    @property
    def unproven(self) -> tuple[int, ...]:
        """The segments without a proof."""
        return tuple(number for number in self.numbers if number not in self.segments)


class _Stored(TypedDict):
    """The object, as JSON has it."""

    conditions: dict[str, str]
    bounds: list[tuple[str, ...]]
    snapshot_id: str
    record: str | None
    segments: dict[int, tuple[AwareDatetime, str, int, str]]
    rows: dict[int, int]
    run_id: str
    at: AwareDatetime
    covered: list[tuple[str, str, int]]
    open_keys: str | None
    #: an earlier version did not record it
    reached: NotRequired[tuple[str, int | None]]


_STORED = TypeAdapter(_Stored)


@dataclass(frozen=True, slots=True)
class Ages:
    """How long ago the segments of a table were proven; None: a segment has no proof, or nothing has.

    A table without a row has no segments, and is as old as the run that found none on either side.
    """

    segments: int
    unproven: int
    oldest: datetime | None
    within: timedelta
    last_run: datetime | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def oldest_age(self) -> timedelta | None:
        return None if self.oldest is None or self.unproven else self.now - self.oldest

    @property
    def is_kept(self) -> bool:
        """Whether every row was compared with the source within the time that was set."""
        return self.oldest_age is not None and self.oldest_age <= self.within

    @property
    def sentence(self) -> str:
        """The ages in words."""
        if self.unproven:
            return f"{self.unproven} of {self.segments} segments are not proven by any run"
        if self.oldest_age is None:
            return "the table was never compared as a whole with its source"
        age = _in_words(self.oldest_age, up=True)
        told = f"every row was compared with the source within the last {age}"
        if not self.segments:
            told = f"neither side had a row {age} ago"
        return told if self.is_kept else f"{told}, and not within {_in_words(self.within)}"


def ages_of(proofs: Proofs | None, within_days: float | None) -> Ages:
    """Return the ages of a table's proofs; ``within_days`` is what cdc.yaml says."""
    within = VERIFY_WITHIN if within_days is None else timedelta(days=within_days)
    if proofs is None:
        return Ages(0, 0, None, within)
    oldest = min((one.verified_at for one in proofs.segments.values()), default=None)
    return Ages(len(proofs.numbers), len(proofs.unproven), oldest, within, proofs.at)


def read_proofs(objects: ObjectStore) -> Proofs | None:
    """Return what is stored; None when nothing is, or what is has another form.

    Damaged, it is as good as none: every segment is compared again.
    """
    with suppress(StateError), undamaged(objects, PROOFS):
        return _parsed(objects.get(PROOFS))
    return None


def _parsed(data: bytes | None) -> Proofs | None:
    stored = json.loads(data) if data else None
    if stored is None or stored.get("form") != _FORM:
        return None
    found = _STORED.validate_python(stored)
    return Proofs(
        conditions=found["conditions"],
        bounds=tuple(found["bounds"]),
        snapshot_id=int(found["snapshot_id"]),
        record=found["record"],
        segments={number: Proof(*one) for number, one in found["segments"].items()},
        rows=found["rows"],
        run_id=found["run_id"],
        at=found["at"],
        covered=frozenset(found["covered"]),
        open_keys=found["open_keys"],
        reached=Reached(*found.get("reached", ())),
    )


def write_proofs(objects: ObjectStore, proofs: Proofs) -> None:
    """Replace what is stored."""
    segments = {
        str(number): [one.verified_at.isoformat(), one.source_position, str(one.snapshot_id), one.run_id]
        for number, one in sorted(proofs.segments.items())
    }
    value: dict[str, Any] = {
        "form": _FORM,
        "conditions": dict(proofs.conditions),
        "bounds": [list(bound) for bound in proofs.bounds],
        "snapshot_id": str(proofs.snapshot_id),
        "record": proofs.record,
        "segments": segments,
        "rows": {str(number): rows for number, rows in sorted(proofs.rows.items())},
        "run_id": proofs.run_id,
        "at": proofs.at.isoformat(),
        "covered": sorted(map(list, proofs.covered)),
        "open_keys": proofs.open_keys,
        "reached": [proofs.reached.position, proofs.reached.transactions],
    }
    objects.put(PROOFS, json.dumps(value, indent=1).encode())


def version_of(file: AcceptedFile) -> FileVersion:
    """Return what tells an accepted file from every other."""
    return file.file.key, file.file.etag, file.generation


def _in_words(time: timedelta, *, up: bool = False) -> str:
    """Return a time with one decimal; ``up`` rounds up, so that no age reads as the limit it has passed."""
    units = (("days", timedelta(days=1)), ("hours", timedelta(hours=1)))
    name, unit = next((one for one in units if time >= one[1]), ("minutes", timedelta(minutes=1)))
    tenths = -(-10 * time // unit) if up else 10 * time / unit
    return f"{tenths / 10:.1f} {name}"
