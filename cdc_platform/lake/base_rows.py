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
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import PrimitiveType

from cdc_platform.events import GENERATION, POSITION, Position
from cdc_platform.lake.base_files import BaseFile, bounds, files_sql, is_scoped_to, local_path, number_sql
from cdc_platform.lake.candidates import key_filter
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.deleted_positions import DeletedPositions
from cdc_platform.lake.fold import Fold
from cdc_platform.lake.key_lookup import IndexFolder
from cdc_platform.lake.key_search import KeySearch
from cdc_platform.lake.touched_keys import TouchedKeys
from cdc_platform.lake.workspace import alias, table_column
from cdc_platform.naming import quoted
from cdc_platform.parquet_sql import parquet_sql


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
        self.search: KeySearch | None = None
        self._touched: TouchedKeys | None = None
        self._fold: Fold | None = None
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

    @property
    def most_deleted(self) -> int:
        """How many rows the delete files of the files taken name, at most."""
        return sum({d.file_path: d.record_count for f in self.files.values() for d in f.deletes}.values())

    def candidates(self, fold: Fold | None = None) -> list[BaseFile]:
        """Take the files that may hold a key of ``touched``, by partition and statistics.

        ``fold`` has the same keys, where they are those of one.
        """
        self._fold = fold
        if self._table is None:
            return []
        schema = self._table.schema()
        self._touched = TouchedKeys(
            self._con, self._key, lambda file, column: bounds(file, schema, table_column(column)), fold
        )
        return self.plan(key_filter(self._con, schema, self._touched))

    def find(self, candidates: Iterable[BaseFile], oldest: Position) -> None:
        """Fill ``known`` (file, pos, key…, generation, position, committed_at, op) with rows in ``touched``.

        Positions are NULL where they are certainly below ``oldest``. With the keys of a fold, ``known`` has
        the number of each in place of its columns.
        """
        self.search = KeySearch(self._con, self._table, self._key, self._touched, self._indexes, self._fold)
        self.search.find(list(candidates), oldest)

    @property
    def has_positions(self) -> bool:
        """Whether any row of ``known`` has its position; if not, all are below the batch's oldest event."""
        return self.search is not None and self.search.has_positions

    def build_indexes(self) -> int:
        """Build the key indexes this batch would have been faster with; return how many."""
        return self.search.build_indexes() if self.search is not None else 0

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

    def _register(self, files: list[BaseFile]) -> None:
        """Add to ``base_deleted`` the rows of ``files`` that are deleted."""
        assert self._table is not None
        reader = DeletedPositions(self._table.io)
        mixed: list[BaseFile] = []
        for file in files:
            # of the delete files we write each is of one data file: it needs no comparing of paths
            alone = all(is_scoped_to(delete, file.data) for delete in file.deletes)
            positions = reader.positions(file) if alone else None
            if positions is None:
                mixed.append(file)
            elif len(positions):
                self._con.register("gone_before", pa.table({"pos": positions}))
                self._con.execute(f"INSERT INTO base_deleted SELECT {file.index}, pos FROM gone_before")
                self._con.unregister("gone_before")
        self._register_mixed(mixed)

    def _register_mixed(self, files: list[BaseFile]) -> None:
        deletes = sorted({local_path(d.file_path) for f in files for d in f.deletes})
        if not deletes:
            return
        numbers = pa.array([file.index for file in files], pa.int32())
        listing = pa.table({"file": numbers, "iceberg_path": [file.data.file_path for file in files]})
        self._con.register("new_base_files", listing)
        self._con.execute(
            "INSERT INTO base_deleted SELECT DISTINCT b.file, d.pos "
            f"FROM {parquet_sql(deletes)} d "
            "JOIN new_base_files b ON b.iceberg_path = d.file_path"
        )
        self._con.unregister("new_base_files")
