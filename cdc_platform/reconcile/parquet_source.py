"""An export in Parquet in the source's place: a DMS full load in raw, a database's snapshot export, a dump.

The database is not touched. An export is of the past: ``as_of`` says what a difference from it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from cdc_platform.errors import SourceUnavailable, redact
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.naming import quoted, safe_name, sql_text
from cdc_platform.reconcile.column_clashes import clashing
from cdc_platform.reconcile.sources import KEY_NUMBER, ColumnPlan, ReadPlan, SourceColumn, SourceTable
from cdc_platform.reconcile.typed import canonical_schema, common_type
from cdc_platform.reconcile.verdict import Excluded, Gap

_BATCH_ROWS = 65_536


def parquet_files(path: str) -> str:
    """Return the files an export consists of as a pattern: of a folder, all Parquet files below it.

    >>> parquet_files("s3://bucket/export/"), parquet_files("/tmp/LOAD*.parquet")
    ('s3://bucket/export/**/*.parquet', '/tmp/LOAD*.parquet')
    """
    is_folder = path.endswith("/") or ("://" not in path and Path(path).is_dir())
    return f"{path.rstrip('/')}/**/*.parquet" if is_folder else path


@dataclass(frozen=True, slots=True)
class ParquetReader:
    """Reads an export as if it were the source.

    ``position_given`` is the source's log position it was made at, the empty text when nobody knows it.
    """

    lake: Lake
    path: str
    position_given: str = ""

    @property
    def snapshot_read(self) -> bool:
        """An export is taken to be of one instant."""
        return True

    def files(self) -> list[str]:
        """Return the paths of its files. Raises SourceUnavailable."""
        connection = open_workspace(self.lake)
        try:
            found = connection.execute(f"SELECT file FROM glob({sql_text(parquet_files(self.path))})")
            return [str(row[0]) for row in found.fetchall()]
        except duckdb.Error as error:
            raise self._unavailable(redact(" ".join(str(error).split()))) from None
        finally:
            connection.close()

    def plan(self, schema: str, table: str, key: Sequence[str], base_columns: pa.Schema) -> ReadPlan:
        """Match the export's columns with base's by safe name; what cannot be compared is listed."""
        if not self.files():
            raise self._unavailable("there is no Parquet file")
        there, partly = self._schema(), self._missing_in_some()
        clashes = clashing((field.name for field in there), self.path)
        names = {safe: field for field in there if (safe := safe_name(field.name)) not in clashes}
        held = canonical_schema(base_columns)
        plans: dict[str, ColumnPlan] = {}
        excluded = []
        for field in held:
            found = names.get(field.name)
            if found is None:
                excluded.append(Excluded(field.name, "in base and not in the export", Gap.NOT_IN_SOURCE))
            elif found.name in partly:
                excluded.append(Excluded(field.name, "not in every file of the export", Gap.NO_RULE))
            elif pa.types.is_nested(field.type) or common_type(found.type, field.type) is None:
                reason = f"{found.type} in the export and {field.type} in base do not compare by value"
                excluded.append(Excluded(field.name, reason, Gap.NO_RULE))
            else:
                name = quoted(found.name)
                plans[field.name] = ColumnPlan(
                    field.name, found.name, str(found.type), name, found.type, found.type
                )
        excluded += [
            Excluded(name, "in the export and not in base", Gap.NOT_IN_BASE)
            for name in names
            if name not in held.names
        ]
        unread = [column for column in key if column not in plans]
        if unread:
            raise self._unavailable(f"merge key column {unread[0]!r} is not in the export, or not comparable")
        columns = tuple(SourceColumn(f.name, safe_name(f.name), str(f.type), str(f.type)) for f in there)
        described = SourceTable(schema, table, columns, ())
        keys = tuple(plans[column] for column in key)
        return ReadPlan(described, keys, tuple(plans.values()), tuple(excluded), refused=clashes)

    def position(self) -> str:
        """Return the empty text: how far the source's log is now, an export does not tell."""
        return ""

    @contextmanager
    def snapshot(self) -> Iterator[ParquetSnapshot]:
        """Open the files; they are taken not to change."""
        connection = open_workspace(self.lake)
        try:
            yield ParquetSnapshot(connection, self.path, self.position_given)
        finally:
            connection.close()

    def _schema(self) -> pa.Schema:
        connection = open_workspace(self.lake)
        try:
            relation = connection.execute(f"SELECT * FROM {_relation(self.path)} LIMIT 0")
            return canonical_schema(relation.to_arrow_table().schema)
        except duckdb.Error as error:
            raise self._unavailable(redact(" ".join(str(error).split()))) from None
        finally:
            connection.close()

    def _missing_in_some(self) -> set[str]:
        """Return the columns that files of the export lack: NULL there would be no value of the source."""
        connection = open_workspace(self.lake)
        pattern = sql_text(parquet_files(self.path))
        try:
            found = connection.execute(
                f"""WITH named AS (SELECT DISTINCT file_name, name FROM parquet_schema({pattern}))
                    SELECT name FROM named GROUP BY name
                    HAVING count(*) < (SELECT count(DISTINCT file_name) FROM named)"""
            )
            return {str(row[0]) for row in found.fetchall()}
        except duckdb.Error as error:
            raise self._unavailable(redact(" ".join(str(error).split()))) from None
        finally:
            connection.close()

    def _unavailable(self, what: str) -> SourceUnavailable:
        mend = "give the folder or pattern of Parquet files that hold this table, and nothing else"
        return SourceUnavailable(f"the export cannot be compared: {what}", where=self.path, mend=mend)


