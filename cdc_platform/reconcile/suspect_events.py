"""The raw witness of a few keys: their events in all accepted files, folded as a window's are.

Files are read newest first and one by one; of each batch only the events that touch a suspect are kept.
Files of full loads before the last complete one are left out, since nothing of them counts, except where a
suspect's base row is that old.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.errors import CdcError
from cdc_platform.events import EVENT_COLUMNS, ROW, before_name
from cdc_platform.naming import quoted
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.reconcile.fold import fold_statements
from cdc_platform.reconcile.refused_rows import RefusedRow, RefusedRows
from cdc_platform.reconcile.standing import window_files
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspects import types_in
from cdc_platform.reconcile.window_events import Standing, WindowFile
from cdc_platform.reconcile.workspace_names import in_workspace, shape_of
from cdc_platform.words import and_more

#: Beyond so many files, or bytes of them, the oldest are not read and the answer says so.
MOST_FILES = 2_000
MOST_BYTES = 4 << 30

#: Standing of an event that a later full load took the place of.
SUPERSEDED = "superseded"


@dataclass(slots=True)
class Reading:
    """Which files were read (by the numbers the tables have), and what could not be."""

    files: list[WindowFile] = field(default_factory=list)
    left_out: int = 0
    unread: dict[str, str] = field(default_factory=dict)
    #: The columns that each file has, by its key.
    columns: dict[str, frozenset[str]] = field(default_factory=dict)
    #: A file of a table without a key with changes set aside that do not tell which rows they are of, and one
    #: with such that do not tell which rows they take away; empty for none.
    untold: str = ""
    untold_taken: str = ""

    @property
    def doubt(self) -> str:
        """Why the raw witness is not whole; empty when it is."""
        parts = []
        if self.unread:
            key, why = next(iter(self.unread.items()))
            parts.append(f"raw file {and_more([key], len(self.unread))} could not be read: {why}")
        if self.left_out:
            parts.append(f"{self.left_out:,} older raw files were not read, to bound the work")
        return "; ".join(parts)


def files_of(subject: Subject, generations: Collection[int]) -> Reading:
    """Return the files to read: those that count, and those of ``generations``, newest first."""
    platform, table_id = subject.platform, subject.table.id
    open_file = partial(platform.event_file, subject.source_name, table_id)
    completed = subject.record.generation_complete
    found = [
        file
        for manifest in read_accepted(platform.objects(subject.source_name, table_id)).manifests
        for file in window_files(manifest, subject.record, subject.quarantine, open_file)
        if file.accepted.generation >= completed or file.accepted.generation in generations
    ]
    found.sort(key=lambda one: (one.accepted.file_time, one.accepted.file.key), reverse=True)
    reading, size = Reading(), 0
    for file in found:
        size += file.accepted.file.size
        if len(reading.files) >= MOST_FILES or size > MOST_BYTES:
            break
        reading.files.append(file)
    reading.left_out = len(found) - len(reading.files)
    return reading


def load_suspect_events(
    connection: duckdb.DuckDBPyConnection,
    subject: Subject,
    generations: Collection[int],
    refused: RefusedRows | None = None,
) -> Reading:
    """Make ``raw_events`` and ``effects`` of the events that touch a key of ``suspects``.

    Values are in base's types: what a merge makes of them. Beside the columns of a window's ``raw_events``
    there is ``standing``, where the event is on its way to base. ``refused`` takes the rows that are no
    events of files that wait, or were given up, as a whole: no item of the quarantine tells of them.
    """
    return load_events(connection, subject, files_of(subject, generations), refused)


def load_events(
    connection: duckdb.DuckDBPyConnection,
    subject: Subject,
    reading: Reading,
    refused: RefusedRows | None = None,
) -> Reading:
    """Make the tables of :func:`load_suspect_events` of the files in ``reading``."""
    columns, key = subject.view.columns, subject.key
    _create(connection, columns, key)
    types = types_in(connection, columns)
    for number, file in enumerate(reading.files):
        try:
            names = _insert_file(connection, number, file, subject, types, refused)
            reading.columns[file.accepted.file.key] = frozenset(names)
        except CdcError as error:
            reading.unread[file.accepted.file.key] = error.what
        except (duckdb.Error, pa.ArrowException) as error:
            reading.unread[file.accepted.file.key] = str(error)
    for statement in fold_statements(key, tuple(columns.names), 0):
        connection.execute(statement)
    return reading


def _create(connection: duckdb.DuckDBPyConnection, columns: pa.Schema, key: Sequence[str]) -> None:
    before: list[pa.Field[Any]] = [pa.field(before_name(name), columns.field(name).type) for name in key]
    extra: list[pa.Field[Any]] = [
        pa.field("file", pa.int32()),
        pa.field("standing", pa.string()),
        pa.field("applied", pa.bool_()),
    ]
    plain: list[pa.Field[Any]] = [
        pa.field(one.name, one.type) for one in (*EVENT_COLUMNS, *shape_of(columns), *before)
    ]
    connection.register("shape", pa.schema([*extra, *plain]).empty_table())
    connection.execute("CREATE OR REPLACE TEMP TABLE raw_events AS SELECT * FROM shape")
    connection.unregister("shape")


def _insert_file(
    connection: duckdb.DuckDBPyConnection,
    number: int,
    file: WindowFile,
    subject: Subject,
    types: dict[str, str],
    refused: RefusedRows | None,
) -> list[str]:
    """Insert the file's events that touch a suspect, and return the columns it has."""
    events, key = file.open(), subject.key
    names: list[str] = events.schema.names
    if any(column not in names for column in key):
        return names
    taken = {name: types[name] for name in names if name in types}
    taken |= {before_name(name): types[name] for name in key if before_name(name) in names}
    typed = [
        f"TRY_CAST(i.{quoted(name)} AS {type_}) AS {in_workspace(name)}" for name, type_ in taken.items()
    ]
    control = [f"i.{quoted(name)}" for name in EVENT_COLUMNS.names if name in names]
    sides = [key, *([tuple(map(before_name, key))] if before_name(key[0]) in names else [])]
    touched = " OR ".join(f"EXISTS (FROM suspects k WHERE {_is_suspect(side, key, taken)})" for side in sides)
    standing = standing_sql(file, subject)
    statement = f"""INSERT INTO raw_events BY NAME
        SELECT {number} AS file, {standing} AS standing, ({standing}) = 'applied' AS applied,
               {", ".join([*control, *typed])}
        FROM incoming i WHERE {touched}"""
    for batch in events.batches():
        connection.register("incoming", pa.Table.from_batches([batch.events]))
        connection.execute(statement)
        connection.unregister("incoming")
        if refused is not None and file.standing in (Standing.QUARANTINED, Standing.DISCARDED):
            given_up = file.standing is Standing.DISCARDED
            name, generation = file.accepted.file.key, file.accepted.generation
            for row in batch.rejected:
                refused.add(RefusedRow(name, row.row, row.reason, given_up, generation), row.values)
    return names


def _is_suspect(side: Sequence[str], key: Sequence[str], types: dict[str, str]) -> str:
    # a key column the before image leaves out did not change
    return " AND ".join(
        f"TRY_CAST(i.{quoted(name if name in types else own)} AS {types[own]}) = k.{in_workspace(own)}"
        for name, own in zip(side, key, strict=True)
    )


def standing_sql(file: WindowFile, subject: Subject) -> str:
    """Return the SQL for where an event of the file stands: its row may wait, or be given up, by itself."""
    whole = f"'{file.standing.value}'"
    if file.accepted.generation < subject.record.generation_complete:
        whole = f"'{SUPERSEDED}'"
    cases = [
        f"WHEN {ROW} IN ({', '.join(map(str, sorted(rows)))}) THEN '{standing.value}'"
        for rows, standing in (
            (file.held_rows, Standing.QUARANTINED),
            (file.discarded_rows, Standing.DISCARDED),
        )
        if rows
    ]
    return f"CASE {' '.join(cases)} ELSE {whole} END" if cases else whole
