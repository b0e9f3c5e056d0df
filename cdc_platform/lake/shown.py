"""Rows of a base table for a person or a file: which columns, which rows, as of when, and how many there are.

What is asked is checked against the table's schema before anything is read. Without a condition, rows come
from :mod:`cdc_platform.lake.live_batches`, which stops where the reader stops, and the count from the
manifests and delete files; a condition is DuckDB's, over the columns it names and those shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import ConfigError
from cdc_platform.events import CONTROL_PREFIX, OP
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.lake.damage import damage
from cdc_platform.lake.declared import keeps_deleted
from cdc_platform.lake.live_batches import live_row_count
from cdc_platform.lake.live_rows import LiveFiles, live_files
from cdc_platform.lake.read import open_workspace, read_live
from cdc_platform.naming import quoted

_SOFT_DELETED = f"{quoted(OP)} = 'D'"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a table; the defaults are its own columns and the rows the source has."""

    columns: tuple[str, ...] = ()
    #: A DuckDB expression over the table's columns.
    where: str | None = None
    #: Add the control columns of the merge.
    control: bool = False
    #: Show the rows soft deletes kept as well.
    deleted: bool = False


@dataclass(frozen=True, slots=True)
class ShownRows:
    """Rows of one snapshot, not read yet; the data of a snapshot never changes."""

    lake: Lake
    table: Table
    live: LiveFiles
    columns: tuple[str, ...]
    #: None when every live row is meant.
    condition: str | None

    def read(self, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the rows, not much further read than ``limit`` when one is given.

        Raises ConfigError where a value does not fit the condition.
        """
        with _values_told(self.table, self.live):
            yield from read_live(
                self.lake, self.table, self.live, columns=self.columns, where=self.condition, limit=limit
            )

    def count(self) -> int:
        """Return how many rows there are."""
        if self.condition is None:
            return live_row_count(self.live, self.table.io, threads=self.lake.config.engine.threads)
        con = open_workspace(self.lake)
        try:
            with _values_told(self.table, self.live):
                query = f"SELECT count(*) FROM {self.live.sql()} WHERE {self.condition}"
                row = con.execute(query).fetchone()
        finally:
            con.close()
        return int(row[0]) if row else 0

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema of the rows."""
        return read_live(self.lake, self.table, self.live, columns=self.columns, limit=0).schema

    @property
    def is_counted_cheaply(self) -> bool:
        """Whether :meth:`count` reads no data file."""
        return self.condition is None


class FirstRows:
    """The first rows of a stream, and whether it has more of them."""

    def __init__(self, rows: ShownRows, limit: int | None) -> None:
        self.has_more = False
        self._rows = rows
        self._limit = limit

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        if self._limit is None:
            yield from self._rows.read()
            return
        left = self._limit
        for batch in self._rows.read(self._limit + 1):
            if batch.num_rows > left:
                self.has_more = True
                yield batch.slice(0, left)
                return
            left -= batch.num_rows
            yield batch


def shown_rows(
    lake: Lake, base: Table, config: TableConfig, asked: Asked, snapshot_id: int | None = None
) -> ShownRows:
    """Return the rows that are asked for, in the snapshot (default: the current one).

    Raises ConfigError for columns and conditions that do not fit the table, and MergeError as
    :func:`live_files` does.
    """
    live = live_files(base, snapshot_id)
    there = [field.name for field in live.schema.fields]
    columns = _columns(there, asked)
    parts = []
    if keeps_deleted(base, config) and not asked.deleted and OP in there:
        parts.append(f"({_SOFT_DELETED}) IS NOT TRUE")
    if asked.where is not None:
        check_condition(asked.where, live)
        # on a line of its own, so that a comment at its end hides nothing
        parts.append(f"({asked.where}\n)")
    return ShownRows(lake, base, live, columns, " AND ".join(parts) or None)


def _columns(there: Sequence[str], asked: Asked) -> tuple[str, ...]:
    by_name = {name.casefold(): name for name in there}
    unknown = [name for name in asked.columns if name.casefold() not in by_name]
    if unknown:
        raise _mistake("--columns", f"there is no column {unknown[0]!r}", there)
    own = [name for name in there if not name.startswith(CONTROL_PREFIX)]
    chosen = [by_name[name.casefold()] for name in asked.columns] or own
    if asked.control:
        chosen += [name for name in there if name.startswith(CONTROL_PREFIX)]
    elif asked.deleted and not asked.columns and OP in there:
        chosen.append(OP)
    return tuple(dict.fromkeys(chosen))


def check_condition(text: str, live: LiveFiles) -> None:
    """Raise ConfigError unless ``text`` is one expression over columns of the table, with no query in it.

    So a condition reads nothing but the table.
    """
    there = [field.name for field in live.schema.fields]
    kinds = ((field.name, duckdb_type(field.field_type)) for field in live.schema.fields)
    nothing = ", ".join(f"NULL::{kind or 'VARCHAR'} AS {quoted(name)}" for name, kind in kinds)
    query = f"SELECT 1 FROM asked WHERE ({text}\n)"
    with duckdb.connect(config={"enable_external_access": "false"}) as con:
        con.execute("SET TimeZone = 'UTC'")
        row = con.execute("SELECT json_serialize_sql(?)", [query]).fetchone()
        parsed = json.loads(row[0]) if row else {"error": True}
        if parsed["error"]:
            told = parsed.get("error_message", "it cannot be read")
            raise _mistake("--where", f"{text!r} is no condition: {told}", there)
        nodes = [statement["node"] for statement in parsed["statements"]]
        if len(nodes) != 1 or nodes[0]["type"] != "SELECT_NODE" or nodes[0]["modifiers"]:
            raise _mistake("--where", f"{text!r} is more than one condition", there)
        kinds_used = set(_classes(nodes[0]["where_clause"]))
        if kinds_used & {"SUBQUERY", "PARAMETER"}:
            raise _mistake("--where", "a condition is of the row alone: no query, no parameter", there)
        try:
            con.execute(f"CREATE TABLE asked AS SELECT {nothing} WHERE false")
            con.execute(query)
        except duckdb.Error as e:
            raise _mistake("--where", _first_line(e), there) from e


def _classes(node: Any) -> Iterator[str]:
    """Yield the class of every expression below ``node`` of a parsed statement."""
    if isinstance(node, dict):
        if "class" in node:
            yield node["class"]
        for item in node.values():
            yield from _classes(item)
    elif isinstance(node, list):
        for item in node:
            yield from _classes(item)


@contextmanager
def _values_told(table: Table, live: LiveFiles) -> Iterator[None]:
    """Raise ConfigError where a stored value cannot be what the condition makes of it.

    MergeError where a file is damaged.
    """
    try:
        yield
    except (duckdb.ConversionException, duckdb.OutOfRangeException, duckdb.InvalidInputException) as e:
        damaged = damage(e, ".".join(table.name()))
        if damaged is not None:
            raise damaged from e
        raise _mistake("--where", _first_line(e), [field.name for field in live.schema.fields]) from e


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or ["it cannot be read"])[0]


def _mistake(option: str, what: str, there: Sequence[str]) -> ConfigError:
    return ConfigError("cdc show", [(option, what, f"columns: {', '.join(there)}")])
