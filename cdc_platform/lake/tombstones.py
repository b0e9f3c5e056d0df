"""Tombstones: the remembered deletes that stop older events of a key the table no longer shows.

They are Parquet files in the table's object store, named by the batch manifest, so readers of the table
never see them and they commit with the snapshot. A row is: key columns, generation, position and commit time
of the delete and, for soft deletes, the position of the image the row shows.

Every so often the files are gathered into one, and deletes older than the horizon (measured from the
table's watermark) are forgotten. The highest forgotten position is kept as the *floor*: an event below it
whose key the table does not know may be one that a forgotten delete would have stopped. It goes to
quarantine, never to a guess.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cdc_platform.events import Position
from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.lake.staging import place
from cdc_platform.lake.statistics import columns_with_statistics
from cdc_platform.naming import quoted, sql_text
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.raw.objects import ObjectStore

FOLDER = "tombstones"
GATHER_AT = 16
_BATCH_ROWS = 65_536

#: Columns of a tombstone beside the key.
_FIELDS = {
    "generation": "BIGINT",
    "position": "DECIMAL(38, 0)",
    "committed_at": "TIMESTAMPTZ",
    "happened_at": "TIMESTAMPTZ",
    "image_generation": "BIGINT",
    "image_position": "DECIMAL(38, 0)",
}


@dataclass(frozen=True, slots=True)
class Horizon:
    """Which tombstones may be forgotten: of generations before this one, and from before this time."""

    generation: int
    before: datetime | None


@dataclass(frozen=True, slots=True)
class TombstoneFiles:
    """The tombstone files of the table after a batch, the ones the batch wrote, and the floor."""

    files: tuple[str, ...]
    written: tuple[str, ...]
    floor: Position | None
    #: A position that no tombstone of a file is above, where one is known.
    bounds: Mapping[str, Position]


def tombstone_objects(batch_id: str) -> tuple[str, str]:
    """Return the keys a batch may write: its own tombstones, and all of them gathered."""
    return f"{FOLDER}/{batch_id}.parquet", f"{FOLDER}/{batch_id}-gathered.parquet"


class Tombstones:
    """The tombstones of one table, as of one applied-files record."""

    def __init__(
        self,
        con: duckdb.DuckDBPyConnection,
        objects: ObjectStore,
        record: AppliedRecord,
        key_types: Mapping[str, str],
    ) -> None:
        self._con = con
        self._objects = objects
        self._record = record
        self._key_types = dict(key_types)

    @property
    def floor(self) -> Position | None:
        """The highest position of a forgotten tombstone."""
        return self._record.tombstone_floor

    def keys_sql(self) -> list[str]:
        """Return SQL queries for the keys that have a tombstone, none without any."""
        keys = ", ".join(map(quoted, self._key_types))
        files = self._record.tombstones
        return [f"SELECT {keys} FROM {self._source(files)}"] if files else []

    def find(self, oldest: Position) -> None:
        """Fill ``tombs`` with the newest tombstone of every key in ``touched``.

        Files whose tombstones are all below ``oldest``, the lowest position of the batch, are left out: they
        stop none of its events. So a batch that comes in its order reads none, however many there are.
        """
        bounds = self._record.tombstone_bounds
        files = [file for file in self._record.tombstones if file not in bounds or not bounds[file] < oldest]
        keys = ", ".join(map(quoted, self._key_types))
        same = " AND ".join(f"x.{quoted(c)} = t.{quoted(c)}" for c in self._key_types)
        fields = ", ".join(_FIELDS)
        self._con.execute(
            f"CREATE TABLE tombs AS SELECT {keys}, {fields} FROM {self._source(files)} x "
            f"SEMI JOIN touched t ON {same} QUALIFY {self._newest(keys)}"
        )

    def write(
        self, con: duckdb.DuckDBPyConnection, batch_id: str, rows: str | pa.Table, horizon: Horizon
    ) -> TombstoneFiles:
        """Write tombstones; gather and forget when it is time.

        ``rows`` is a query that yields them ('' for none), or they themselves in the order of the key.
        """
        files, bounds = list(self._record.tombstones), dict(self._record.tombstone_bounds)
        written = []
        own = tombstone_objects(batch_id)[0]
        if len(rows) and (highest := self._write(con, own, rows)) is not None:
            files.append(own)
            written.append(own)
            bounds[own] = highest
        superseded = horizon.generation > self._record.generation_complete and files
        if len(files) < GATHER_AT and not superseded:
            return TombstoneFiles(tuple(files), tuple(written), self.floor, bounds)
        return self._gather(con, batch_id, files, written, horizon)

    def _gather(
        self,
        con: duckdb.DuckDBPyConnection,
        batch_id: str,
        files: list[str],
        written: list[str],
        horizon: Horizon,
    ) -> TombstoneFiles:
        keys = ", ".join(map(quoted, self._key_types))
        names = ", ".join([keys, *_FIELDS])
        con.execute(
            f"CREATE TABLE gathered AS SELECT {names} FROM {self._source(files)} "
            f"WHERE generation >= {horizon.generation} QUALIFY {self._newest(keys)}"
        )
        floor = self.floor
        if horizon.before is not None:
            old = f"happened_at < TIMESTAMPTZ {sql_text(horizon.before.isoformat())}"
            highest = f"SELECT max({place('generation', 'position')}) AS m FROM gathered WHERE {old}"
            row = con.execute(f"SELECT m.g, m.p FROM ({highest})").fetchone()
            if row is not None and row[0] is not None:
                forgotten = Position(int(row[0]), int(row[1]))
                floor = max(floor, forgotten) if floor else forgotten
            con.execute(f"DELETE FROM gathered WHERE {old}")
        together = tombstone_objects(batch_id)[1]
        left = self._write(con, together, "FROM gathered")
        bounds = {together: left} if left is not None else {}
        written.extend(bounds)
        con.execute("DROP TABLE gathered")
        return TombstoneFiles(tuple(bounds), tuple(written), floor, bounds)

    def _newest(self, keys: str) -> str:
        order = (
            "generation DESC, position DESC, image_generation DESC NULLS LAST, image_position DESC NULLS LAST"
        )
        return f"row_number() OVER (PARTITION BY {keys} ORDER BY {order}) = 1"

    def _source(self, files: Sequence[str]) -> str:
        fields = {**self._key_types, **_FIELDS}
        if not files:
            nothing = ", ".join(f"NULL::{kind} AS {quoted(name)}" for name, kind in fields.items())
            return f"(SELECT {nothing} WHERE false)"
        cast = ", ".join(f"{quoted(name)}::{kind} AS {quoted(name)}" for name, kind in fields.items())
        return f"(SELECT {cast} FROM {parquet_sql(map(self._objects.url, files), by_name=True)})"

    def _write(self, con: duckdb.DuckDBPyConnection, key: str, rows: str | pa.Table) -> Position | None:
        """Write the tombstones that are, or that a query yields; return a position none is above.

        Return None, and write nothing, when there are none.
        """
        keys = ", ".join(map(quoted, self._key_types))
        names = ", ".join([keys, *_FIELDS])
        reader = (
            con.execute(f"SELECT {names} FROM ({rows}) ORDER BY {keys}").to_arrow_reader(_BATCH_ROWS)
            if isinstance(rows, str)
            else rows.combine_chunks().to_reader(_BATCH_ROWS)
        )
        sink = io.BytesIO()
        repetitive = cast(Any, ["generation", "image_generation"])
        with pq.ParquetWriter(
            sink,
            reader.schema,
            compression="zstd",
            use_dictionary=repetitive,
            store_decimal_as_integer=True,
            write_statistics=columns_with_statistics(reader.schema),
        ) as writer:
            highest: Position | None = None
            for batch in reader:
                if not batch.num_rows:
                    continue
                writer.write_batch(batch)
                tops = (pc.max(batch.column(name)).as_py() for name in ("generation", "position"))
                bound = Position(*map(int, tops))
                highest = bound if highest is None else _above_both(highest, bound)
        if highest is not None:
            self._objects.put(key, sink.getvalue())
        return highest


def _above_both(one: Position, other: Position) -> Position:
    return Position(max(one.generation, other.generation), max(one.sequence, other.sequence))
