"""Which files of a merge are new, and which rows of the others were released."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from cdc_platform.lake.applied import AppliedRecord, FileIdentity
from cdc_platform.lake.inputs import MergeInput
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, QuarantineState, quarantine_id
from cdc_platform.raw.files import FileKind
from cdc_platform.words import counted


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
    #: Files applied before a load was known that they belong to; they cannot be merged again with it.
    awaited: tuple[MergeInput, ...] = ()
    #: Files that wait for those: without them base would fall back to the rows of the load.
    barred: tuple[MergeInput, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is told of the files that hold a load back."""
        return tuple(_awaited_text(source, len(self.barred)) for source in self.awaited)


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
    inputs: Sequence[MergeInput],
    record: AppliedRecord,
    items: Sequence[QuarantineItem],
    *,
    failed: Sequence[MergeInput] = (),
    completed: int | None = None,
    is_keyed: bool = True,
) -> Selection:
    """Sort the inputs out, oldest first. Pure.

    ``failed`` were inputs and turned out not to be readable; ``completed`` is the generation to complete.
    """
    selection = _sorted_out(inputs, record, items)
    missing = (*selection.waiting, *failed)
    is_wanted = completed is not None and completed > record.generation_complete
    if not is_keyed and is_wanted and honoured(completed, record, missing) is None:
        # a file applied again doubles the rows of such a table, unless the load's completion removes them
        kept = tuple(source for source in selection.whole if not record.is_outdated(source.accepted))
        selection = replace(selection, whole=kept)
    return _held_back(selection, record, missing)


def _sorted_out(
    inputs: Sequence[MergeInput], record: AppliedRecord, items: Sequence[QuarantineItem]
) -> Selection:
    """Return what is to be read as far as each input tells by itself."""
    unique = {source.identity: source for source in inputs}
    # A long history is mostly of files applied long ago: nothing is done for them that is not needed.
    applied = [source for source in unique.values() if record.holds(source.accepted)]
    settled = _settled(items, record, applied)
    released = [one for one in items if one.state == QuarantineState.RELEASED and one not in settled]
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


def _held_back(selection: Selection, record: AppliedRecord, missing: Sequence[MergeInput]) -> Selection:
    """Hold the load files back without whose changes, ``missing`` now, base would fall back."""
    awaited = tuple(source for source in missing if record.is_outdated(source.accepted))
    without = {source.accepted.generation for source in awaited}
    loads = (source for source in selection.whole if _is_load(source))
    barred = tuple(source for source in loads if source.accepted.generation in without)
    whole = tuple(source for source in selection.whole if source not in barred)
    return replace(selection, whole=whole, awaited=awaited, barred=barred)


def honoured(completed: int | None, record: AppliedRecord, missing: Sequence[MergeInput]) -> int | None:
    """Return the generation to complete, None when what is ``missing`` forbids it or it is complete."""
    if completed is None or completed <= record.generation_complete:
        return None
    needed = (one.accepted for one in missing if one.accepted.generation == completed)
    # a file merged as of an older generation has rows that the completion would remove
    blocked = any(one.kind == FileKind.LOAD or record.is_outdated(one) for one in needed)
    return None if blocked else completed


def _awaited_text(source: MergeInput, barred: int) -> str:
    accepted = source.accepted
    opened = datetime.fromtimestamp(accepted.generation / 1000, UTC)
    item = quarantine_id(*source.identity, None)[:12]
    return (
        f"the full load of {opened:%Y-%m-%d %H:%M:%S} waits ({counted(barred, 'LOAD file')} held back): "
        f"{accepted.file.key} was merged before the load was known and cannot be merged again with it → "
        "see `cdc quarantine list`; put the file back as it was and apply again, or give its changes up: "
        f"cdc quarantine discard {item}"
    )


def _is_load(source: MergeInput) -> bool:
    return source.accepted.kind == FileKind.LOAD


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
    return accepted.generation, not _is_load(source), accepted.file_time, *source.identity
