"""Change events: their ops, their total order, and the columns that carry both.

A *normalised event stream* is what every raw-format reader yields and every merge engine takes: Arrow
record batches whose first columns are :data:`EVENT_COLUMNS`, then the source's columns under their safe
names and canonical types, then ``_cdc_before_<column>`` for each before-image column the file carries.

The order of events (see :class:`Position`) is ``(generation, sequence)``. A sequence is 38 decimal digits:

* ``change-sequence`` kind: ``AR_H_CHANGE_SEQ`` has 16 time digits and a 19-digit counter; between them go
  three digits for the ordinal of the task that wrote it, so that successive tasks of one table compare by
  time, then task, then counter.
* ``commit-time`` kind: 16 digits of commit timestamp (µs since the epoch), 13 digits of file time (ms since
  the epoch), 9 digits of row number in the file.
* ``file-time`` kind: as ``commit-time`` with a zero commit timestamp; the only order there is when a task
  writes no position column at all.

Rows of a full load have sequence 0: they sort before every change of their generation.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pyarrow as pa

POSITION_TYPE = pa.decimal128(38, 0)
TIMESTAMP_TYPE = pa.timestamp("us", tz="UTC")

OP = "_cdc_op"
GENERATION = "_cdc_generation"
POSITION = "_cdc_position"
COMMITTED_AT = "_cdc_committed_at"
ROW = "_cdc_row"
SOURCE_POSITION = "_cdc_source_position"
BEFORE_PREFIX = "_cdc_before_"
CONTROL_PREFIX = "_cdc_"

_CONTROL: list[pa.Field[Any]] = [
    pa.field(OP, pa.string(), nullable=False),
    pa.field(GENERATION, pa.int64(), nullable=False),
    pa.field(POSITION, POSITION_TYPE, nullable=False),
    pa.field(COMMITTED_AT, TIMESTAMP_TYPE),
]
_LINEAGE: list[pa.Field[Any]] = [
    pa.field(ROW, pa.int64(), nullable=False),
    pa.field(SOURCE_POSITION, pa.string()),
]

#: What every base table carries beside the source's columns, in this order, before them.
CONTROL_COLUMNS = pa.schema(_CONTROL)

#: What every event of the normalised stream carries: the control columns, the 0-based row number in the
#: raw file, and the source's own log position where the task writes it (AR_H_STREAM_POSITION, verbatim).
EVENT_COLUMNS = pa.schema([*_CONTROL, *_LINEAGE])


class Op(StrEnum):
    """What happened to a row. ``LOAD`` is a row of a full load."""

    INSERT = "I"
    UPDATE = "U"
    DELETE = "D"
    LOAD = "L"


class PositionKind(StrEnum):
    """What a table's sequences are made of; sequences of two kinds are never compared."""

    CHANGE_SEQUENCE = "change-sequence"
    COMMIT_TIME = "commit-time"
    FILE_TIME = "file-time"


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """Where an event stands: first the full load it follows, then its place in the log since.

    >>> Position(2, 0) > Position(1, 10**37)
    True
    """

    generation: int
    sequence: int


def before_name(column: str) -> str:
    """Return the event-stream name of ``column``'s before image."""
    return BEFORE_PREFIX + column
