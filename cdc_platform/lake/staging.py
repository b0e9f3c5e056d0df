"""The events of a batch in one DuckDB table, which spills to disk when it outgrows the memory limit.

Values are cast to the types the base table will have; where a cast could lose something every value is
checked, and a row that would lose is rejected. Each file goes in whole or not at all.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.types import PrimitiveType

from cdc_platform.errors import UnreadableRawFile
from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, before_name
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.inputs import EventFile, MergeInput
from cdc_platform.lake.quarantine import MAX_REJECTED_ROWS
from cdc_platform.lake.schema import FileColumns
from cdc_platform.lake.staged_file import StagedFile
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted, sql_text

#: Names one event of the batch: file number and row number in one integer.
EVENT = "_cdc_event"
FILE = "_cdc_file"
#: Commit time where the event has one, else the file's time.
AT = "_cdc_at"
#: What tells files apart in :data:`EVENT`.
ROWS_PER_FILE = 2**40
#: Of so few events a batch is done one step after another, and with as few steps as possible.
FEW_EVENTS = 2_000
#: Columns of ``events`` before the source's own.
_CONTROL = {
    OP: "VARCHAR",
    GENERATION: "BIGINT",
    POSITION: "DECIMAL(38, 0)",
    COMMITTED_AT: "TIMESTAMPTZ",
    ROW: "BIGINT",
}


def place(generation: str, position: str) -> str:
    """Return SQL for a position as one comparable value, with fields ``g`` and ``p``."""
    return f"struct_pack(g := {generation}, p := {position})"


@dataclass(frozen=True, slots=True)
class _Kept:
    """The events of one file, as they came."""

    staged: StagedFile
    columns: FileColumns
    events: pa.Table


class Staging:
    """The table ``events`` of one workspace."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        key: Sequence[str],
        columns: Mapping[str, PrimitiveType],
        before: Sequence[str],
        *,
        in_memory: int = 0,
    ) -> None:
        """``in_memory`` is how many bytes of events may stay as they came, where nothing will change them."""
        self._con = con
        self._key = tuple(key)
        self._types = {name: duckdb_type(kind) for name, kind in columns.items()}
        aliased = {alias(name): kind for name, kind in self._types.items()}
        self._before = tuple(before)
        self._memory = in_memory
        self._lock = threading.Lock()
        self._is_made = False
        self._kept: dict[int, _Kept] = {}
        self._fields = {
            **_CONTROL,
            EVENT: "BIGINT",
            FILE: "INTEGER",
            AT: "TIMESTAMPTZ",
            **aliased,
            **{before_name(alias(name)): self._types[name] for name in before},
        }
        self._declared = ", ".join(f"{quoted(n)} {t}" for n, t in self._fields.items())
        #: Events that the rule, not the reader, sets aside, with the cause.
        con.execute(f"CREATE TABLE set_aside (cause VARCHAR, {self._declared})")

    def add(
        self,
        index: int,
        source: MergeInput,
        file: EventFile,
        columns: FileColumns,
        only_rows: Collection[int] | None,
    ) -> StagedFile:
        """Stage a file (or only some of its rows). On an error none of its rows stay.

        Several threads may stage different files.
        """
        staged = StagedFile(index, source, is_part=only_rows is not None)
        with ExitStack() as transaction:
            self._add(transaction, staged, file, columns, only_rows)
        return staged

    def _add(
        self,
        transaction: ExitStack,
        staged: StagedFile,
        file: EventFile,
        columns: FileColumns,
        only_rows: Collection[int] | None,
    ) -> None:
        con: duckdb.DuckDBPyConnection | None = None
        kept: list[pa.RecordBatch] = []
        try:
            for batch in file.batches():
                for row in batch.rejected:
                    if only_rows is None or row.row in only_rows:
                        staged.reject_row(row.row, row.column, row.reason, row.mend, row.values)
                if not batch.events.num_rows:
                    continue
                if not staged.ops and only_rows is None and self._may_keep(batch.events, columns):
                    kept.append(batch.events)
                    continue
                con = con or transaction.enter_context(self._inserting())
                for events in (*kept, batch.events):
                    self._insert(con, staged, events, columns, only_rows)
                kept = []
            self._keep(staged, columns, kept)
            staged.check()
        except duckdb.OperationalError:
            # the disk or the memory limit, not the file: nothing is set aside, the workspace is given up
            raise
        except duckdb.Error as e:
            raise UnreadableRawFile(
                f"its rows cannot be taken in: {str(e).splitlines()[0]}",
                where=staged.input.accepted.file.key,
                mend="correct the file or its `columns`, then release it",
            ) from e

    @contextmanager
    def _inserting(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Yield a connection of its own to the table ``events``; what it does is done whole or not at all."""
        with closing(self._con.cursor()) as con:
            with self._lock:
                if not self._is_made:
                    con.execute(f"CREATE TABLE events ({self._declared})")
                    self._is_made = True
            con.execute("BEGIN")
            yield con
            con.execute("COMMIT")

    def _insert(
        self,
        con: duckdb.DuckDBPyConnection,
        staged: StagedFile,
        batch: pa.RecordBatch,
        columns: FileColumns,
        only_rows: Collection[int] | None,
    ) -> None:
        con.register("incoming", pa.Table.from_batches([batch]))
        values = self._values(staged, columns)
        faults = self._faults(batch, columns, values)
        wanted = "" if only_rows is None else f"{ROW} IN ({', '.join(map(str, sorted(only_rows)))})"
        bad = _find_faults(con, staged, faults, wanted)
        conditions = [f"({condition})" for condition in (wanted, f"NOT {bad}" if bad else "") if condition]
        where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
        names = ", ".join(map(quoted, values))
        con.execute(f"INSERT INTO events ({names}) SELECT {', '.join(values.values())} FROM incoming{where}")
        counts = con.execute(f"SELECT {OP}, count(*) FROM incoming{where} GROUP BY ALL").fetchall()
        for op, count in counts:
            staged.ops[op] = staged.ops.get(op, 0) + count
        con.unregister("incoming")

    def _values(self, staged: StagedFile, columns: FileColumns) -> dict[str, str]:
        """Return the SQL of each column of ``events`` that a file's batches have."""
        values = {name: quoted(name) for name in _CONTROL}
        values[EVENT] = f"{staged.index * ROWS_PER_FILE} + {ROW}"
        values[FILE] = str(staged.index)
        moment = f"TIMESTAMPTZ {sql_text(staged.input.accepted.file_time.isoformat())}"
        values[AT] = f"coalesce({quoted(COMMITTED_AT)}, {moment})"
        for name in columns.present:
            values[alias(name)] = self._cast(name, name, columns)
        for name in columns.before:
            values[before_name(alias(name))] = self._cast(before_name(name), name, columns)
        for name in map(alias, self._key if set(self._key) <= set(columns.before) else ()):
            # A delete may carry its key in the before image only.
            after, before = values[name], values[before_name(name)]
            values[name] = f"CASE WHEN {OP} = 'D' THEN coalesce({after}, {before}) ELSE {after} END"
        return values

    def _may_keep(self, batch: pa.RecordBatch, columns: FileColumns) -> bool:
        """Whether a batch may stay as it came: nothing in it to check, and room for it."""
        if columns.checked or not self._memory or any(batch.column(name).null_count for name in self._key):
            return False
        with self._lock:
            self._memory -= batch.nbytes
            return self._memory > 0

    def _keep(self, staged: StagedFile, columns: FileColumns, batches: list[pa.RecordBatch]) -> None:
        if batches:
            events = pa.Table.from_batches(batches)
            counts: Any = cast(Any, pc.value_counts(events.column(OP))).to_pylist()
            staged.ops = {each["values"]: each["counts"] for each in counts}
            with self._lock:
                self._kept[staged.index] = _Kept(staged, columns, events)

    def finish(self) -> None:
        """Make ``events`` whole once every file is staged: of what was kept alone, or with what was inserted.

        Many events that were kept are a view, so that they are not copied; a few are read but once.
        """
        if self._kept and not self._is_made:
            rows = sum(kept.events.num_rows for kept in self._kept.values())
            if rows > FEW_EVENTS:
                # which Arrow's scan does not know how to apply
                self._con.execute("SET disabled_optimizers = 'join_filter_pushdown'")
            kind = "TEMP VIEW" if rows > FEW_EVENTS else "TABLE"
            self._con.execute(f"CREATE {kind} events AS {self._kept_sql()}")
            return
        if not self._is_made:
            self._con.execute(f"CREATE TABLE events ({self._declared})")
        if self._kept:
            self._con.execute(f"INSERT INTO events {self._kept_sql()}")
            for index in self._kept:
                self._con.unregister(f"kept_{index}")
            self._kept = {}

    def _kept_sql(self) -> str:
        """Return SQL for the events that were kept."""
        selects = []
        for index, kept in sorted(self._kept.items()):
            self._con.register(f"kept_{index}", kept.events)
            values = {name: f"NULL::{kind}" for name, kind in self._fields.items()}
            values |= self._values(kept.staged, kept.columns)
            named = (f"({values[name]})::{kind} AS {quoted(name)}" for name, kind in self._fields.items())
            selects.append(f"SELECT {', '.join(named)} FROM kept_{index}")
        return " UNION ALL ".join(selects)

    @property
    def kept(self) -> Mapping[int, pa.Table]:
        """The events that stayed as they came, by file; after :meth:`finish`, all events or none."""
        return {index: kept.events for index, kept in self._kept.items()}

    def _cast(self, name: str, column: str, columns: FileColumns) -> str:
        cast = "TRY_CAST" if column in columns.checked else "CAST"
        return f"{cast}({quoted(name)} AS {self._types[column]})"

    def _faults(
        self, batch: pa.RecordBatch, columns: FileColumns, values: Mapping[str, str]
    ) -> list[tuple[str, str, str, str]]:
        """Return (column, condition, reason, mend) of what a row of this batch may be rejected for."""
        faults = []
        for name in self._key:
            if batch.column(name).null_count or name in columns.checked:
                reason = "the merge key is NULL"
                mend = "mend the row at the source, or correct `merge_key`; then release it"
                faults.append(
                    (name, f"{values[alias(name)]} IS NULL AND {quoted(name)} IS NULL", reason, mend)
                )
        for name in columns.checked:
            pairs = [name, *([before_name(name)] if name in columns.before else [])]
            for given in pairs:
                cast = f"TRY_CAST({quoted(given)} AS {self._types[name]})"
                lossy = (
                    f"{quoted(given)} IS NOT NULL AND "
                    f"coalesce({cast}::VARCHAR <> {quoted(given)}::VARCHAR, true)"
                )
                reason = f"the value does not fit the table's type {self._types[name]} without loss"
                mend = f"declare the type of {name!r} under `columns`, or mend the row; then release it"
                faults.append((given, lossy, reason, mend))
        return faults


def _find_faults(
    con: duckdb.DuckDBPyConnection,
    staged: StagedFile,
    faults: list[tuple[str, str, str, str]],
    wanted: str,
) -> str:
    """Reject the faulty rows of ``incoming``; return the condition that matches them, '' for none."""
    conditions = []
    scope = f" AND {wanted}" if wanted else ""
    for column, condition, reason, mend in faults:
        conditions.append(f"coalesce({condition}, false)")
        query = f"SELECT * FROM incoming WHERE ({condition}){scope} LIMIT {MAX_REJECTED_ROWS + 1}"
        for values in con.execute(query).to_arrow_table().to_pylist():
            staged.reject_row(values[ROW], column, reason, mend, values)
    return f"({' OR '.join(conditions)})" if conditions else ""
