"""What files say of some keys that were applied before: read again, for the rare case that it matters."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from datetime import datetime, timedelta

import duckdb
import pyarrow as pa
from pyiceberg.types import PrimitiveType

from cdc_platform.errors import RawFileError
from cdc_platform.events import GENERATION, OP, POSITION, ROW
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.selection import Selection
from cdc_platform.lake.staging import FILE
from cdc_platform.lake.workspace import table_column
from cdc_platform.naming import quoted

#: How far the clocks of the source, which tells when changes were committed, and of DMS may differ.
CLOCKS_DIFFER = timedelta(hours=1)


class Recall:
    """Reads the applied files of a merge's inputs again. Rows that wait in quarantine were not applied."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        selection: Selection,
        key: Sequence[str],
        types: Mapping[str, PrimitiveType],
    ) -> None:
        """``key`` and ``types`` go by their names in the workspace."""
        self._con = con
        self._selection = selection
        self._key = tuple(key)
        self._types = {name: duckdb_type(kind) for name, kind in types.items()}

    def into(self, name: str, keys: str, since: datetime | None) -> None:
        """Add to table ``name`` the applied events of ``keys`` (SQL) in files not older than ``since``.

        A file that cannot be read any more, or not with these types, is left out: it says nothing.
        """
        for number, source in enumerate(self._selection.applied):
            if since is not None and source.accepted.file_time < since - CLOCKS_DIFFER:
                continue
            held = self._selection.held.get(source.identity, frozenset())
            try:
                with closing(source.open()) as file:
                    for batch in file.batches():
                        # before the files of the batch, which have numbers from 0
                        self._insert(name, keys, batch.events, -2 - number, held)
            except (RawFileError, duckdb.ConversionException):
                self._con.execute(f"DELETE FROM {name} WHERE {FILE} = {-2 - number}")

    def _insert(self, name: str, keys: str, events: pa.RecordBatch, file: int, held: Collection[int]) -> None:
        there = set(events.schema.names)
        values = {
            column: f"{quoted(table_column(column))}::{kind}"
            for column, kind in self._types.items()
            if table_column(column) in there
        }
        if not events.num_rows or not set(self._key) <= set(values):
            return
        values |= {column: column for column in (OP, GENERATION, POSITION, ROW)} | {FILE: str(file)}
        selected = ", ".join(f"{value} AS {quoted(column)}" for column, value in values.items())
        kept = f"WHERE {ROW} NOT IN ({', '.join(map(str, sorted(held)))})" if held else ""
        same = ", ".join(map(quoted, self._key))
        self._con.register("again", pa.Table.from_batches([events]))
        query = f"FROM (SELECT {selected} FROM again {kept}) SEMI JOIN {keys} USING ({same})"
        self._con.execute(f"INSERT INTO {name} BY NAME {query}")
        self._con.unregister("again")
