"""Whether a repair of a table has a place in the order of its changes at all, and which."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime

import pyarrow.compute as pc

from cdc_platform.errors import RawFileError, ReconciliationError, SchemaError
from cdc_platform.events import POSITION, Position, PositionKind
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.load_sets import LoadSet
from cdc_platform.raw.manifests import Accepted
from cdc_platform.raw.repairs import is_repair
from cdc_platform.reconcile.subject import Subject
from cdc_platform.repair.position import agrees, closed_sequence, committed_at

#: How many of the newest change files are looked at, to see that their positions tell the commit's time.
_FILES_LOOKED_AT = 10


@dataclass(frozen=True, slots=True)
class Place:
    """Where the events of a repair stand."""

    kind: PositionKind
    instant: datetime
    generation: int

    @property
    def position(self) -> Position:
        """The position of the repair's events."""
        return Position(self.generation, closed_sequence(self.kind, self.instant))


def place_of(subject: Subject, accepted: Accepted, instant: datetime) -> Place:
    """Return the place of a repair as of ``instant``. Raises ReconciliationError when there is none.

    There is none while a full load is not complete (it sets the rows right itself, and its generation takes
    the changes of now), before any change was applied (what positions are made of is not known), and where
    positions do not tell the time of the commit.
    """
    generation = accepted.load_sets.generation_of(instant)
    kind = subject.record.position_kind(generation)
    _check_load(subject, accepted.load_sets.newest(), is_followed=kind is not None)
    if kind is None:
        raise ReconciliationError(
            "no change was applied since the last full load, so what positions are made of is not known, "
            "and no place in their order can be given to a repair",
            where=subject.where,
            mend="repair once a change of the table, of any row, has arrived and was applied (cdc apply), "
            "or reload the table",
        )
    found = Place(kind, instant, generation)
    closed_sequence(kind, instant)
    _check_times(subject, accepted, found)
    return found


def _check_load(subject: Subject, newest: LoadSet | None, *, is_followed: bool) -> None:
    """Raise ReconciliationError while the newest full load is not complete, and say what completes it.

    Of a first load that no change followed that would not help: there is no place until a change comes, and
    the change completes it.
    """
    record, what = subject.record, "a full load of the table is not complete"
    if newest is None or newest.generation <= record.generation_complete:
        return
    if holes := newest.holes():
        raise ReconciliationError(
            f"{what}: LOAD files are missing ({', '.join(holes)})",
            where=subject.where,
            mend="put them back and apply, or reload the table",
        )
    if is_followed or record.holds_older(newest.generation):
        declare = f"cdc complete-load {subject.source_name} {subject.table.id}"
        raise ReconciliationError(
            f"{what}: it brings every row anew",
            where=subject.where,
            mend=f"wait for a change after it, or declare it complete ({declare}); cdc apply, then repair",
        )


def _check_times(subject: Subject, accepted: Accepted, place: Place) -> None:
    """See by the newest change files that positions begin with the commit time in UTC."""
    told: list[str] = []
    for file in _newest_changes(subject, accepted, place.generation):
        try:
            commits = _commit_times(subject, file, place.kind)
        except (RawFileError, SchemaError) as error:
            told.append(f"{file.file.key}: {error.what}")
            continue
        agreed = [agrees(file.file_time, at) for at in commits]
        if False in agreed:
            raise ReconciliationError(
                f"positions in {file.file.key} begin with times that are not the commit's in UTC: "
                "a repair cannot be placed among them",
                where=subject.where,
                mend="correct the time zone of the task or of the timestamp column, then reload the table",
            )
        if commits and all(agreed):
            return
        told.append(f"{file.file.key}: written long after its changes were committed")
    raise ReconciliationError(
        "no recent change file shows that positions begin with the commit's time in UTC"
        + (f" ({told[0]})" if told else ""),
        where=subject.where,
        mend="repair once a change has arrived without delay",
    )


def _newest_changes(subject: Subject, accepted: Accepted, generation: int) -> Iterator[AcceptedFile]:
    files = [
        one
        for one in accepted.readable
        if one.kind is FileKind.CHANGES
        and one.generation == generation
        and not is_repair(one.file.key)
        and subject.record.holds(one)
    ]
    yield from sorted(files, key=lambda one: one.file_time, reverse=True)[:_FILES_LOOKED_AT]


def _commit_times(subject: Subject, file: AcceptedFile, kind: PositionKind) -> list[datetime | None]:
    """Return the earliest and latest commit time in the first rows of a file; none of an empty file."""
    opened = subject.platform.event_file(subject.source_name, subject.table.id, file)
    with closing(opened):  # type: ignore[type-var]  # the protocol of reconciliation leaves close out
        for batch in opened.batches():
            if batch.events.num_rows:
                positions = batch.events.column(POSITION)
                ends = pc.min(positions).as_py(), pc.max(positions).as_py()
                return [committed_at(kind, int(end)) for end in ends if end is not None]
    return []