class ParquetSnapshot:
    """The rows of an export."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, path: str, position: str) -> None:
        self._connection, self._path = connection, path
        self.position = position

    def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
        """Return the rows of ``keys``, numbered by the key they answer to."""
        names = [f"k{place}" for place in range(len(plan.key))]
        numbers = pa.array(range(keys.num_rows), pa.int64())
        self._connection.register("asked", keys.rename_columns(names).append_column(KEY_NUMBER, numbers))
        same = " AND ".join(f"t.{c.select} = a.{name}" for c, name in zip(plan.key, names, strict=True))
        columns = ", ".join(f"t.{column.select} AS {quoted(column.column)}" for column in plan.columns)
        found = self._execute(
            f"SELECT a.{KEY_NUMBER}, {columns} FROM {_relation(self._path)} t JOIN asked a ON {same}"
        ).to_arrow_table()
        return found.cast(pa.schema([pa.field(KEY_NUMBER, pa.int64()), *_schema_of(plan)]))

    def relation(self, plan: ReadPlan) -> str:
        """Return all rows as a FROM item, for an engine that reads the files itself, by all its threads."""
        columns = ", ".join(f"{column.select} AS {quoted(column.column)}" for column in plan.columns)
        return f"(SELECT {columns} FROM {_relation(self._path)})"

    def rows_between(
        self, low: Sequence[str] | None, high: Sequence[str] | None, plan: ReadPlan
    ) -> Iterator[pa.RecordBatch]:
        """Yield all rows; ranges are never asked for, the plan being none of ranges."""
        columns = ", ".join(f"{column.select} AS {quoted(column.column)}" for column in plan.columns)
        schema = _schema_of(plan)
        result = self._execute(f"SELECT {columns} FROM {_relation(self._path)}")
        try:
            for batch in result.to_arrow_reader(_BATCH_ROWS):
                yield batch if batch.schema == schema else batch.cast(schema)
        except (duckdb.Error, pa.ArrowException) as error:
            raise self._unreadable(error) from None

    def _execute(self, query: str) -> duckdb.DuckDBPyConnection:
        try:
            return self._connection.execute(query)
        except duckdb.Error as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: Exception) -> SourceUnavailable:
        return SourceUnavailable(
            f"the export cannot be read: {redact(' '.join(str(error).split()))}",
            where=self._path,
            mend="make the export again, or leave out the file that is not whole",
        )


def _relation(path: str) -> str:
    return f"read_parquet({sql_text(parquet_files(path))}, union_by_name = true)"


def _schema_of(plan: ReadPlan) -> pa.Schema:
    return pa.schema([pa.field(column.column, column.arrow) for column in plan.columns])
