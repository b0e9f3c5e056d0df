"""Rows off PostgreSQL's binary protocol → typed Arrow columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.decimal_text import decimals_of_text
from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.not_finite import (
    may_be_not_finite,
    only_not_finite,
    without_not_finite,
    written_name,
)
from cdc_platform.reconcile.sources import KEY_NUMBER, ColumnPlan, Decoding

# From 1970-01-01 to PostgreSQL's epoch, 2000-01-01.
_EPOCH_DAYS = 10_957
_EPOCH_MICROSECONDS = _EPOCH_DAYS * 86_400_000_000

_INT32_MAX, _INT64_MAX = 2**31 - 1, 2**63 - 1


def decode_columns(rows: Sequence[tuple[Any, ...]], plans: Sequence[ColumnPlan]) -> pa.Table:
    """Return KEY_NUMBER (from 0) and one typed column per plan. Infinite dates become DuckDB's infinity.

    Where numerics are not finite, their texts come in columns of their own (``written_name``).
    """
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * (len(plans) + 1)
    numbers = pc.subtract(pa.array(columns[0], pa.int64()), 1)
    wires = [pa.array(values, plan.wire) for values, plan in zip(columns[1:], plans, strict=True)]
    arrays = [decode(wire, plan) for wire, plan in zip(wires, plans, strict=True)]
    found = pa.Table.from_arrays([numbers, *arrays], names=[KEY_NUMBER, *(plan.column for plan in plans)])
    for wire, plan in zip(wires, plans, strict=True):
        if may_be_not_finite(plan) and (odd := only_not_finite(wire)).null_count < len(odd):
            found = found.append_column(written_name(plan.column), odd)
    return found


def decode(values: pa.Array[Any], plan: ColumnPlan) -> pa.Array[Any]:
    """Return the typed values of one column."""
    match plan.decoding:
        case Decoding.DECIMAL_TEXT:
            return _decimals(without_not_finite(values), plan)
        case Decoding.NUMBER_TEXT:
            return without_not_finite(values)
        case Decoding.EPOCH_2000_DAYS:
            return _shift(values, _EPOCH_DAYS, _INT32_MAX).cast(pa.int32()).cast(plan.arrow)
        case Decoding.EPOCH_2000_MICROSECONDS:
            return _shift(values, _EPOCH_MICROSECONDS, _INT64_MAX).cast(plan.arrow)
        case _:
            return values if values.type == plan.arrow else values.cast(plan.arrow)


def _decimals(values: pa.Array[Any], plan: ColumnPlan) -> pa.Array[Any]:
    try:
        return decimals_of_text(values, plan.arrow)
    except pa.ArrowInvalid as error:
        raise SourceUnavailable(
            f"a value of {plan.source_column!r} cannot be read as {plan.arrow}: {error}",
            mend="name the column in `not_compared` of the table in cdc.yaml, or, if it is of the merge key, "
            "merge by another key",
        ) from None


def _shift(values: pa.Array[Any], offset: int, infinity: int) -> pa.Array[Any]:
    """Move to the Unix epoch, keeping both infinities; what no longer fits is as good as infinite."""
    wide = values.cast(pa.int64())
    highest = infinity - offset if infinity == _INT64_MAX else infinity
    upper = pc.greater_equal(wide, pa.scalar(highest, pa.int64()))
    lower = pc.less_equal(wide, pa.scalar(-infinity, pa.int64()))
    inside = pc.if_else(pc.or_(upper, lower), 0, wide)
    moved: pa.Array[Any] = pc.add(inside, offset)
    return cast("pa.Array[Any]", pc.if_else(upper, infinity, pc.if_else(lower, -infinity, moved)))
