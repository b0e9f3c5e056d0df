"""Which files of a merge are new, and which rows of the others were released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from cdc_platform.lake.applied import AppliedRecord, FileIdentity
from cdc_platform.lake.inputs import MergeInput
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, QuarantineState
from cdc_platform.raw.files import FileKind


@dataclass(frozen=True, slots=True)
class Selection:
    """What of the inputs is to be read: whole files, or only released rows of a file already applied."""

    whole: tuple[MergeInput, ...]
    rows: tuple[tuple[MergeInput, tuple[QuarantineItem, ...]], ...]
    #: Files of a superseded generation: recorded as applied, never read.
    superseded: tuple[MergeInput, ...]
    released: tuple[QuarantineItem, ...]
    skipped: int
    #: Files that wait in quarantine.
    waiting: tuple[MergeInput, ...]
    #: Waiting items of what is applied: an earlier merge did not live to close them.
    settled: tuple[QuarantineItem, ...] = ()
    #: Rows in quarantine that nobody released, by their file.
    held: Mapping[FileIdentity, frozenset[int]] = field(default_factory=dict)
    #: Files that are applied already.
    applied: tuple[MergeInput, ...] = ()


def _files_in(items: Sequence[QuarantineItem], state: QuarantineState) -> frozenset[FileIdentity]:
    return frozenset((item.key, item.etag) for item in items if item.row is None and item.state == state)


def _settled(
    items: Sequence[QuarantineItem], record: AppliedRecord, applied: Sequence[MergeInput]
) -> tuple[QuarantineItem, ...]:
    """Return the waiting items of what is applied already.

    A file's item is open again, under another release, where a rollback died before it took the file back.
    One left open would keep its file out when a rollback takes the file back later.
    """
    waiting = [item for item in items if item.state in WAITING]
    files = {source.identity for source in applied} if waiting else frozenset()
    return tuple(
        item
        for item in waiting
        if (item.state == QuarantineState.RELEASED and item.release in record.replayed)
        or (item.row is None and (item.key, item.etag) in files)
    )


def select_inputs(
    inputs: Sequence[MergeInput], record: AppliedRecord, items: Sequence[QuarantineItem]
) -> Selection:
    """Sort the inputs out, oldest first. Pure."""
    unique = {source.identity: source for source in inputs}
    # A long history is mostly of files applied long ago: nothing is done for them that is not needed.
    applied = [source for source in unique.values() if record.holds(source.accepted)]
    settled = _settled(items, record, applied)
    released = [item for item in items if item.state == QuarantineState.RELEASED and item not in settled]
    discarded = _files_in(items, QuarantineState.DISCARDED)
    blocked = discarded | _files_in(items, QuarantineState.OPEN)
    freed = _rows_by_file(released)
    rows = [(source, freed[source.identity]) for source in applied if source.identity in freed]
    for source in applied:
        del unique[source.identity]
    whole, superseded, waiting = [], [], []
    for source in sorted(unique.values(), key=_order):
        if source.identity in blocked:
            if source.identity not in discarded:
                waiting.append(source)
        elif source.accepted.generation < record.generation_complete:
            superseded.append(source)
        else:
            whole.append(source)
    return Selection(
        whole=tuple(whole),
        rows=tuple(sorted(rows, key=lambda one: _order(one[0]))),
        superseded=tuple(superseded),
        released=tuple(released),
        skipped=len(applied) - len(rows),
        waiting=tuple(waiting),
        settled=settled,
        held=_held_rows(items),
        applied=tuple(applied),
    )


def _rows_by_file(
    items: Sequence[QuarantineItem],
) -> dict[FileIdentity, tuple[QuarantineItem, ...]]:
    """Return the items that are rows, by their file."""
    found: dict[FileIdentity, list[QuarantineItem]] = {}
    for item in items:
        if item.row is not None:
            found.setdefault((item.key, item.etag), []).append(item)
    return {identity: tuple(rows) for identity, rows in found.items()}


def _held_rows(items: Sequence[QuarantineItem]) -> dict[FileIdentity, frozenset[int]]:
    """Return the rows that are open or given up, by file."""
    held: dict[FileIdentity, set[int]] = {}
    for item in items:
        if item.row is not None and item.state in (QuarantineState.OPEN, QuarantineState.DISCARDED):
            held.setdefault((item.key, item.etag), set()).add(item.row)
    return {identity: frozenset(rows) for identity, rows in held.items()}


def _order(source: MergeInput) -> tuple[object, ...]:
    accepted = source.accepted
    return accepted.generation, accepted.kind != FileKind.LOAD, accepted.file_time, *source.identity
