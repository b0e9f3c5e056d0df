"""The raw witness: the change events of a window's files, read again and folded in SQL of its own.

Shares no code with the merge: what it says a row should be is a second opinion. Everything lives in temporary
tables of one DuckDB connection, which spills to disk, so memory stays bounded whatever the window holds:

* ``raw_events``: every readable event; of files not yet applied only key and position.
* ``effects``: what each event does to a key; an update that changes the key has an effect on both keys.
* ``keys``: each key the window touches, numbered.
* ``last_effects``: per key the applied effects with the highest position. Several only when positions tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

import duckdb
import pyarrow as pa

from cdc_platform.errors import RawFileError, ReconciliationError
from cdc_platform.events import BEFORE_PREFIX, EVENT_COLUMNS, GENERATION, ROW, before_name
from cdc_platform.naming import quoted
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.reconcile.fold import fold_statements
from cdc_platform.reconcile.typed import common_type
from cdc_platform.reconcile.workspace_names import in_workspace, shape_of


class Rejected(Protocol):
    """A row the reader could not type."""

    @property
    def row(self) -> int: ...

    @property
    def reason(self) -> str: ...

    @property
    def values(self) -> Mapping[str, Any]: ...


class Batch(Protocol):
    """A bounded part of a file's events."""

    @property
    def events(self) -> pa.RecordBatch: ...

    @property
    def rejected(self) -> Sequence[Rejected]: ...


class Events(Protocol):
    """A raw file opened as a normalised event stream (``formats.dms_reader.EventFile``)."""

    @property
    def schema(self) -> pa.Schema: ...

    def batches(self) -> Iterator[Batch]: ...


class Standing(StrEnum):
    """Where an accepted file is on its way to base."""

    APPLIED = "applied"
    PENDING = "pending"
    QUARANTINED = "quarantined"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class WindowFile:
    """An accepted file; rows in ``held_rows`` are in quarantine, those in ``discarded_rows`` given up."""

    accepted: AcceptedFile
    standing: Standing
    open: Callable[[], Events]
    held_rows: frozenset[int] = frozenset()
    discarded_rows: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class WindowEvents:
    """What was read. ``columns`` are the source columns of the applied files, in their common types."""

    key: tuple[str, ...]
    key_columns: pa.Schema
    columns: pa.Schema
    rows: int
    pending_rows: int
    rejected_rows: int
    held_rows: int
    keyless_rows: int
    stale_rows: int
    keys: int
    applied_files: int
    pending_files: tuple[str, ...]
    quarantined_files: tuple[str, ...]
    discarded_files: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]
    #: Rows of applied or pending files that were discarded from quarantine, as a person knows them.
    discarded_places: tuple[str, ...] = ()
    #: Keys of the files in ``raw_events``, in the order of their numbers, and how many columns each has.
    read_files: tuple[tuple[str, int], ...] = ()
    #: Keys of files that base has applied in this window and nothing lists any more.
    forgotten_files: tuple[str, ...] = ()


@dataclass(slots=True)
class _Counts:
    rows: int = 0
    pending: int = 0
    rejected: int = 0
    held: int = 0
    unreadable: list[tuple[str, str]] = field(default_factory=list)


def load_window_events(
    connection: duckdb.DuckDBPyConnection,
    files: Sequence[WindowFile],
    *,
    key: tuple[str, ...],
    base_columns: pa.Schema,
    completed_generation: int | None,
    where: str,
) -> WindowEvents:
    """Read the files into the temporary tables of this module; without a key only into ``raw_events``.

    A file that cannot be read any more is listed in ``unreadable``, never passed over. Raises
    ReconciliationError when files and base hold a column in types that do not compare by value.
    """
    opened, unreadable = _open_all(files)
    applied = [events.schema for file, events in opened if file.standing is Standing.APPLIED]
    columns = _common_columns(applied, key, base_columns, where)
    schemas = [columns, base_columns, *(events.schema for _, events in opened)]
    keys = pa.schema([_key_field(column, schemas, base_columns, where) for column in key])
    _create(connection, columns, keys)
    completed, counts = completed_generation or 0, _Counts(unreadable=unreadable)
    for number, (file, events) in enumerate(opened):
        _insert_file(connection, number, file, events, key, counts)
    if key:
        for statement in fold_statements(key, tuple(columns.names), completed):
            connection.execute(statement)
    return WindowEvents(
        key=key,
        key_columns=keys,
        columns=columns,
        rows=counts.rows,
        pending_rows=counts.pending,
        rejected_rows=counts.rejected,
        held_rows=counts.held,
        keyless_rows=_keyless(connection, key),
        stale_rows=count(connection, f"SELECT count(*) FROM raw_events WHERE {GENERATION} < {completed}"),
        keys=count(connection, "SELECT count(*) FROM keys") if key else 0,
        applied_files=len(applied),
        pending_files=_keys_of(files, Standing.PENDING),
        quarantined_files=_keys_of(files, Standing.QUARANTINED),
        discarded_files=_keys_of(files, Standing.DISCARDED),
        unreadable=tuple(counts.unreadable),
        discarded_places=_discarded_places(files),
        read_files=tuple((file.accepted.file.key, _width(one.schema)) for file, one in opened),
    )


def count(connection: duckdb.DuckDBPyConnection, sql: str) -> int:
    """Return the single number ``sql`` yields."""
    row = connection.execute(sql).fetchone()
    return int(row[0]) if row and row[0] is not None else 0


