"""Full-load files that go straight into data files, each row read once and never staged.

A large load file of an unpartitioned, keyed table has almost only rows that will stay. So they are written
as they are read, one thread per file, and the rule looks only at the *exceptional* ones afterwards: those
whose key comes twice in the load, or that changes of the batch, the base table or a tombstone also know. Of
these it decides as of any event; a row that loses becomes a position delete on its new data file, in the
same snapshot.

Nothing written here is part of the table before the commit names it; :meth:`DirectLoad.discard` removes it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from cdc_platform.config.model import DeleteMode, Images, TableConfig
from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, Op, Position
from cdc_platform.lake.base_files import files_sql
from cdc_platform.lake.data_files import DataFileWriter, write_position_deletes
from cdc_platform.lake.inputs import EventFile, MergeInput
from cdc_platform.lake.staged_file import StagedFile
from cdc_platform.lake.staging import AT, EVENT, FILE, ROWS_PER_FILE
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted
from cdc_platform.raw.files import FileKind

#: Smaller load files are staged like changes: one sorted data file is better than many small ones.
LEAST_ROWS = 100_000


class NotDirectly(Exception):
    """The file has rows that need a closer look than a direct load gives them."""


def goes_directly(config: TableConfig, source: MergeInput, file: EventFile | None) -> bool:
    """Whether the file's rows may be written as they are read, as far as the file itself tells."""
    counted = getattr(file, "rows", None)
    rows = counted if isinstance(counted, int) else source.accepted.rows or 0
    return bool(
        config.merge_key
        and not config.partition_by
        and config.images is Images.FULL
        and config.delete_mode is DeleteMode.HARD
        and source.accepted.kind is FileKind.LOAD
        and rows >= LEAST_ROWS
    )


@dataclass(slots=True)
class _Loaded:
    """What became of one load file."""

    staged: StagedFile
    files: list[DataFile] = field(default_factory=list)
    latest: datetime | None = None


