"""Which columns of the Parquet files we write have statistics: all but those of floating-point numbers.

Statistics leave NaN out, and DuckDB 1.5 believes them: asked for a NaN, or joined by one, it skips the row
groups that hold it. A float column without statistics costs a scan of it; with them a merge would not find
the row of a key that is NaN again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa
from pyiceberg.io.pyarrow import MetricModeTypes, MetricsMode, StatisticsCollector, compute_statistics_plan
from pyiceberg.schema import Schema
from pyiceberg.types import DoubleType, FloatType

_FLOATING = (FloatType, DoubleType)


def columns_with_statistics(schema: pa.Schema) -> Any:
    """Return what pyarrow is to be told as ``write_statistics``."""
    return [field.name for field in schema if not pa.types.is_floating(field.type)]


def statistics_plan(schema: Schema, properties: Mapping[str, str]) -> dict[int, StatisticsCollector]:
    """Return what pyiceberg collects for a data file written so: nothing of columns without statistics."""
    plan = compute_statistics_plan(schema, dict(properties))
    nothing = MetricsMode(MetricModeTypes.NONE)
    return {
        field_id: replace(column, mode=nothing) if isinstance(column.iceberg_type, _FLOATING) else column
        for field_id, column in plan.items()
    }
