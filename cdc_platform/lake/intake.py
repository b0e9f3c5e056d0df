"""Which files of a merge are new, and their events staged; what cannot be read is set aside.

Nothing here changes anything but the workspace: quarantine items are returned, and stored by the commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field

import duckdb

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import CdcError, RawFileError, SchemaError
from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.lake.inputs import EventFile, MergeInput
from cdc_platform.lake.quarantine import QuarantineItem, QuarantineState, item_of
from cdc_platform.lake.schema import FileColumns, TargetSchema, check_event_schema
from cdc_platform.lake.staging import StagedFile, Staging
from cdc_platform.raw.files import FileKind

FileIdentity = tuple[str, str]

#: Files kept open between the reading of their schemas and of their rows; more are opened twice.
_KEEP_OPEN = 100


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
    #: Released items that an earlier merge applied without living to close them.
    settled: tuple[QuarantineItem, ...] = ()


@dataclass(slots=True)
class Intake:
    """The staged files, and everything that was set aside on the way."""

    staged: list[StagedFile] = field(default_factory=list)
    quarantined: list[QuarantineItem] = field(default_factory=list)
    failed: list[MergeInput] = field(default_factory=list)
    replayed: list[QuarantineItem] = field(default_factory=list)
    position_kinds: dict[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Admitted:
    """A file whose columns fit; ``items`` are the rows of it that were released, None for all of it."""

    index: int
    source: MergeInput
    columns: FileColumns
    items: tuple[QuarantineItem, ...] | None


def select_inputs(
    inputs: Sequence[MergeInput], record: AppliedRecord, items: Sequence[QuarantineItem]
) -> Selection:
    """Sort the inputs out, oldest first. Pure."""
    free = [item for item in items if item.state == QuarantineState.RELEASED]
    released = [item for item in free if item.release not in record.replayed]
    settled = tuple(item for item in free if item.release in record.replayed)
    blocked = {
        (item.key, item.etag)
        for item in items
        if item.row is None and item.state in (QuarantineState.OPEN, QuarantineState.DISCARDED)
    }
    discarded = {
        (item.key, item.etag)
        for item in items
        if item.row is None and item.state == QuarantineState.DISCARDED
    }
    whole, rows, superseded, waiting, skipped = [], [], [], [], 0
    for source in sorted({i.identity: i for i in inputs}.values(), key=_order):
        mine = tuple(i for i in released if (i.key, i.etag) == source.identity and i.row is not None)
        if record.holds(source.accepted):
            if mine:
                rows.append((source, mine))
            else:
                skipped += 1
        elif source.identity in blocked:
            if source.identity not in discarded:
                waiting.append(source)
        elif source.accepted.generation < record.generation_complete:
            superseded.append(source)
        else:
            whole.append(source)
    return Selection(
        tuple(whole), tuple(rows), tuple(superseded), tuple(released), skipped, tuple(waiting), settled
    )


def _order(source: MergeInput) -> tuple[object, ...]:
    accepted = source.accepted
    return accepted.generation, accepted.kind != FileKind.LOAD, accepted.file_time, *source.identity


class Reader:
    """Reads the selected files into a workspace."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        config: TableConfig,
        target: TargetSchema,
        record: AppliedRecord,
        *,
        where: str,
    ) -> None:
        self._con = con
        self._config = config
        self._target = target
        self._record = record
        self._where = where
        self._opened: dict[int, EventFile] = {}
        self.before: tuple[str, ...] = ()
        self.has_full_before = True

    def read(self, selection: Selection) -> Intake:
        """Stage every selected file; a file that cannot be read is set aside whole and the others go on."""
        intake = Intake()
        try:
            self._stage_all(selection, self._admit_all(selection, intake), intake)
        finally:
            for file in self._opened.values():
                file.close()
        return intake

    def _admit_all(self, selection: Selection, intake: Intake) -> list[_Admitted]:
        """Take in the columns of every file, which decides the types that the rows are staged with."""
        wanted: list[tuple[MergeInput, tuple[QuarantineItem, ...] | None]] = [
            *((source, items) for source, items in selection.rows),
            *((source, None) for source in selection.whole),
        ]
        admitted = []
        for index, (source, items) in enumerate(wanted):
            try:
                admitted.append(_Admitted(index, source, self._admit(index, source, intake), items))
            except (RawFileError, SchemaError) as e:
                self._set_aside(intake, source, e)
        self.before = tuple(
            column
            for column in self._target.before
            if any(column in each.columns.before for each in admitted)
        )
        self.has_full_before = set(self.before) == set(self._target.columns)
        return admitted

    def _stage_all(self, selection: Selection, admitted: list[_Admitted], intake: Intake) -> None:
        if admitted:
            staging = Staging(self._con, self._target.key, self._target.columns, self._staged_before())
        else:
            staging = Staging(self._con, (), {}, ())
        self._con.execute("CREATE TABLE released (file INTEGER)")
        whole = {(item.key, item.etag): item for item in selection.released if item.row is None}
        for each in admitted:
            self._stage(staging, each, intake)
            freed = each.items or tuple(filter(None, [whole.get(each.source.identity)]))
            if freed:
                self._con.execute("INSERT INTO released VALUES (?)", [each.index])
                again = {item.id for item in intake.quarantined}
                intake.replayed += [item for item in freed if item.id not in again]

    def _staged_before(self) -> tuple[str, ...]:
        # A keyed table always has these columns, so that one rule serves files with and without them.
        return self._target.key or self.before

    def _admit(self, index: int, source: MergeInput, intake: Intake) -> FileColumns:
        file = source.open()
        try:
            check_event_schema(file.schema, where=source.accepted.file.key)
            self._check_position_kind(source, file, intake)
            columns = self._target.admit(file)
        except BaseException:
            file.close()
            raise
        if source.accepted.kind != FileKind.LOAD:
            intake.position_kinds[source.accepted.generation] = file.position_kind.value
        if len(self._opened) < _KEEP_OPEN:
            self._opened[index] = file
        else:
            file.close()
        return columns

    def _check_position_kind(self, source: MergeInput, file: EventFile, intake: Intake) -> None:
        accepted = source.accepted
        if accepted.kind == FileKind.LOAD:
            return
        kind = file.position_kind.value
        stored = self._record.position_kind(accepted.generation)
        known = stored.value if stored else intake.position_kinds.get(accepted.generation, kind)
        if known != kind:
            raise SchemaError(
                f"the file is ordered by {kind}, the table's changes since its last full load by {known}; "
                "positions of two kinds cannot be compared",
                where=f"{self._where} {accepted.file.key}",
                mend="start a new generation (reload the table), then release or discard this file",
            )

    def _stage(self, staging: Staging, admitted: _Admitted, intake: Intake) -> None:
        source, items = admitted.source, admitted.items
        only = None if items is None else {item.row for item in items if item.row is not None}
        try:
            opened = self._opened.pop(admitted.index, None)
            with closing(opened if opened is not None else source.open()) as file:
                staged = staging.add(admitted.index, source, file, admitted.columns, only)
        except (RawFileError, SchemaError) as e:
            self._set_aside(intake, source, e)
            return
        intake.staged.append(staged)
        intake.quarantined += staged.rejected.values()

    def _set_aside(self, intake: Intake, source: MergeInput, error: CdcError) -> None:
        intake.failed.append(source)
        mend = error.mend or "correct the file, then release it"
        intake.quarantined.append(item_of(source.accepted, None, reason=error.what, mend=mend))
