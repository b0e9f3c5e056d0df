"""The files of a Parquet export, by what their schemas say: which columns each has, and in which types.

Files are read in groups of one schema, each with casts of its own, since the engine would bring the types of
all files to one that may hold less. What folders are called is no column.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.io import load_file_io

from cdc_platform.lake.catalog import Lake
from cdc_platform.naming import quoted, safe_name, sql_text
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.reconcile.export_columns import HeldColumn, cast_sql, held_column, one_type
from cdc_platform.reconcile.export_listing import literal

_BATCH_ROWS = 65_536


@dataclass(frozen=True, slots=True)
class Part:
    """The files of one schema."""

    files: tuple[str, ...]
    columns: tuple[HeldColumn, ...]

    def named(self, column: str) -> list[HeldColumn]:
        """Return the columns with this safe name."""
        return [one for one in self.columns if safe_name(one.name) == column]


@dataclass(frozen=True, slots=True)
class Found:
    """A column in all files. ``type`` holds each of its values; it is None where nothing does.

    ``doubt`` says why it cannot be compared. ``conflict``: its types in the files have none in common.
    """

    name: str
    label: str
    type: pa.DataType | None
    doubt: str = ""
    conflict: str = ""


@dataclass(frozen=True, slots=True)
class Export:
    """The files of an export, with their columns."""

    parts: tuple[Part, ...]

    @property
    def names(self) -> dict[str, str]:
        """Return the safe names of all columns, each with a name a file has it under."""
        return {safe_name(one.name): one.name for part in reversed(self.parts) for one in part.columns}

    def found(self, column: str, in_base: pa.DataType) -> Found:
        """Return what the files hold in a column they have, which base has as ``in_base``."""
        held = [(part, one) for part in self.parts for one in part.named(column)]
        first = held[0][1]
        labels = dict.fromkeys(one.label for _, one in held)
        label = " and ".join(labels)
        for part in self.parts:
            if not part.named(column):
                return Found(first.name, label, None, "not in every file of the export")
        for part, one in held:
            if one.doubt:
                return Found(first.name, label, None, f"{one.doubt} ({part.files[0]})")
        kinds = [_with_zone_of(one, in_base) for _, one in held]
        kind = one_type(kinds)
        if kind is None:
            return Found(first.name, label, None, conflict=_conflict(column, held, kinds))
        return Found(first.name, label, in_base if pa.types.is_null(kind) else kind)

    def relation(self, columns: Mapping[str, pa.DataType]) -> str | None:
        """Return all rows as a FROM item, with ``columns`` in their types; None: some do not convert."""
        selects = []
        for part in self.parts:
            values = []
            for column, kind in columns.items():
                value = cast_sql(held[0], kind) if len(held := part.named(column)) == 1 else None
                if value is None:
                    return None
                values.append(f"{value} AS {quoted(column)}")
            selects.append(f"SELECT {', '.join(values)} FROM {_read(part.files)}")
        return f"({' UNION ALL '.join(selects)})"


def _with_zone_of(held: HeldColumn, in_base: pa.DataType) -> pa.DataType:
    return in_base if held.zone_untold and in_base == pa.timestamp("us") else held.type


def _conflict(column: str, held: Sequence[tuple[Part, HeldColumn]], kinds: Sequence[pa.DataType]) -> str:
    """Say which two files hold a column in types without a common one."""
    pairs = ((one, other) for one in range(len(held)) for other in range(one))
    first, second = next(
        (pair[::-1] for pair in pairs if one_type([kinds[at] for at in pair]) is None), (0, -1)
    )
    sides = (f"{held[at][1].label} in {held[at][0].files[0]}" for at in (first, second))
    return f"column {column!r} is {' and '.join(sides)}, and no type holds the values of both"


def read_export(connection: duckdb.DuckDBPyConnection, files: Sequence[str]) -> Export:
    """Return the files of an export with their columns. Raises duckdb.Error for one that cannot be read."""
    listed = ", ".join(sql_text(literal(file)) for file in files)
    shapes = connection.execute(
        f"""WITH shapes AS (
            SELECT file_name, list({{
                name: name, type: type, children: coalesce(num_children, 0),
                repeated: repetition_type = 'REPEATED', converted: converted_type, logical: logical_type,
                digits: precision, scale: scale}} ORDER BY column_id) AS shape
            FROM parquet_schema([{listed}]) GROUP BY file_name)
        SELECT shape, list(file_name ORDER BY file_name) AS files
        FROM shapes GROUP BY shape ORDER BY files[1]"""
    ).fetchall()
    return Export(tuple(_part(connection, shape, files) for shape, files in shapes))


def _part(
    connection: duckdb.DuckDBPyConnection, shape: Sequence[Mapping[str, Any]], files: Sequence[str]
) -> Part:
    read = connection.execute(f"SELECT * FROM {_read(files[:1])} LIMIT 0").to_arrow_table().schema
    pairs = zip(_top(shape), read, strict=True)
    return Part(tuple(files), tuple(held_column(row, field) for row, field in pairs))


def _top(shape: Sequence[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """Yield the rows of a schema that are columns of the file, not parts of nested ones."""
    below = 0
    for row in shape[1:]:
        if below == 0:
            yield row
        below += row["children"] - (1 if below else 0)


def _read(files: Sequence[str]) -> str:
    return parquet_sql(map(literal, files))


def below_microseconds(lake: Lake, export: Export, column: str) -> str | None:
    """Return a file in which a column has a value of a fraction of a microsecond, None where none has."""
    for part in export.parts:
        for held in part.named(column):
            for file in part.files if held.finer else ():
                if _has_nanoseconds(lake, file, held.name):
                    return file
    return None


def _has_nanoseconds(lake: Lake, path: str, name: str) -> bool:
    with load_file_io(lake.catalog.properties, path).new_input(path).open() as stream:
        for batch in pq.ParquetFile(cast(IO[Any], stream)).iter_batches(_BATCH_ROWS, columns=[name]):
            ticks = batch.column(0).cast(pa.int64())
            if pc.any(pc.not_equal(pc.multiply(pc.divide(ticks, 1000), 1000), ticks)).as_py():
                return True
    return False