class DirectLoad:
    """The load files of one batch that were written directly into ``table``'s folder."""

    def __init__(self, con: duckdb.DuckDBPyConnection, table: Table, key: Sequence[str]) -> None:
        self._con = con
        self._table = table
        self._key = tuple(key)
        self._keys = ", ".join(quoted(alias(name)) for name in key)
        self._loaded: dict[int, _Loaded] = {}
        self._paths: list[str] = []
        self._lock = threading.Lock()

    @property
    def indexes(self) -> tuple[int, ...]:
        """The numbers of the files that went this way and brought rows."""
        return tuple(sorted(index for index, loaded in self._loaded.items() if loaded.files))

    @property
    def rows(self) -> int:
        """How many rows were written."""
        return sum(file.record_count for loaded in self._loaded.values() for file in loaded.files)

    @property
    def latest(self) -> datetime | None:
        """The latest commit time (or file time) of any row written."""
        return max((one.latest for one in self._loaded.values() if one.latest is not None), default=None)

    @property
    def position(self) -> Position:
        """The position of every row written: the start of the newest generation."""
        generations = [one.staged.input.accepted.generation for one in self._loaded.values()]
        return Position(max(generations), 0)

    def write(self, index: int, source: MergeInput, file: EventFile) -> StagedFile:
        """Write the file's rows. On an error nothing of it stays.

        Several threads may write different files. Raises NotDirectly when the file has to be staged instead.
        """
        staged = StagedFile(index, source)
        loaded = _Loaded(staged)
        writer = DataFileWriter(self._table.metadata, self._table.io, self._table.location_provider())
        try:
            loaded.files += writer.write(self._rows_of(loaded, file))
            staged.check()
        except BaseException:
            self._remove(writer.paths)
            raise
        with self._lock:
            self._loaded[index] = loaded
            self._paths += writer.paths
        return staged

    def _rows_of(self, loaded: _Loaded, file: EventFile) -> Iterable[pa.RecordBatch]:
        staged = loaded.staged
        lineage = {ROW, "_cdc_source_position"}
        for batch in file.batches():
            for row in batch.rejected:
                staged.reject_row(row.row, row.column, row.reason, row.mend, row.values)
            events = batch.events
            if not events.num_rows:
                continue
            if any(events.column(name).null_count for name in self._key):
                raise NotDirectly
            staged.ops[Op.LOAD] = staged.ops.get(Op.LOAD, 0) + events.num_rows
            self._take_time(loaded, events.column(COMMITTED_AT))
            kept = [n for n in events.schema.names if n not in lineage and not n.startswith("_cdc_before_")]
            yield events.select(kept)

    def _take_time(self, loaded: _Loaded, committed: pa.Array[Any]) -> None:
        newest = pc.max(committed).as_py() if committed.null_count < len(committed) else None
        if committed.null_count:
            newest = max(filter(None, (newest, loaded.staged.input.accepted.file_time)))
        loaded.latest = max(filter(None, (newest, loaded.latest)))

    def fold_in(self, others: Sequence[str]) -> int:
        """Add to ``events`` the written rows that are not alone with their key; return how many are.

        ``others`` are SQL queries for keys that something else of the merge or of the table knows.
        """
        if not self.indexes:
            return 0
        self._register()
        twice = f"SELECT {self._keys} FROM loaded GROUP BY {self._keys} HAVING count(*) > 1"
        known = (f"SELECT {self._keys} FROM loaded SEMI JOIN ({o}) USING ({self._keys})" for o in others)
        self._con.execute(f"CREATE TABLE exceptional_keys AS {' UNION '.join([twice, *known])}")
        self._con.execute(
            "CREATE TABLE exceptional AS "
            f"SELECT loaded.* FROM loaded JOIN exceptional_keys USING ({self._keys})"
        )
        names = ", ".join([OP, GENERATION, POSITION, COMMITTED_AT, ROW, EVENT, FILE, AT, self._keys])
        self._con.execute(
            f"""INSERT INTO events ({names})
            SELECT 'L', {GENERATION}, {POSITION}, {COMMITTED_AT}, "row", event, file,
                   coalesce({COMMITTED_AT}, file_time), {self._keys} FROM exceptional"""
        )
        found = self._con.execute("SELECT count(*) FROM exceptional").fetchone()
        return self.rows - (int(found[0]) if found else 0)

    def _register(self) -> None:
        """Make the view ``loaded`` of keys and places, read back from the files just written."""
        listing = []
        files: list[DataFile] = []
        for index in self.indexes:
            offset = 0
            for number, data in enumerate(self._loaded[index].files):
                when = self._loaded[index].staged.input.accepted.file_time
                listing.append((len(files), index, number, offset, when))
                files.append(data)
                offset += data.record_count
        columns = list(zip(*listing, strict=True))
        names = ["number", "file", "part", "first", "file_time"]
        places = pa.table({name: list(values) for name, values in zip(names, columns, strict=True)})
        self._con.register("loaded_places", places)
        self._con.execute("CREATE TABLE loaded_files AS FROM loaded_places")
        self._con.unregister("loaded_places")
        control = (GENERATION, POSITION, COMMITTED_AT)
        read = files_sql(self._table.schema(), files, [*map(alias, self._key), *control])
        self._con.execute(
            f"""CREATE VIEW loaded AS
            SELECT {self._keys}, {", ".join(control)}, p.file, p.part, p.file_time,
                   r.file_row_number AS pos, p.first + r.file_row_number AS "row",
                   p.file::BIGINT * {ROWS_PER_FILE} + p.first + r.file_row_number AS event
            FROM {read} r
            JOIN loaded_files p ON p.number = r.file_index"""
        )

    def data_files(self, table: Table, paths: list[str]) -> tuple[list[DataFile], list[DataFile]]:
        """Return the data files to append, and delete files for the rows that did not make it.

        ``paths`` receives every path written, which from now on the caller removes if need be.
        """
        paths += self._paths
        self._paths = []
        appended, deletes = [], []
        lost = self._lost()
        for index in self.indexes:
            for number, data in enumerate(self._loaded[index].files):
                positions = lost.get((index, number))
                if positions is None:
                    appended.append(data)
                elif len(positions) < data.record_count:
                    appended.append(data)
                    deletes.append(write_position_deletes(data, positions, table.io))
                    paths.append(deletes[-1].file_path)
        return appended, deletes

    def _lost(self) -> dict[tuple[int, int], pa.Array[Any]]:
        """Return the row numbers, by file and part, of written rows that the rule did not choose."""
        if not self.indexes:
            return {}
        found = self._con.execute(
            f"""SELECT x.file, x.part, x.pos FROM exceptional x LEFT JOIN fates f USING ({self._keys})
            WHERE (f.fate = 'upsert' AND f.event = x.event) IS NOT TRUE ORDER BY ALL"""
        ).to_arrow_table()
        places = found.group_by(["file", "part"]).aggregate([]).to_pylist()
        return {
            (place["file"], place["part"]): found.filter(
                (pc.field("file") == place["file"]) & (pc.field("part") == place["part"])
            )
            .column("pos")
            .combine_chunks()
            for place in places
        }

    def discard(self) -> None:
        """Remove what was written and not handed on."""
        self._remove(self._paths)
        self._paths = []

    def _remove(self, paths: Iterable[str]) -> None:
        for path in paths:
            # what cannot be removed now is an orphan, which the clean-up finds; the error before it counts
            with suppress(Exception):
                self._table.io.delete(path)
