"""What a reader yields: batches of events, and the rows that are none with why and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

_LONGEST = 1_000


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that cannot be applied. ``row`` is its 0-based number among the file's records.

    ``column`` is the source's name of the column at fault, None when the row as a whole is. ``values`` are
    the file's own columns as text, shortened to 1,000 characters each.
    """

    row: int
    column: str | None
    reason: str
    mend: str
    values: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class EventBatch:
    """Some rows of a file, in file order: those that are events, and those that are rejected."""

    events: pa.RecordBatch
    rejected: tuple[RejectedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class RowBatch:
    """Some records of a file as they lie there, with the number of each and those that are no records."""

    columns: pa.RecordBatch
    numbers: pa.Array[Any]
    rejected: tuple[RejectedRow, ...] = ()


def numbers_from(start: int, stop: int) -> pa.Array[Any]:
    """Return the int64 numbers from ``start`` up to, not including, ``stop``."""
    result: pa.Array[Any] = pa.arange(start, stop)  # type: ignore[attr-defined]  # missing in the stubs
    return result


def shown(value: Any) -> str | None:
    """Return ``value`` as text for a person, shortened."""
    if value is None:
        return None
    text = value.hex() if isinstance(value, bytes) else str(value)
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
