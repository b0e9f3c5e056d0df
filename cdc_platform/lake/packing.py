"""Keys of several whole numbers as one number each, which sorts as the keys do.

Arrays of one number are sorted, compared and searched several times as quickly as arrays of several.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Packing:
    """One number for each key whose parts are within some ranges."""

    lows: tuple[int, ...]
    spans: tuple[int, ...]

    @classmethod
    def of(cls, columns: Sequence[Numbers]) -> Packing | None:
        """Return the packing of every key between the extremes of ``columns``, which must have rows.

        None where there are more such keys than a signed 64-bit number counts.
        """
        lows = tuple(int(column.min()) for column in columns)
        spans = tuple(int(column.max()) - low + 1 for column, low in zip(columns, lows, strict=True))
        return cls(lows, spans) if math.prod(spans) < 2**63 else None

    @property
    def places(self) -> int:
        """How many keys there are within the ranges."""
        return math.prod(self.spans)

    def pack(self, columns: Sequence[Numbers]) -> npt.NDArray[np.int64]:
        """Return the numbers of keys, all of them within the ranges."""
        packed = np.zeros(len(columns[0]), dtype=np.int64)
        for column, low, span in zip(columns, self.lows, self.spans, strict=True):
            packed *= span
            packed += column.astype(np.int64, copy=False) - low
        return packed

    def unpack(self, packed: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.int64], ...]:
        """Return the columns of keys from their numbers."""
        columns: list[npt.NDArray[np.int64]] = []
        for low, span in zip(reversed(self.lows), reversed(self.spans), strict=True):
            packed, part = np.divmod(packed, span)
            columns.append(part + low)
        return tuple(reversed(columns))


def sorted_keys(columns: Sequence[Numbers]) -> tuple[Numbers, ...]:
    """Return the columns of keys in the order of the keys, by the first column first."""
    if len(columns) == 1:
        return (np.sort(columns[0]),)
    packing = Packing.of(columns) if len(columns[0]) else None
    if packing is None:
        order = np.lexsort(tuple(reversed(columns)))
        return tuple(column[order] for column in columns)
    found = packing.unpack(np.sort(packing.pack(columns)))
    return tuple(part.astype(column.dtype, copy=False) for part, column in zip(found, columns, strict=True))
