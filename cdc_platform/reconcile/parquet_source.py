"""An export in Parquet in the source's place: a DMS full load in raw, a database's snapshot export, a dump.

The database is not touched. An export is of the past: ``as_of`` says what a difference from it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.errors import SourceUnavailable, redact
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.workspaces import lend_workspace, take_back
from cdc_platform.naming import quoted
from cdc_platform.reconcile.column_clashes import clashing, not_told_apart
from cdc_platform.reconcile.export_files import Export, below_microseconds, read_export
from cdc_platform.reconcile.export_listing import Listing, list_export
from cdc_platform.reconcile.sources import KEY_NUMBER, ColumnPlan, ReadPlan, SourceColumn, SourceTable
from cdc_platform.reconcile.typed import canonical_schema, common_type
from cdc_platform.reconcile.verdict import Excluded, Gap

_BATCH_ROWS = 65_536
_GIVE = "give the folder or pattern of Parquet files that hold this table, and nothing else"


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

    def listed(self) -> Listing:
        """Return the paths of its files, and of what is passed over. Raises SourceUnavailable."""
        with self._engine() as connection:
            return self._listed(connection)

    def plan(self, schema: str, table: str, key: Sequence[str], base_columns: pa.Schema) -> ReadPlan:
        """Match the export's columns with base's by safe name; what cannot be compared is listed.

        A column whose types in the files have none in common is refused.
        """
        with self._engine() as connection:
            export = self._export(connection)
        held, names = canonical_schema(base_columns), export.names
        plans: dict[str, ColumnPlan] = {}
        clashes = self._clashes(export)
        refused = dict(clashes)
        excluded = [not_told_apart(name) for name in clashes]
        for field in held:
            if field.name in clashes:
                continue
            planned = self._column(export, field)
            if isinstance(planned, ColumnPlan):
                plans[field.name] = planned
                continue
            if isinstance(planned, SourceUnavailable):
                refused[field.name] = planned
                planned = Excluded(field.name, "in several types in the export", Gap.NOT_EXACT)
            excluded.append(planned)
        excluded += [
            Excluded(name, "in the export and not in base", Gap.NOT_IN_BASE)
            for name in names
            if name not in held.names and name not in clashes
        ]
        for column in key:
            if column not in plans:
                raise refused.get(column) or self._no_key(column, excluded)
        described = SourceTable(schema, table, tuple(_described(export)), ())
        keys = tuple(plans[column] for column in key)
        return ReadPlan(described, keys, tuple(plans.values()), tuple(excluded), refused=refused)

    def _clashes(self, export: Export) -> dict[str, SourceUnavailable]:
        """Return the columns that a file has more than once under one name in base."""
        found: dict[str, SourceUnavailable] = {}
        for part in export.parts:
            found |= clashing((one.name for one in part.columns), self.path)
        return found

    def _column(self, export: Export, field: pa.Field[Any]) -> ColumnPlan | Excluded | SourceUnavailable:
        """Return how a column of base is compared, or why not, or why the export is none."""
        column, in_base = field.name, field.type
        if column not in export.names:
            reason = "in base and not in the export"
            if any(f"/{column}=" in file.lower() for part in export.parts for file in part.files):
                reason += "'s files: what a folder is called is not compared"
            return Excluded(column, reason, Gap.NOT_IN_SOURCE)
        found = export.found(column, in_base)
        if found.conflict:
            return self._unavailable(found.conflict, mend="make the export again, with one type of a column")
        if found.type is None:
            return Excluded(column, found.doubt, Gap.NOT_EXACT)
        if pa.types.is_nested(in_base) or common_type(found.type, in_base) is None:
            reason = f"{found.label} in the export and {in_base} in base do not compare by value"
            return Excluded(column, reason, Gap.NOT_EXACT)
        if (file := self._below_microseconds(export, column)) is not None:
            reason = (
                f"{found.label} with values of a fraction of a microsecond, which base cannot hold ({file})"
            )
            return Excluded(column, reason, Gap.NOT_EXACT)
        return ColumnPlan(column, found.name, found.label, quoted(column), found.type, found.type)

    def _no_key(self, column: str, excluded: Sequence[Excluded]) -> SourceUnavailable:
        why = next(one.reason for one in excluded if one.column == column)
        return self._unavailable(
            f"merge key column {column!r} is not in the export, or not comparable: {why}"
        )

    def position(self) -> str:
        """Return the empty text: how far the source's log is now, an export does not tell."""
        return ""

    @contextmanager
    def snapshot(self) -> Iterator[ParquetSnapshot]:
        """Open the files; they are taken not to change."""
        with self._engine() as connection:
            export = self._export(connection)
            yield ParquetSnapshot(connection, self.path, self.position_given, export)

    @contextmanager
    def _engine(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Lend an engine, the one of the plan or of a merge where it waits: to start one takes a while."""
        connection = lend_workspace(self.lake)
        try:
            yield connection
        finally:
            take_back(connection, self.lake)

    def _listed(self, connection: duckdb.DuckDBPyConnection) -> Listing:
        with self._readable():
            return list_export(connection, self.path)

    def _export(self, connection: duckdb.DuckDBPyConnection) -> Export:
        listing = self._listed(connection)
        if not listing.files:
            raise self._unavailable("; ".join(filter(None, ("there is no Parquet file", listing.remark))))
        with self._readable():
            return read_export(connection, listing.files)

    def _below_microseconds(self, export: Export, column: str) -> str | None:
        with self._readable():
            return below_microseconds(self.lake, export, column)

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, pa.ArrowException, OSError) as error:
            raise self._unavailable(redact(" ".join(str(error).split()))) from None

    def _unavailable(self, what: str, mend: str = _GIVE) -> SourceUnavailable:
        return SourceUnavailable(f"the export cannot be compared: {what}", where=self.path, mend=mend)


class ParquetSnapshot:
    """The rows of an export."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, path: str, position: str, export: Export
    ) -> None:
        self._connection, self._path, self._export = connection, path, export
        self.position = position

    def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
        """Return the rows of ``keys``, numbered by the key they answer to."""
        names = [f"k{place}" for place in range(len(plan.key))]
        numbers = pa.array(range(keys.num_rows), pa.int64())
        self._connection.register("asked", keys.rename_columns(names).append_column(KEY_NUMBER, numbers))
        same = " AND ".join(f"t.{c.select} = a.{name}" for c, name in zip(plan.key, names, strict=True))
        columns = ", ".join(f"t.{column.select} AS {quoted(column.column)}" for column in plan.columns)
        found = self._execute(
            f"SELECT a.{KEY_NUMBER}, {columns} FROM {self._all(plan)} t JOIN asked a ON {same}"
        ).to_arrow_table()
        return found.cast(pa.schema([pa.field(KEY_NUMBER, pa.int64()), *_schema_of(plan)]))

    @property
    def files(self) -> tuple[str, ...]:
        """The paths of the files, in the order they are read."""
        return tuple(file for part in self._export.parts for file in part.files)

    def relation(self, plan: ReadPlan) -> str:
        """Return all rows as a FROM item, for an engine that reads the files itself, by all its threads."""
        return self._all(plan)

    def rows_between(
        self, low: Sequence[str] | None, high: Sequence[str] | None, plan: ReadPlan
    ) -> Iterator[pa.RecordBatch]:
        """Yield all rows; ranges are never asked for, the plan being none of ranges."""
        schema = _schema_of(plan)
        result = self._execute(f"SELECT * FROM {self._all(plan)}")
        try:
            for batch in result.to_arrow_reader(_BATCH_ROWS):
                yield batch if batch.schema == schema else batch.cast(schema)
        except (duckdb.Error, pa.ArrowException) as error:
            raise self._unreadable(error) from None

    def _all(self, plan: ReadPlan) -> str:
        """Return all rows as a FROM item. Raises SourceUnavailable when the files are not those planned."""
        found = self._export.relation({column.column: column.arrow for column in plan.columns})
        if found is None:
            raise SourceUnavailable(
                "the export changed while it was read", where=self._path, mend="compare it again"
            )
        return found

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


def _described(export: Export) -> Iterator[SourceColumn]:
    """Yield each column of the export once, as a file has it."""
    for column, name in export.names.items():
        held = next(one for part in export.parts for one in part.named(column))
        yield SourceColumn(name, column, held.label, held.label)


def _schema_of(plan: ReadPlan) -> pa.Schema:
    return pa.schema([pa.field(column.column, column.arrow) for column in plan.columns])
