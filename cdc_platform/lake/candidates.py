"""Which data files may hold a key of a batch, by what the table's manifests tell of them."""

from __future__ import annotations

from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.expressions import (
    AlwaysTrue,
    And,
    BooleanExpression,
    GreaterThanOrEqual,
    In,
    LessThanOrEqual,
    Reference,
)
from pyiceberg.schema import Schema

from cdc_platform.lake.base_files import BaseFile, bounds
from cdc_platform.lake.touched_keys import TouchedKeys
from cdc_platform.lake.workspace import table_column
from cdc_platform.naming import quoted

_IN_FILTER_KEYS = 200


def key_filter(con: duckdb.DuckDBPyConnection, schema: Schema, touched: TouchedKeys) -> BooleanExpression:
    """Return a filter on the key columns that every key in ``touched`` passes."""
    result: BooleanExpression = AlwaysTrue()
    for name in touched.key:
        column = table_column(name)
        if not _is_exact(schema, column):
            continue
        values = touched.values(name, _IN_FILTER_KEYS)
        low, high = min(values, default=None), max(values, default=None)
        if not values:
            low, high = touched.extremes(name)
        if low is None or _may_wrap(schema, column, low) or low == date.min or high == date.max:
            # pyiceberg steps over the bounds of a filter, which the first and the last date do not allow
            continue
        between = And(
            GreaterThanOrEqual(term=Reference(column), value=low),
            LessThanOrEqual(term=Reference(column), value=high),
        )
        result = And(result, In(term=Reference(column), literals=values) if values else between)
    return result


def _is_exact(schema: Schema, column: str) -> bool:
    """Whether Python values of the column go into an Iceberg filter unchanged."""
    field = next((f for f in schema.fields if f.name == column), None)
    return field is not None and str(field.field_type) in ("int", "long", "string", "date")


def _may_wrap(schema: Schema, column: str, low: object) -> bool:
    """Whether the truncate of ``low`` may wrap around, which the filters of pyiceberg do not know."""
    lowest = {"int": -(2**30), "long": -(2**62)}.get(str(schema.find_type(column)))
    return lowest is not None and isinstance(low, int) and low < lowest


def files_hit(
    con: duckdb.DuckDBPyConnection, schema: Schema, touched: TouchedKeys, files: list[BaseFile]
) -> list[BaseFile]:
    """Return the files some key of ``touched`` lies in the key range of."""
    if len(files) <= 1 or not touched.key:
        return files
    if touched.ascending is not None:
        return [file for file in files if touched.in_range(file)]
    if touched.fold is not None:
        return [file for file in files if touched.may_be_in(file)]
    columns: dict[str, pa.Array[Any]] = {"file": pa.array([file.index for file in files], pa.int32())}
    terms = []
    for number, name_there in enumerate(touched.key):
        name, column = quoted(name_there), table_column(name_there)
        limits = [bounds(file, schema, column) for file in files]
        kind = schema.as_arrow().field(column).type
        columns[f"low{number}"] = pa.array([low for low, _ in limits], kind)
        columns[f"high{number}"] = pa.array([high for _, high in limits], kind)
        term = f"t.{name} >= b.low{number} AND t.{name} <= b.high{number}"
        # the bounds of a file say nothing of whether a NaN is in it
        terms.append(f"({term} OR isnan(t.{name}))" if pa.types.is_floating(kind) else term)
    con.register("file_bounds", pa.table(columns))
    unbounded = " OR ".join(f"low{n} IS NULL OR high{n} IS NULL" for n in range(len(touched.key)))
    hits = con.execute(
        "SELECT file FROM file_bounds b "
        f"WHERE EXISTS (SELECT 1 FROM touched t WHERE {' AND '.join(terms)}) "
        f"UNION SELECT file FROM file_bounds WHERE {unbounded}"
    ).fetchall()
    con.unregister("file_bounds")
    chosen = {index for (index,) in hits}
    return [file for file in files if file.index in chosen]
