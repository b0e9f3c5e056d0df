"""The events of the files selected, staged; what cannot be read is set aside.

Nothing here changes anything but the workspace: quarantine items are returned, and stored by the commit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.config.model import Images, TableConfig
from cdc_platform.errors import CdcError, RawFileError, SchemaError
from cdc_platform.events import ROW, Position
from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.lake.direct_load import DirectLoad, NotDirectly, goes_directly
from cdc_platform.lake.inputs import EventFile, MergeInput
from cdc_platform.lake.partition_fit import FittingFile
from cdc_platform.lake.quarantine import QuarantineItem, again, item_of
from cdc_platform.lake.schema import FileColumns, TargetSchema, check_event_schema
from cdc_platform.lake.selection import Selection
from cdc_platform.lake.staged_file import StagedFile
from cdc_platform.lake.staging import FILE, Staging
from cdc_platform.raw.files import FileKind

#: Files kept open between the reading of their schemas and of their rows; more are opened twice.
_KEEP_OPEN = 100


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


def _is_changes(source: MergeInput) -> bool:
    return source.accepted.kind != FileKind.LOAD


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
        threads: int = 1,
        memory: int = 0,
        newest: int = 0,
        table: Callable[[], Table | None] = lambda: None,
    ) -> None:
        """``table`` makes or returns the table to load into directly, None when it cannot be written yet;
        events of generations below ``newest`` will be dropped."""
        self._con = con
        self._config = config
        self._target = target
        self._record = record
        self._where = where
        self._threads = threads
        self._memory = memory
        self._newest = newest
        self._table = table
        self._opened: dict[int, EventFile] = {}
        self.direct: DirectLoad | None = None
        #: The staged events by file, where they stayed as they came.
        self.kept: Mapping[int, pa.Table] = {}
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
        # A file that was set aside after all does not decide what the positions of its generation are.
        taken = {each.input.accepted.generation for each in intake.staged if _is_changes(each.input)}
        intake.position_kinds = {g: kind for g, kind in intake.position_kinds.items() if g in taken}
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
                _set_aside(intake, source, items, e)
        self.before = tuple(
            column
            for column in self._target.before
            if any(column in each.columns.before for each in admitted)
        )
        self.has_full_before = set(self.before) == set(self._target.columns)
        return admitted

    def _stage_all(self, selection: Selection, admitted: list[_Admitted], intake: Intake) -> None:
        large = self._large_loads([each for each in admitted if each.source.identity not in selection.held])
        memory = self._memory if self._is_lasting(selection, admitted) and not large else 0
        columns = self._target.columns if admitted else {}
        key, before = (self._target.key, self._staged_before()) if admitted else ((), ())
        staging = Staging(self._con, key, columns, before, in_memory=memory)
        self._con.execute("CREATE TABLE released (file INTEGER)")
        whole = {(item.key, item.etag): item for item in selection.released if item.row is None}
        # A released file of a superseded generation is done with: nothing of it would be applied.
        intake.replayed += filter(None, (whole.get(source.identity) for source in selection.superseded))
        with ThreadPoolExecutor(self._threads) as threads:
            side_by_side = threads.map if len(admitted) > 1 else map
            outcomes = side_by_side(lambda each: self._stage(staging, each, each.index in large), admitted)
            for each, outcome in zip(admitted, outcomes, strict=True):
                if isinstance(outcome, CdcError):
                    _set_aside(intake, each.source, each.items, outcome)
                    continue
                intake.staged.append(outcome)
                intake.quarantined += outcome.rejected.values()
        staging.finish()
        self.kept = staging.kept
        for each in admitted:
            self._hold_back(each, selection)
            freed = each.items or tuple(filter(None, [whole.get(each.source.identity)]))
            if freed:
                self._con.execute("INSERT INTO released VALUES (?)", [each.index])
                aside = {item.id for item in intake.quarantined}
                intake.replayed += [item for item in freed if item.id not in aside]

    def _large_loads(self, admitted: list[_Admitted]) -> frozenset[int]:
        """Return which files go directly into data files, and open the direct load for them."""
        large = [
            each
            for each in admitted
            if each.items is None
            and not each.columns.checked
            and goes_directly(self._config, each.source, self._opened.get(each.index))
        ]
        newest = max((each.source.accepted.generation for each in large), default=-1)
        floor = self._record.tombstone_floor
        if newest < self._newest or (floor is not None and floor >= Position(newest, 0)):
            return frozenset()
        table = self._table()
        if table is None or table.spec().fields:
            # cdc.yaml may no longer name the partitions that the table was made with
            return frozenset()
        self.direct = DirectLoad(self._con, table, self._target.key)
        return frozenset(each.index for each in large if each.source.accepted.generation == newest)

    def _is_lasting(self, selection: Selection, admitted: list[_Admitted]) -> bool:
        """Whether nothing will change or remove a staged event before the rule has judged them all."""
        return bool(
            self._config.merge_key
            and self._config.images is Images.FULL
            and not selection.held
            and all(each.source.accepted.generation >= self._newest for each in admitted)
        )

    def _hold_back(self, admitted: _Admitted, selection: Selection) -> None:
        """Leave rows in quarantine there, though their file is applied again as a part of another load."""
        held = sorted(selection.held.get(admitted.source.identity, ()))
        if held and admitted.items is None:
            rows = ", ".join(map(str, held))
            self._con.execute(f"DELETE FROM events WHERE {FILE} = {admitted.index} AND {ROW} IN ({rows})")

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
        if _is_changes(source):
            intake.position_kinds[source.accepted.generation] = file.position_kind.value
        if len(self._opened) < _KEEP_OPEN:
            self._opened[index] = file
        else:
            file.close()
        return columns

    def _check_position_kind(self, source: MergeInput, file: EventFile, intake: Intake) -> None:
        accepted = source.accepted
        if not _is_changes(source):
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

    def _stage(
        self, staging: Staging, admitted: _Admitted, is_large: bool
    ) -> StagedFile | RawFileError | SchemaError:
        """Take the rows of one file in, or return why they cannot be; runs in a thread of its own."""
        source, items = admitted.source, admitted.items
        only = None if items is None else {item.row for item in items if item.row is not None}
        try:
            if is_large and self.direct is not None:
                try:
                    with closing(self._reopened(admitted)) as file:
                        return self.direct.write(admitted.index, source, file)
                except NotDirectly:
                    pass
            with closing(self._reopened(admitted)) as file:
                return staging.add(admitted.index, source, file, admitted.columns, only)
        except (RawFileError, SchemaError) as e:
            return e

    def _reopened(self, admitted: _Admitted) -> EventFile:
        opened = self._opened.pop(admitted.index, None)
        file = opened if opened is not None else admitted.source.open()
        return FittingFile(file, floors) if (floors := self._target.partition_floors) else file


def _set_aside(
    intake: Intake, source: MergeInput, rows: Sequence[QuarantineItem] | None, error: CdcError
) -> None:
    """Set a file aside; of one that is applied only the ``rows`` that were released, since it stays applied.

    An item of the whole file would keep the file out of the merge that follows a rollback.
    """
    mend = error.mend or "correct the file, then release it"
    if rows is not None:
        intake.quarantined += [again(item, reason=error.what, mend=mend) for item in rows]
        return
    intake.failed.append(source)
    intake.quarantined.append(item_of(source.accepted, None, reason=error.what, mend=mend))
