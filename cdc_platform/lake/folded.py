"""The merge rule for a batch that could be folded: the fate of each key as arrays, in the order of the keys.

It decides what :class:`cdc_platform.lake.keyed.KeyedRule` would of the same events; see there for the rule.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.events import (
    COMMITTED_AT,
    CONTROL_COLUMNS,
    GENERATION,
    OP,
    POSITION,
    POSITION_TYPE,
    ROW,
    TIMESTAMP_TYPE,
    Op,
    Position,
)
from cdc_platform.lake.base_rows import BaseRows
from cdc_platform.lake.event_images import ImagesAhead
from cdc_platform.lake.fold import NUMBER, Fold, Places
from cdc_platform.lake.packing import Numbers
from cdc_platform.lake.result import MergeCounts
from cdc_platform.lake.staging import EVENT, ROWS_PER_FILE
from cdc_platform.lake.tombstones import Tombstones
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted

#: Rows of the table, or tombstones, of the keys, with their positions; NULL for certainly older ones.
_TOLD = f"{NUMBER}, generation, position"


@dataclass(frozen=True, slots=True)
class Fates:
    """What becomes of the keys, in their order."""

    fold: Fold
    images: ImagesAhead
    #: Rows of the fold's events that are to be written, and those that leave a tombstone.
    upserts: Numbers
    buried: Numbers
    #: The times of the files.
    moments: Mapping[int, datetime]
    counts: MergeCounts

    def upserted(self) -> pa.Table:
        """Return the names of the events to be written, as the staging gives them."""
        files = np.asarray(self.fold.files)[self.fold.file_of(self.upserts)]
        rows: Any = self.fold.events.column(ROW).take(self.upserts).to_numpy()
        return pa.table({EVENT: pa.array(files * ROWS_PER_FILE + rows)})

    def tombstones(self) -> pa.Table:
        """Return the tombstones the batch leaves."""
        rows = self.buried
        chosen = self.fold.events.take(rows)
        committed: Any = chosen.column(COMMITTED_AT)
        happened = committed
        if committed.null_count:
            times = pa.array([self.moments[index] for index in self.fold.files], TIMESTAMP_TYPE)
            happened = pc.coalesce(committed, times.take(self.fold.file_of(rows)))
        told = {
            "generation": chosen.column(GENERATION),
            "position": chosen.column(POSITION),
            "committed_at": committed,
            "happened_at": happened,
            "image_generation": pa.nulls(len(rows), pa.int64()),
            "image_position": pa.nulls(len(rows), POSITION_TYPE),
        }
        keys = self.fold.key_columns(chosen)
        return pa.table({**dict(zip(keys.column_names, keys.columns, strict=True)), **told})


class FoldedRule:
    """Judges the keys of ``fold``."""

    def __init__(self, con: duckdb.DuckDBPyConnection, fold: Fold) -> None:
        self._con = con
        self._fold = fold
        self._has_positions = False
        self._has_row = np.zeros(len(fold.rows), dtype=bool)
        self._is_stale = np.zeros(len(fold.rows), dtype=bool)

    def look_up(self, rows: BaseRows, tombstones: Tombstones, oldest: Position) -> None:
        """Make ``known`` and ``tombs`` for the keys; ``oldest`` is the lowest position of the batch."""
        self._con.register("touched", self._fold.touched())
        rows.find(rows.candidates(self._fold), oldest)
        self._has_positions = rows.has_positions
        tombstones.find(oldest)

    def decide(self, moments: Mapping[int, datetime], images: ImagesAhead) -> Fates:
        """Return the fates, and make ``gone`` of the rows that disappear; ``moments`` are files' times."""
        told = _TOLD if self._has_positions else NUMBER
        known = self._con.execute(f"SELECT file, pos, {told} FROM known").to_arrow_table()
        numbers: Any = known.column(NUMBER).to_numpy()
        self._has_row[numbers] = True
        if self._has_positions:
            self._outdate(known)
        if self._con.execute("FROM tombs LIMIT 1").fetchone() is not None:
            keys = ", ".join(quoted(alias(column)) for column in self._fold.key)
            buried = f"SELECT {_TOLD} FROM tombs JOIN touched USING ({keys})"
            self._outdate(self._con.execute(buried).to_arrow_table())
        is_live = ~self._is_stale
        going = known.select(["file", "pos"])
        if self._is_stale.any():
            going = going.filter(pa.array(is_live[numbers]))
        self._con.register("going", going)
        self._con.execute("CREATE TABLE gone AS FROM going")
        self._con.unregister("going")
        deletes = np.flatnonzero(is_live & self._fold.deletes)
        upserts = np.flatnonzero(is_live & ~self._fold.deletes)
        return Fates(
            self._fold,
            images,
            self._fold.rows[upserts],
            self._fold.rows[deletes],
            moments,
            self._counts(upserts, deletes),
        )

    def _outdate(self, told: pa.Table) -> None:
        """Mark the keys stale whose event is not above a position told of them."""
        if told.column("generation").null_count == len(told):
            return
        told = told.filter(pc.is_valid(told.column("generation")))
        numbers: Any = told.column(NUMBER).to_numpy()
        stored = Places.of(told.column("generation"), told.column("position").cast(POSITION_TYPE))
        self._is_stale[numbers[~self._fold.places(numbers).above(stored)]] = True

    def _counts(self, upserts: Numbers, deletes: Numbers) -> MergeCounts:
        lone = upserts[~self._has_row[upserts]]
        ops: Any = self._fold.events.column(OP).take(self._fold.rows[lone])
        updates: Any = pc.sum(pc.equal(ops, pa.scalar(Op.UPDATE.value))).as_py()
        updated, deleted = (int(np.count_nonzero(self._has_row[some])) for some in (upserts, deletes))
        return MergeCounts(
            rows_inserted=len(lone),
            rows_updated=updated,
            rows_deleted=deleted,
            deletes_without_row=len(deletes) - deleted,
            updates_without_row=int(updates or 0),
            stale=int(np.count_nonzero(self._is_stale)),
        )


def upserted_sql(columns: Sequence[str]) -> str:
    """Return the SQL of the rows to write, of the events that a table ``upserted`` names."""
    names = ", ".join([*CONTROL_COLUMNS.names, *map(quoted, columns)])
    return f"SELECT {names} FROM events SEMI JOIN upserted USING ({EVENT})"
