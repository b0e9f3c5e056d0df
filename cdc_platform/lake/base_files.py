"""What the statistics in a base table's manifests tell of its data files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import PrimitiveType

from cdc_platform.events import CONTROL_PREFIX, GENERATION, POSITION, Position
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import sql_text

#: Above every position: for files without statistics.
_HIGHEST = Position(2**63, 0)
_PATH_ID = 2147483546
#: Rows that are worth a second thread.
_MANY_ROWS = 131_072
_NO_ROWS = Path(__file__).with_name("no_rows.parquet")
_TARGET_FILE_SIZE = "write.target-file-size-bytes"
_DEFAULT_TARGET = 128 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BaseFile:
    """A live data file and the delete files that apply to it."""

    index: int
    data: DataFile
    deletes: tuple[DataFile, ...]

    @property
    def scoped_deletes(self) -> tuple[str, ...]:
        """Paths of the delete files that are of this data file alone, and so may be replaced."""
        return tuple(file.file_path for file in self.deletes if is_scoped_to(file, self.data))


def target_size(table: Table) -> int:
    """Return the size in bytes the table's data files should have."""
    return int(table.properties.get(_TARGET_FILE_SIZE, _DEFAULT_TARGET))


def local_path(location: str) -> str:
    """Return a file URL as a path; other locations as they are."""
    return location.removeprefix("file://")


def read_sql(schema: Schema, files: Sequence[DataFile], names: Mapping[str, str]) -> str:
    """Return SQL that reads columns of data files by field id; ``names`` says which, and as what.

    The virtual columns ``file_index`` (the file's place in ``files``) and ``file_row_number`` say where a row
    is. A column a file does not have is NULL in its rows.
    """
    wanted = []
    for column, name in names.items():
        field = schema.find_field(column)
        kind = sql_text(duckdb_type(field.field_type) or "VARCHAR")
        wanted.append(f"{field.field_id}: {{name: {sql_text(name)}, type: {kind}, default_value: NULL}}")
    paths = [local_path(file.file_path) for file in files]
    # With a schema given, DuckDB does not look at the files, takes them for tiny and would build its hash
    # tables of them.
    rows = sum(file.record_count for file in files)
    if len(paths) == 1 and rows > _MANY_ROWS:
        # for the same reason it would read a list of one by one thread
        paths.append(str(_NO_ROWS))
    listed = ", ".join(map(sql_text, paths))
    return f"read_parquet([{listed}], schema = MAP {{{', '.join(wanted)}}}, explicit_cardinality = {rows})"


def number_sql(files: Sequence[BaseFile]) -> str:
    """Return SQL for the number of the file a row of :func:`files_sql` is in."""
    return f"[{', '.join(str(file.index) for file in files)}][file_index::BIGINT + 1]"


def files_sql(schema: Schema, files: Sequence[DataFile], columns: Sequence[str]) -> str:
    """Return SQL that reads columns, by their names in the workspace, of data files; see :func:`read_sql`."""
    names = {f.name: f.name if f.name.startswith(CONTROL_PREFIX) else alias(f.name) for f in schema.fields}
    return read_sql(schema, files, {field: name for field, name in names.items() if name in columns})


def is_scoped_to(delete: DataFile, data: DataFile) -> bool:
    """Whether the delete file names this one data file and no other."""
    path = data.file_path.encode()
    lower, upper = (bounds or {} for bounds in (delete.lower_bounds, delete.upper_bounds))
    return lower.get(_PATH_ID) == path == upper.get(_PATH_ID)


def upper_position(file: BaseFile, schema: Schema) -> Position:
    """Return a position no row of the file is above."""
    generation, sequence = bounds(file, schema, GENERATION)[1], bounds(file, schema, POSITION)[1]
    if generation is None or sequence is None:
        return _HIGHEST
    return Position(int(generation), int(sequence))


def bounds(file: BaseFile, schema: Schema, column: str) -> tuple[Any, Any]:
    """Return the lowest and highest value of a column by the file's statistics, None where unknown."""
    field = schema.find_field(column)
    kind = field.field_type
    assert isinstance(kind, PrimitiveType)
    values: list[Any] = []
    for limits in (file.data.lower_bounds, file.data.upper_bounds):
        raw = (limits or {}).get(field.field_id)
        values.append(_typed(kind, raw) if raw is not None else None)
    return values[0], values[1]


def _typed(kind: PrimitiveType, raw: bytes) -> Any:
    """Return a bound's value. One written before the column was widened is shorter than the type is now."""
    if str(kind) == "long" and len(raw) == 4:
        return int.from_bytes(raw, "little", signed=True)
    if str(kind) == "double" and len(raw) == 4:
        return None
    return from_bytes(kind, raw)
