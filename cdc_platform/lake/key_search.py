"""The rows of data files whose key a batch touches, found in the cheapest way that each file allows.

By key index where a large file is asked for few keys, by binary search where its rows ascend by the key, by
the hash of a key's words where the batch has been folded, by the engine reading its key columns otherwise.
Where rows are found does not depend on the way.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, Position
from cdc_platform.lake.base_files import BaseFile, files_sql, number_sql, upper_position
from cdc_platform.lake.candidates import files_hit
from cdc_platform.lake.fold import NUMBER, Fold
from cdc_platform.lake.key_lookup import LEAST_ROWS, IndexFolder, KeyLookup
from cdc_platform.lake.ordered_files import OrderedFiles
from cdc_platform.lake.packing import Numbers
from cdc_platform.lake.touched_keys import TouchedKeys
from cdc_platform.lake.word_search import WordSearch
from cdc_platform.lake.workspace import table_column
from cdc_platform.naming import quoted

#: What is told of a row found beside its place and key: column → (name, type).
_TOLD = {
    GENERATION: ("generation", "BIGINT"),
    POSITION: ("position", "DECIMAL(38, 0)"),
    COMMITTED_AT: ("committed_at", "TIMESTAMPTZ"),
    OP: ("op", "VARCHAR"),
}
_NOTHING_TOLD = ", ".join(f"NULL::{kind} AS {name}" for name, kind in _TOLD.values())


class KeySearch:
    """Searches files of one snapshot of ``table``, None without rows, for the keys in ``touched``."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        table: Table | None,
        key: Sequence[str],
        touched: TouchedKeys | None,
        indexes: IndexFolder | None,
        fold: Fold | None = None,
    ) -> None:
        self._con = con
        self._table = table
        self._key = tuple(key)
        self._keys = ", ".join(map(quoted, key))
        self._fold = fold
        #: What ``known`` has of each key.
        self._named = NUMBER if self._fold is not None else self._keys
        self._touched = touched
        self._indexes = indexes
        self._lookup: KeyLookup | None = None
        #: Whether any of ``known`` has its position: else all are below the batch's.
        self.has_positions = False
        self._reads_files = False

    def find(self, files: list[BaseFile], oldest: Position) -> None:
        """Make ``known`` (file, pos, key…, generation, position, committed_at, op) of the rows not deleted.

        Positions are NULL where they are certainly below ``oldest``. With a fold, ``known`` has the number of
        each key in place of its columns.
        """
        selects = self._selects(self._table, self._touched, files, oldest) if files else []
        if not selects:
            empty_keys = f"{self._named}," if self._named else ""
            selects = [
                f"SELECT 0 AS file, 0::BIGINT AS pos, {empty_keys} {_NOTHING_TOLD} FROM touched WHERE false"
            ]
        found = " UNION ALL ".join(selects)
        kind = "TABLE" if self._reads_files else "TEMP VIEW"
        self._con.execute(f"CREATE {kind} known AS FROM ({found}) ANTI JOIN base_deleted USING (file, pos)")

    def _selects(
        self, table: Table | None, touched: TouchedKeys | None, files: list[BaseFile], oldest: Position
    ) -> list[str]:
        """Return the queries that find the rows."""
        assert table is not None
        assert touched is not None
        schema = table.schema()
        chosen = files_hit(self._con, schema, touched, files)
        is_older = [upper_position(file, schema) < oldest for file in chosen]
        newer = [file for file, older in zip(chosen, is_older, strict=True) if not older]
        older = list(compress(chosen, is_older))
        large = [file for file in older if file.data.record_count >= LEAST_ROWS]
        small = [file for file in older if file.data.record_count < LEAST_ROWS]
        selects: list[str] = []
        if large:
            large = self._by_index(touched, large, selects)
            large = self._by_order(touched, large, selects)
        rest = self._by_words([*small, *large], selects)
        self.has_positions = bool(newer)
        if newer:
            told = ", ".join(f"r.{column} AS {name}" for column, (name, _) in _TOLD.items())
            selects.append(self._select(newer, told, tuple(_TOLD)))
        if rest:
            selects.append(self._select(rest, _NOTHING_TOLD, ()))
        return selects

    def _select(self, files: Sequence[BaseFile], told: str, extra: Sequence[str]) -> str:
        self._reads_files = True
        keys = f"{self._named}, " if self._named else ""
        return (
            f"SELECT {number_sql(files)} AS file, r.file_row_number AS pos, {keys}{told} "
            f"FROM {self.read_sql(files, (*self._key, *extra))} r JOIN touched USING ({self._keys})"
        )

    def _by_index(self, touched: TouchedKeys, files: list[BaseFile], selects: list[str]) -> list[BaseFile]:
        """Add the query of what key indexes find; return the files without one that pays."""
        if self._indexes is None:
            return files
        lookup = KeyLookup(self._con, self._indexes, touched)
        if not lookup.is_possible:
            return files
        self._lookup = lookup
        left = lookup.find(files)
        selects.append(
            f"SELECT file, pos, {self._named}, {_NOTHING_TOLD} FROM hits JOIN touched USING ({self._keys})"
        )
        return left

    def _by_order(self, touched: TouchedKeys, files: list[BaseFile], selects: list[str]) -> list[BaseFile]:
        """Add the query of what is found in files that ascend by their key; return the others."""
        if touched.ascending is None or not files:
            return files
        assert self._table is not None
        ordered = OrderedFiles(self._table.io, self._fields(), touched.ascending, self._threads)
        tables, left = ordered.find(files)
        self._add_hits("ordered_hits", tables, touched.ascending, selects)
        return left

    def _by_words(self, files: list[BaseFile], selects: list[str]) -> list[BaseFile]:
        """Add the query of what is found by the words of the keys; return the files it is not possible in."""
        if self._fold is None or not files:
            return files
        assert self._table is not None
        search = WordSearch(self._table.io, self._fields(), self._fold.shape, self._fold.words, self._threads)
        tables, left = search.find(files)
        self._add_hits("word_hits", tables, (), selects)
        return left

    def _add_hits(
        self, name: str, tables: list[pa.Table], keys: Sequence[Numbers], selects: list[str]
    ) -> None:
        """Add the query of rows found with the numbers of their keys, of which ``keys`` are the columns."""
        if not tables:
            return
        hits = pa.concat_tables(tables)
        if self._fold is None:
            numbers: Any = hits.column("number").to_numpy()
            for column, values in zip(self._key, keys, strict=True):
                hits = hits.append_column(column, pa.array(np.take(values, numbers)))
        else:
            hits = hits.rename_columns(["file", "pos", NUMBER])
        self._con.register(name, hits)
        selects.append(f"SELECT file, pos, {self._named}, {_NOTHING_TOLD} FROM {name}")

    @property
    def _threads(self) -> int:
        return self._indexes.threads if self._indexes is not None else 1

    def _fields(self) -> list[int]:
        """Return the table's field ids of the key's columns."""
        assert self._table is not None
        schema = self._table.schema()
        return [schema.find_field(table_column(name)).field_id for name in self._key]

    def read_sql(self, files: Sequence[BaseFile], columns: Sequence[str]) -> str:
        """Return SQL that reads columns of data files; see :func:`files_sql`."""
        assert self._table is not None
        return files_sql(self._table.schema(), [file.data for file in files], columns)

    def build_indexes(self) -> int:
        """Build the key indexes the search would have been faster with; return how many."""
        return self._lookup.build(self.read_sql) if self._lookup is not None else 0
