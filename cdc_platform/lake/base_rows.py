"""The rows of a base table that a batch may touch: found by file statistics, then by key alone.

The cost follows the changes: files whose key range or partition cannot hold a key of the batch are not
opened; of the others only the key columns are read, and the stored positions only where a file's upper
bound allows a row newer than the batch's oldest event. Rows are named by (file, row number), so a row is
found in whatever partition it is. Files are read by field id, deleted rows are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import duckdb
import pyarrow as pa
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.manifest import DataFile
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import PrimitiveType

from cdc_platform.events import COMMITTED_AT, CONTROL_PREFIX, GENERATION, OP, POSITION, Position
from cdc_platform.lake.base_files import BaseFile, bounds, local_path, read_sql, upper_position
from cdc_platform.lake.candidates import files_hit, key_filter
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.key_lookup import LEAST_ROWS, IndexFolder, KeyLookup
from cdc_platform.lake.workspace import alias, source_column
from cdc_platform.naming import quoted, sql_text


class BaseRows:
    """Finds rows of one snapshot of a base table for a batch whose keys are in a table ``touched``."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        table: Table | None,
        key: Sequence[str],
        indexes: IndexFolder | None = None,
    ) -> None:
        self._con = con
        self._indexes = indexes
        #: The look-ups made, None when none were.
        self.lookup: KeyLookup | None = None
        self._key = tuple(key)
        self._keys = ", ".join(map(quoted, key))
        self._table = table if table is not None and table.current_snapshot() is not None else None
        self.files: dict[int, BaseFile] = {}
        con.execute("CREATE TABLE base_deleted (file INTEGER, pos BIGINT)")

    @property
    def schema(self) -> Schema | None:
        """The table's schema as of the snapshot, None without one."""
        return self._table.schema() if self._table is not None else None

    def plan(self, row_filter: BooleanExpression) -> list[BaseFile]:
        """Take the files that may hold rows matching ``row_filter``, with their deleted rows."""
        if self._table is None:
            return []
        known = {file.data.file_path for file in self.files.values()}
        new = []
        for task in self._table.scan(row_filter=row_filter).plan_files():
            if task.file.file_path not in known:
                index = len(self.files)
                self.files[index] = BaseFile(index, task.file, tuple(task.delete_files))
                new.append(self.files[index])
        self._register(new)
        return new

    def candidates(self) -> list[BaseFile]:
        """Take the files that may hold a key of ``touched``, by partition and statistics."""
        if self._table is None:
            return []
        return self.plan(key_filter(self._con, self._table.schema(), self._key))

    def find(self, candidates: Iterable[BaseFile], oldest: Position) -> None:
        """Fill ``known`` (file, pos, key…, generation, position, committed_at, op) with rows in ``touched``.

        Positions are NULL where they are certainly below ``oldest``.
        """
        files = list(candidates)
        chosen = files_hit(self._con, self._table.schema(), self._key, files) if self._table else files
        newer = [file for file in chosen if not self._is_below(file, oldest)]
        older = self._look_up([file for file in chosen if self._is_below(file, oldest)])
        control = {GENERATION: "generation", POSITION: "position", COMMITTED_AT: "committed_at", OP: "op"}
        types = {GENERATION: "BIGINT", POSITION: "DECIMAL(38,0)", COMMITTED_AT: "TIMESTAMPTZ", OP: "VARCHAR"}
        keys = ", ".join(f"r.{quoted(column)}" for column in self._key)
        parts = []
        if newer:
            names = ", ".join(f"r.{name} AS {alias}" for name, alias in control.items())
            parts.append((newer, names, tuple(control)))
        if older:
            names = ", ".join(f"NULL::{types[name]} AS {alias}" for name, alias in control.items())
            parts.append((older, names, ()))
        selects = [
            f"SELECT {number_sql(files)} AS file, r.file_row_number AS pos, "
            f"{keys}{',' if keys else ''} {names} "
            f"FROM {self.read_sql(files, (*self._key, *extra))} r JOIN touched USING ({self._keys})"
            for files, names, extra in parts
        ]
        nothing = ", ".join(f"NULL::{types[name]} AS {alias}" for name, alias in control.items())
        if self.lookup is not None:
            selects.append(
                f"SELECT file, pos, {self._keys}, {nothing} FROM hits JOIN touched USING ({self._keys})"
            )
        empty_keys = f"{', '.join(map(quoted, self._key))}," if self._key else ""
        selects = selects or [
            f"SELECT 0 AS file, 0::BIGINT AS pos, {empty_keys} {nothing} FROM touched WHERE false"
        ]
        self._con.execute(f"CREATE TABLE found AS {' UNION ALL '.join(selects)}")
        self._con.execute(
            "CREATE TABLE known AS SELECT * FROM found ANTI JOIN base_deleted USING (file, pos)"
        )
        self._con.execute("DROP TABLE found")

    def _look_up(self, files: list[BaseFile]) -> list[BaseFile]:
        """Find what key indexes can; return the files to read."""
        if (
            self._table is None
            or self._indexes is None
            or sum(file.data.record_count for file in files) < LEAST_ROWS
        ):
            return files
        schema = self._table.schema()
        lookup = KeyLookup(
            self._con,
            self._indexes,
            self._key,
            lambda file, column: bounds(file, schema, source_column(column) or column),
        )
        if not lookup.is_possible:
            return files
        self.lookup = lookup
        return lookup.find(files)

    def build_indexes(self) -> int:
        """Build the key indexes this batch would have been faster with; return how many."""
        return self.lookup.build(self.read_sql) if self.lookup is not None else 0

    def keys_sql(self) -> list[str]:
        """Return SQL queries for the keys of the table's rows, deleted ones too; none without rows."""
        if self._table is None:
            return []
        files = [BaseFile(n, task.file, ()) for n, task in enumerate(self._table.scan().plan_files())]
        return [f"SELECT {self._keys} FROM {self.read_sql(files, self._key)}"] if files else []

    def read_sql(self, files: Sequence[BaseFile], columns: Sequence[str]) -> str:
        """Return SQL that reads columns of data files; see :func:`files_sql`."""
        assert self._table is not None
        return files_sql(self._table.schema(), [file.data for file in files], columns)

    def images(self, wanted: str, name: str, types: Mapping[str, PrimitiveType]) -> None:
        """Make table ``name`` (file, pos, columns…) of the base rows that table ``wanted`` (file, pos) names.

        Columns the table does not have yet are NULL in all its rows.
        """
        indexes = [row[0] for row in self._con.execute(f"SELECT DISTINCT file FROM {wanted}").fetchall()]
        kept = self._names() if self._table is not None else set()
        stored = kept & set(types) if indexes else set()
        values = {c: f"r.{quoted(c)}" if c in stored else "NULL" for c in types}
        selected = ", ".join(f"{values[c]}::{duckdb_type(kind)} AS {quoted(c)}" for c, kind in types.items())
        if indexes:
            files = [self.files[index] for index in indexes]
            source = self.read_sql(files, sorted(stored))
            query = (
                f"SELECT file, pos, {selected} FROM "
                f"(SELECT *, {number_sql(files)} AS file, file_row_number AS pos FROM {source}) r "
                f"SEMI JOIN {wanted} w USING (file, pos)"
            )
        else:
            query = f"SELECT 0 AS file, 0::BIGINT AS pos, {selected} WHERE false"
        self._con.execute(f"CREATE TABLE {name} AS {query}")

    def equal_sql(self, wanted: str, columns: Sequence[str]) -> str:
        """Return SQL for (file, pos, generation, position, columns…) of rows equal to one of ``wanted``.

        Columns the table does not have yet are NULL in all its rows.
        """
        assert self._table is not None
        self.plan(AlwaysTrue())
        kept = self._names()
        values = {c: f"r.{quoted(c)}" if c in kept else "NULL" for c in columns}
        same = " AND ".join(f"{value} IS NOT DISTINCT FROM w.{quoted(c)}" for c, value in values.items())
        selected = ", ".join(f"{value} AS {quoted(c)}" for c, value in values.items())
        files = list(self.files.values())
        source = self.read_sql(files, [GENERATION, POSITION, *columns])
        return (
            f"SELECT r.file, r.pos, r.{GENERATION} AS generation, r.{POSITION} AS position, {selected} "
            f"FROM (SELECT *, {number_sql(files)} AS file, file_row_number AS pos FROM {source}) r "
            f"SEMI JOIN {wanted} w ON {same} ANTI JOIN base_deleted USING (file, pos)"
        )

    def before_generation(self, generation: int) -> None:
        """Add to ``gone`` (file, pos) every live row of a generation older than ``generation``."""
        if self._table is None:
            return
        self.plan(AlwaysTrue())
        mixed = []
        for file in self.files.values():
            lowest, highest = bounds(file, self._table.schema(), GENERATION)
            if highest is not None and highest < generation:
                # Not read at all: all rows go, so the file goes as a whole.
                rows = f"SELECT {file.index}, range FROM range({file.data.record_count})"
                self._con.execute(f"INSERT INTO gone {rows}")
            elif lowest is None or lowest < generation:
                mixed.append(file)
        if mixed:
            self._con.execute(
                f"INSERT INTO gone SELECT {number_sql(mixed)}, file_row_number "
                f"FROM {self.read_sql(mixed, [GENERATION])} WHERE {GENERATION} < {generation}"
            )
        self._con.execute(
            "DELETE FROM gone USING base_deleted d WHERE gone.file = d.file AND gone.pos = d.pos"
        )

    def _names(self) -> set[str]:
        """Return the table's columns by their names in the workspace."""
        assert self._table is not None
        return {alias(field.name) for field in self._table.schema().fields}

    def _is_below(self, file: BaseFile, oldest: Position) -> bool:
        assert self._table is not None
        return upper_position(file, self._table.schema()) < oldest

    def _register(self, files: list[BaseFile]) -> None:
        deletes = sorted({local_path(d.file_path) for f in files for d in f.deletes})
        if not deletes:
            return
        numbers = pa.array([file.index for file in files], pa.int32())
        listing = pa.table({"file": numbers, "iceberg_path": [file.data.file_path for file in files]})
        self._con.register("new_base_files", listing)
        paths = ", ".join(map(sql_text, deletes))
        self._con.execute(
            f"INSERT INTO base_deleted SELECT DISTINCT b.file, d.pos FROM read_parquet([{paths}]) d "
            "JOIN new_base_files b ON b.iceberg_path = d.file_path"
        )
        self._con.unregister("new_base_files")


def number_sql(files: Sequence[BaseFile]) -> str:
    """Return SQL for the number of the file a row of :meth:`BaseRows.read_sql` is in."""
    return f"[{', '.join(str(file.index) for file in files)}][file_index::BIGINT + 1]"


def files_sql(schema: Schema, files: Sequence[DataFile], columns: Sequence[str]) -> str:
    """Return SQL that reads columns, by their names in the workspace, of data files; see :func:`read_sql`."""
    names = {f.name: f.name if f.name.startswith(CONTROL_PREFIX) else alias(f.name) for f in schema.fields}
    return read_sql(schema, files, {field: name for field, name in names.items() if name in columns})
