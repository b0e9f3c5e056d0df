"""Rows that have no partition: a decimal so low that, rounded down by ``truncate``, it outgrows its type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as at
from pyiceberg.table import Table
from pyiceberg.transforms import TruncateTransform
from pyiceberg.types import DecimalType, PrimitiveType

from cdc_platform.config.model import TableConfig, parse_partition_field
from cdc_platform.events import CONTROL_PREFIX, OP, ROW, Op
from cdc_platform.formats.event_file import EventBatch, RejectedRow
from cdc_platform.formats.storable import shown_rows
from cdc_platform.lake import inputs
from cdc_platform.naming import safe_name

_REASON = "the value is too low for a partition: rounded down it has more digits than its type"
_MEND = (
    "correct the value at the source; or give the table a new `id` and another `partition_by`, and reload it"
)


def partition_floors(
    table: Table | None, config: TableConfig, columns: Mapping[str, PrimitiveType]
) -> dict[str, tuple[int, int]]:
    """Return (lowest value, scale) of each decimal column whose lowest values have no partition."""
    floors: dict[str, tuple[int, int]] = {}
    for column, width in _truncated(table, config):
        kind = columns.get(column)
        if isinstance(kind, DecimalType):
            lowest = -((10**kind.precision - 1) // width * width)
            floors[column] = max((lowest, kind.scale), floors.get(column, (lowest, kind.scale)))
    return floors


def _truncated(table: Table | None, config: TableConfig) -> Iterator[tuple[str, int]]:
    """Yield the columns that are truncated, by the table's own spec once there is one."""
    if table is not None:
        for field in table.spec().fields:
            name = table.schema().find_column_name(field.source_id)
            if isinstance(field.transform, TruncateTransform) and name is not None:
                yield name, field.transform.width
        return
    for text in config.partition_by:
        transform, width, column = parse_partition_field(text)
        if transform == "truncate" and width is not None:
            yield safe_name(column), width


class FittingFile:
    """An event file without the rows that have no partition, which are rejected. It closes the other."""

    def __init__(self, file: inputs.EventFile, floors: Mapping[str, tuple[int, int]]) -> None:
        self._file, self._floors = file, floors
        self.schema = file.schema
        self.source_columns = file.source_columns
        self.position_kind = file.position_kind

    def batches(self) -> Iterator[inputs.EventBatch]:
        """Yield the events in file order."""
        for batch in self._file.batches():
            yield self._fitting(batch)

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _fitting(self, batch: inputs.EventBatch) -> inputs.EventBatch:
        events, rejected = batch.events, tuple(batch.rejected)
        for column, (lowest, scale) in self._floors.items():
            index = events.schema.get_field_index(column)
            is_low = _lower(events.column(index), lowest, scale) if index >= 0 else None
            if is_low is None or not events.num_rows:
                continue
            # of a delete nothing is stored
            is_low = pc.and_(is_low, pc.not_equal(events.column(OP), pa.scalar(str(Op.DELETE))))
            rejected += self._rejected(events.filter(is_low), column)
            events = events.filter(pc.invert(is_low))
        return EventBatch(events, rejected)  # type: ignore[arg-type]

    def _rejected(self, events: pa.RecordBatch, column: str) -> tuple[RejectedRow, ...]:
        source = self.source_columns
        own = events.select([n for n in events.schema.names if not n.startswith(CONTROL_PREFIX)])
        names = [source.get(name, name) for name in own.schema.names]
        named = pa.RecordBatch.from_arrays(own.columns, names=names)
        numbers: list[Any] = events.column(ROW).to_pylist()
        every: pa.Array[Any] = pa.repeat(pa.scalar(True), len(numbers))
        return tuple(
            RejectedRow(number, source.get(column, column), _REASON, _MEND, values)
            for number, values in zip(numbers, shown_rows(named, every), strict=True)
        )


def _lower(array: Any, lowest: int, scale: int) -> Any:
    """Return which values are below ``lowest``, a number of ``scale`` decimals; None for none of them."""
    kind = array.type
    if not at.is_decimal128(kind) or kind.scale > scale:
        return None
    digits = str(-lowest // 10 ** (scale - kind.scale))
    if len(digits) > kind.precision:
        return None
    floor = pa.scalar(Decimal((1, tuple(map(int, digits)), -kind.scale)), kind)
    is_low: Any = pc.fill_null(pc.less(array, floor), False)
    return is_low if pc.any(is_low).as_py() else None
