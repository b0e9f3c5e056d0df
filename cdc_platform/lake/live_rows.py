"""The live rows of a base table as SQL of our own: its data files by field id, without the deleted positions.

Files that no delete file touches are read as they are; only the others pay, with one anti-join on a number
made of file and row. The delete files may be of one data file (ours) or of many (Spark's). Everything
streams, so memory stays within the engine's limit whatever the size of the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.schema import Schema
from pyiceberg.table import Table

from cdc_platform.errors import MergeError
from cdc_platform.lake.base_files import BaseFile, local_path, read_sql
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.damage import damage
from cdc_platform.naming import quoted, sql_text
from cdc_platform.parquet_sql import parquet_sql

#: Bits of a row number in the number that names a row of a file list.
_ROW_BITS = 40

#: Where a row lies, in a located table expression.
DATA_FILE = "_cdc_data_file"
DATA_ROW = "_cdc_data_row"
#: The same as numbers: the index of the row's file, and its number in the file.
FILE = "_cdc_file"
POS = "_cdc_pos"


@dataclass(frozen=True, slots=True)
class LiveFiles:
    """The data files of one snapshot with their delete files, and the schema they are read with."""

    schema: Schema
    files: tuple[BaseFile, ...]

    def sql(
        self,
        columns: Sequence[str] | None = None,
        *,
        files: Sequence[BaseFile] | None = None,
        located: bool = False,
        with_place: bool = False,
    ) -> str:
        """Return a table expression of the live rows of ``files`` (default: all), in no order.

        Its columns are ``columns`` (default: the schema's) in that order. A column whose values a file does
        not have is NULL in its rows. ``located`` adds each row's data file and number in it, as
        :data:`DATA_FILE` (a path as :func:`local_path` gives it) and :data:`DATA_ROW`. ``with_place`` adds
        them as numbers, :data:`FILE` being the file's index: small enough to be kept for every row.
        """
        names = [field.name for field in self.schema.fields] if columns is None else list(columns)
        chosen = self.files if files is None else files
        clean = [file for file in chosen if not file.deletes]
        touched = [file for file in chosen if file.deletes]
        selected = ", ".join(f"r.{_read_name(self.schema, name)} AS {quoted(name)}" for name in names)
        virtual = "filename, file_index, file_row_number, " if located or with_place else ""
        if located:
            selected += f", r.filename AS {DATA_FILE}, r.file_row_number AS {DATA_ROW}"
        parts = []
        if clean:
            place = _place(clean) if with_place else ""
            parts.append(f"SELECT {selected}{place} FROM {self._read(clean, names)} r")
        if touched:
            place = _place(touched) if with_place else ""
            parts.append(
                f"SELECT {selected}{place} FROM (SELECT *, {virtual}"
                f"{_row_number('file_index', 'file_row_number')} AS row "
                f"FROM {self._read(touched, names)}) r "
                f"ANTI JOIN ({_deleted_rows(touched)}) d ON d.row = r.row"
            )
        return f"({' UNION ALL '.join(parts) or self._nothing(names, located)})"

    def _read(self, files: Sequence[BaseFile], names: Sequence[str]) -> str:
        """Return SQL that reads columns of data files, under names no file can have."""
        aliases = {name: _read_name(self.schema, name) for name in names}
        return read_sql(self.schema, [file.data for file in files], aliases)

    def _nothing(self, names: Sequence[str], located: bool) -> str:
        kinds = {field.name: duckdb_type(field.field_type) or "VARCHAR" for field in self.schema.fields}
        columns = {name: kinds[name] for name in names}
        columns |= {DATA_FILE: "VARCHAR", DATA_ROW: "BIGINT"} if located else {}
        nothing = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in columns.items())
        return f"SELECT {nothing} WHERE false"


def live_files(table: Table, snapshot_id: int | None = None) -> LiveFiles:
    """Return the files of a snapshot (default: the current one) with the schema it was written with.

    Raises MergeError when there is no such snapshot, or another writer left files in it that only other
    readers can read: equality deletes, deletion vectors, other formats than Parquet.
    """
    if snapshot_id is None and table.current_snapshot() is None:
        return LiveFiles(table.schema(), ())
    scan = table.scan(snapshot_id=snapshot_id)
    where = ".".join(table.name())
    if scan.snapshot() is None:
        mend = "take one of the table's snapshots; expired ones are gone"
        raise MergeError(f"there is no snapshot {snapshot_id}", where=where, mend=mend)
    schema = scan.projection()
    try:
        tasks = list(scan.plan_files())
    except ValueError as e:
        if (damaged := damage(e, where)) is not None:
            raise damaged from e
        mend = "let the writer that made them compact the table, then read it again"
        raise MergeError(f"the table's delete files cannot be read: {e}", where=where, mend=mend) from e
    files = []
    for index, task in enumerate(tasks):
        deletes = tuple(sorted(task.delete_files, key=lambda file: file.file_path))
        for file in (task.file, *deletes):
            _check(file, where)
        files.append(BaseFile(index, task.file, deletes))
    return LiveFiles(schema, tuple(files))


def live_sql(table: Table, snapshot_id: int | None = None) -> str:
    """Return the table expression of all live rows of a snapshot; see :func:`live_files`."""
    return live_files(table, snapshot_id).sql()


def _check(file: DataFile, where: str) -> None:
    """Raise MergeError when ``file`` is of a kind this reader does not read."""
    if file.content == DataFileContent.EQUALITY_DELETES:
        kind = "equality deletes"
    elif file.file_format == FileFormat.PUFFIN:
        kind = "deletion vectors"
    elif file.file_format != FileFormat.PARQUET:
        kind = f"{file.file_format.value} files"
    else:
        return
    raise MergeError(
        f"the table has {kind}, which this reader does not read: {file.file_path}",
        where=where,
        mend="let the writer that made them compact the table into format version 2 and Parquet",
    )


def _read_name(schema: Schema, column: str) -> str:
    """Return the name a column is read under: one that hides no virtual column of the Parquet reader."""
    return f"field_{schema.find_field(column).field_id}"


def _row_number(file: str, row: str) -> str:
    return f"({file}::BIGINT << {_ROW_BITS}) | {row}"


def _place(files: Sequence[BaseFile]) -> str:
    """Return SQL for the place of a row that is read from ``files`` as one list."""
    indexes = ", ".join(str(file.index) for file in files)
    return f", ([{indexes}])[r.file_index::INTEGER + 1]::INTEGER AS {FILE}, r.file_row_number AS {POS}"


def deleted_places_sql(files: Sequence[BaseFile]) -> str:
    """Return a query for (:data:`FILE`, :data:`POS`) of the deleted rows of ``files``, with repetitions."""
    touched = [file for file in files if file.deletes]
    if not touched:
        return f"SELECT 0 AS {FILE}, 0::BIGINT AS {POS} WHERE false"
    return f"SELECT f.number AS {FILE}, d.pos AS {POS} FROM {_deletes(touched, [f.index for f in touched])}"


def _deleted_rows(files: Sequence[BaseFile]) -> str:
    """Return SQL for the deleted rows of ``files``, numbered by their place in that list."""
    return f"SELECT {_row_number('f.number', 'd.pos')} AS row FROM {_deletes(files, range(len(files)))}"


def _deletes(files: Sequence[BaseFile], numbers: Sequence[int]) -> str:
    """Return SQL for the rows of the delete files of ``files``, joined with the files' numbers."""
    pairs = zip(numbers, files, strict=True)
    listing = ", ".join(f"({number}, {sql_text(file.data.file_path)})" for number, file in pairs)
    paths = sorted({local_path(d.file_path) for file in files for d in file.deletes})
    rows = parquet_sql(paths, by_name=True)
    return f"{rows} d JOIN (VALUES {listing}) f(number, path) ON f.path = d.file_path"