def _keyless(connection: duckdb.DuckDBPyConnection, key: tuple[str, ...]) -> int:
    null_key = " OR ".join(f"{in_workspace(column)} IS NULL" for column in key) or "false"
    return count(connection, f"SELECT count(*) FROM raw_events WHERE {null_key}")


def _discarded_places(files: Sequence[WindowFile]) -> tuple[str, ...]:
    return tuple(
        f"{file.accepted.file.key} row {row}" for file in files for row in sorted(file.discarded_rows)
    )


def _keys_of(files: Sequence[WindowFile], standing: Standing) -> tuple[str, ...]:
    return tuple(file.accepted.file.key for file in files if file.standing is standing)


def _open_all(
    files: Sequence[WindowFile],
) -> tuple[list[tuple[WindowFile, Events]], list[tuple[str, str]]]:
    opened: list[tuple[WindowFile, Events]] = []
    unreadable: list[tuple[str, str]] = []
    for file in files:
        if file.standing not in (Standing.APPLIED, Standing.PENDING):
            continue
        try:
            opened.append((file, file.open()))
        except RawFileError as error:
            unreadable.append((file.accepted.file.key, str(error)))
    return opened, unreadable


def _is_source_column(name: str) -> bool:
    return name not in EVENT_COLUMNS.names and not name.startswith(BEFORE_PREFIX)


def _width(schema: pa.Schema) -> int:
    return sum(map(_is_source_column, schema.names))


def _common_columns(
    schemas: Sequence[pa.Schema], key: tuple[str, ...], base_columns: pa.Schema, where: str
) -> pa.Schema:
    types: dict[str, pa.DataType] = {}
    base = {column.name: column.type for column in base_columns}
    for schema in schemas:
        for column in schema:
            if not _is_source_column(column.name):
                continue
            known = types.get(column.name, base.get(column.name, column.type))
            both = common_type(known, column.type)
            if both is None and column.name in key:
                both = known
            if both is None:
                raise _not_comparable(column.name, known, column.type, where)
            types[column.name] = both
    return pa.schema([pa.field(name, type_) for name, type_ in types.items()])


def _key_field(
    column: str, schemas: Sequence[pa.Schema], base_columns: pa.Schema, where: str
) -> pa.Field[pa.DataType]:
    """Return the key column in the type that files, applied or not, and base have in common."""
    type_: pa.DataType = pa.null()
    for schema in schemas:
        if column in schema.names:
            both = common_type(type_, schema.field(column).type)
            if both is None and column in base_columns.names:
                # Loads and logs of one source do not always agree on number or text; base has decided.
                return pa.field(column, base_columns.field(column).type)
            if both is None:
                raise _not_comparable(column, type_, schema.field(column).type, where)
            type_ = both
    return pa.field(column, pa.string() if pa.types.is_null(type_) else type_)


def _not_comparable(column: str, left: pa.DataType, right: pa.DataType, where: str) -> ReconciliationError:
    return ReconciliationError(
        f"column {column!r} is {left} in one witness and {right} in another, which do not compare by value",
        where=where,
        mend="declare the column's type in `columns` of the table, then reload the table",
    )


def _create(connection: duckdb.DuckDBPyConnection, columns: pa.Schema, keys: pa.Schema) -> None:
    fields: dict[str, pa.Field[pa.DataType]] = {c.name: c for c in [*EVENT_COLUMNS, *columns]}
    fields.update({column.name: column for column in keys})
    fields.update({before_name(c.name): pa.field(before_name(c.name), c.type) for c in keys})
    extra: list[pa.Field[pa.DataType]] = [pa.field("file", pa.int32()), pa.field("applied", pa.bool_())]
    shape = pa.schema([*extra, *shape_of(pa.schema(fields.values()))])
    connection.register("shape", shape.empty_table())
    connection.execute("CREATE OR REPLACE TEMP TABLE raw_events AS SELECT * FROM shape")
    connection.unregister("shape")


def _insert_file(
    connection: duckdb.DuckDBPyConnection,
    number: int,
    file: WindowFile,
    events: Events,
    key: tuple[str, ...],
    counts: _Counts,
) -> None:
    applied = file.standing is Standing.APPLIED
    wanted = (
        [n for n in events.schema.names if not n.startswith(BEFORE_PREFIX)]
        if applied
        else [n for n in events.schema.names if n in EVENT_COLUMNS.names or n in key]
    )
    wanted += [before_name(c) for c in key if before_name(c) in events.schema.names]
    left_out = file.held_rows | file.discarded_rows
    names = ", ".join(f"{quoted(name)} AS {in_workspace(name)}" for name in wanted)
    condition = f"WHERE {quoted(ROW)} NOT IN ({', '.join(map(str, sorted(left_out)))})" if left_out else ""
    sql = (
        f"INSERT INTO raw_events BY NAME SELECT {number} AS file, {applied} AS applied, {names} "
        f"FROM incoming {condition}"
    )
    counts.held += len(file.held_rows)
    known = file.held_rows | file.discarded_rows
    try:
        for batch in events.batches():
            connection.register("incoming", pa.Table.from_batches([batch.events]))
            connection.execute(sql)
            connection.unregister("incoming")
            counts.rows += batch.events.num_rows
            counts.pending += 0 if applied else batch.events.num_rows
            counts.rejected += sum(1 for rejected in batch.rejected if rejected.row not in known)
    except RawFileError as error:
        # What was read of it stays: it can only add keys to look at, and the verdict is no longer MATCH.
        counts.unreadable.append((file.accepted.file.key, str(error)))
