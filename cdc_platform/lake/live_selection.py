"""The live rows of decoded columns, taken out of them the quicker way: by their numbers, or by a mask.

A mask copies runs of rows at a time, which pays while few rows are deleted; numbers copy one value each,
whatever lies between. Text and wide numbers are quicker by a mask always. Measured with pyarrow 26 on row
groups of 131,072 rows, of which 0.5 to 10 % were deleted.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.lake.deleted_positions import Mask

#: With fewer deleted rows than one of so many a mask is quicker for every type.
_FEW_DELETED = 25


class LiveSelection:
    """The rows that ``live`` says are there."""

    def __init__(self, live: Mask) -> None:
        self._live = live
        #: How many rows are live.
        self.count = int(np.count_nonzero(live))
        self._few_deleted = (len(live) - self.count) * _FEW_DELETED < len(live)

    @classmethod
    def of(cls, live: Mask | None) -> LiveSelection | None:
        """Return the selection, None where all rows are live."""
        return None if live is None or live.all() else cls(live)

    @cached_property
    def _numbers(self) -> pa.Array[Any]:
        return pa.array(np.flatnonzero(self._live))

    @cached_property
    def _mask(self) -> pa.BooleanArray:
        mask: Any = pa.array(self._live)
        return cast(pa.BooleanArray, mask)

    def taken(self, column: pa.Array[Any]) -> Any:
        """Return the live rows of a column that is as long as the mask."""
        if self._few_deleted or _is_wide(column.type):
            return pc.filter(column, self._mask)
        # the numbers come from a mask as long as the column, so they need no check
        return pc.take(column, self._numbers, boundscheck=False)


def _is_wide(kind: pa.DataType) -> bool:
    return (
        pa.types.is_decimal(kind)
        or pa.types.is_string(kind)
        or pa.types.is_large_string(kind)
        or pa.types.is_binary(kind)
        or pa.types.is_large_binary(kind)
    )
