"""The rows of a Parquet file that can be stored; the others are rejected one by one, before all else.

A value that nothing would be stored of rejects no row, but is taken as NULL: in a delete, of which only the
key counts, and in the before image of a column that is none of the key.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at

from cdc_platform.config.model import NoKey, TableConfig
from cdc_platform.events import Op, before_name
from cdc_platform.formats.bad_values import BadValues, bad_values_of, plain_array, shown_values
from cdc_platform.formats.event_file import RejectedRow, RowBatch, shown
from cdc_platform.formats.layout import Layout


@dataclass(frozen=True, slots=True)
class _Looked:
    """A column that is looked at; its values do not count in rows of the ops ``void``, '*' being all."""

    index: int
    values: BadValues
    void: str


class Storable:
    """Sifts the row batches of one file. ``types`` are the file's, column by column."""

    def __init__(self, layout: Layout, types: Sequence[pa.DataType], table: TableConfig) -> None:
        self._op = layout.op
        voids = dict(_voids(layout, table))
        found = ((index, bad_values_of(types[index]), void) for index, void in voids.items())
        self._looked = [_Looked(index, values, void) for index, values, void in found if values is not None]

    def sift(self, rows: RowBatch) -> RowBatch:
        """Return ``rows`` without those that cannot be stored, which are added to ``rejected``."""
        bad: dict[int, pa.Array[Any]] = {}
        for look in self._looked:
            mask = look.values.find(rows.columns[look.index])
            if mask is not None:
                bad[look.index] = mask
        if not bad:
            return rows
        columns = [plain_array(column) for column in rows.columns.columns]
        for index, mask in bad.items():
            columns[index] = cast("pa.Array[Any]", pc.if_else(mask, None, columns[index]))
        fault = pa.nulls(len(rows.numbers), pa.int32())
        for place, look in enumerate(self._looked):
            if look.index in bad:
                counts = pc.and_(self._counts(look, columns), bad[look.index])
                fault = cast(
                    Any, pc.if_else(pc.and_(counts, pc.is_null(fault)), pa.scalar(place, pa.int32()), fault)
                )
        is_good = pc.is_null(fault)
        kept = pa.RecordBatch.from_arrays(columns, names=rows.columns.schema.names).filter(is_good)
        rejected = rows.rejected + self._rejected(rows, fault)
        return RowBatch(kept, rows.numbers.filter(is_good), rejected)

    def _counts(self, look: _Looked, columns: Sequence[pa.Array[Any]]) -> pa.Array[Any]:
        """Return in which rows the column's values count."""
        ops = columns[self._op] if self._op is not None else None
        if look.void == "*" or not look.void or ops is None or not _is_text(ops):
            return pa.repeat(pa.scalar(look.void != "*"), len(columns[look.index]))
        return pc.invert(pc.is_in(ops, value_set=pa.array([look.void], ops.type)))

    def _rejected(self, rows: RowBatch, fault: pa.Array[Any]) -> tuple[RejectedRow, ...]:
        is_bad = pc.is_valid(fault)
        numbers: list[Any] = rows.numbers.filter(is_bad).to_pylist()
        faults: list[Any] = fault.filter(is_bad).to_pylist()
        names = rows.columns.schema.names
        return tuple(
            RejectedRow(number, names[look.index], look.values.reason, look.values.mend, values)
            for number, look, values in zip(
                numbers,
                (self._looked[place] for place in faults),
                shown_rows(rows.columns, is_bad),
                strict=True,
            )
        )


def _is_text(array: pa.Array[Any]) -> bool:
    return at.is_string(array.type) or at.is_large_string(array.type)


def shown_rows(columns: pa.RecordBatch, wanted: pa.Array[Any]) -> Iterator[dict[str, str | None]]:
    """Yield the wanted rows as text for a person, whatever values they have."""
    names = columns.schema.names
    texts = [map(shown, shown_values(plain_array(column).filter(wanted))) for column in columns.columns]
    for row in zip(*texts, strict=True):
        yield dict(zip(names, row, strict=True))


def _voids(layout: Layout, table: TableConfig) -> Iterator[tuple[int, str]]:
    """Yield the columns that become part of events, with the op of which their values do not count."""
    key = table.safe_key
    for control in (layout.op, layout.timestamp, layout.change_sequence, layout.stream_position):
        if control is not None:
            yield control, ""
    for column in layout.columns:
        # a multiset knows a row again by all of it
        is_identity = column.name in key or table.no_key is NoKey.MULTISET
        yield column.index, "" if is_identity else Op.DELETE
    for column in layout.before:
        is_identity = column.name in map(before_name, key) or table.no_key is NoKey.MULTISET
        yield column.index, Op.INSERT if is_identity else "*"
