"""Partition specs from ``partition_by``, and the SQL that computes a row's partition values."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import BucketTransform, Transform, TruncateTransform, parse_transform
from pyiceberg.types import (
    DateType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
)

from cdc_platform.config.model import TableConfig, parse_partition_field
from cdc_platform.errors import SchemaError
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.naming import safe_name

_FIRST_PARTITION_ID = 1000
_MICROSECONDS = {"hour": 3_600_000_000, "day": 86_400_000_000}


def partition_spec(table: TableConfig, schema: Schema, *, where: str) -> PartitionSpec:
    """Return the spec ``partition_by`` asks for. Raises SchemaError when a column or transform does not fit."""
    fields = []
    for number, text in enumerate(table.partition_by):
        name, width, source = parse_partition_field(text)
        column = safe_name(source)
        field = next((f for f in schema.fields if f.name == column), None)
        if field is None:
            raise SchemaError(
                f"partition column {source!r} is not in the files",
                where=where,
                mend=f"correct {text!r} in `partition_by`",
            )
        transform: Transform[object, object] = parse_transform(f"{name}[{width}]" if width else name)
        if not transform.can_transform(field.field_type):
            raise SchemaError(
                f"{text!r} does not go with a column of type {field.field_type}",
                where=where,
                mend="use another transform in `partition_by`",
            )
        partition = (
            column if name == "identity" else "_".join([column, name, *([str(width)] if width else [])])
        )
        fields.append(PartitionField(field.field_id, _FIRST_PARTITION_ID + number, transform, partition))
    return PartitionSpec(*fields)


def partition_expressions(
    con: duckdb.DuckDBPyConnection, spec: PartitionSpec, schema: Schema, columns: Mapping[str, str]
) -> list[str]:
    """Return one SQL expression per field of ``spec``; ``columns`` maps a column to the SQL of its value."""
    expressions = []
    for field in spec.fields:
        source = schema.find_field(field.source_id)
        value = columns[source.name]
        expressions.append(_expression(con, field.transform, source.field_type, value))
    return expressions


def _expression(
    con: duckdb.DuckDBPyConnection, transform: Transform[object, object], kind: IcebergType, value: str
) -> str:
    name = str(transform).partition("[")[0]
    if name == "identity":
        return value
    if name == "void":
        return "NULL::INTEGER"
    if name in ("year", "month"):
        moment = value if isinstance(kind, DateType) else _utc(value, kind)
        months = f"(year({moment}) - 1970) * 12 + month({moment}) - 1"
        return f"(year({moment}) - 1970)::INTEGER" if name == "year" else f"({months})::INTEGER"
    if name in _MICROSECONDS:
        if isinstance(kind, DateType):
            return f"({value} - DATE '1970-01-01')::INTEGER"
        return f"({_floor(f'epoch_us({value})', _MICROSECONDS[name])} // {_MICROSECONDS[name]})::INTEGER"
    if isinstance(transform, TruncateTransform) and isinstance(kind, IntegerType | LongType | StringType):
        width = transform.width
        if isinstance(kind, StringType):
            return f"substr({value}, 1, {width})"
        return f"{_floor(value, width)}::{duckdb_type(kind)}"
    return _by_function(con, transform, kind, value)


def _utc(value: str, kind: IcebergType) -> str:
    return f"timezone('UTC', {value})" if str(kind) == "timestamptz" else value


def _floor(value: str, width: int) -> str:
    """Return SQL for ``value`` rounded down (not towards zero) to a multiple of ``width``."""
    return f"({value} - (({value} % {width}) + {width}) % {width})"


def _by_function(
    con: duckdb.DuckDBPyConnection, transform: Transform[object, object], kind: IcebergType, value: str
) -> str:
    """Register pyiceberg's own transform as a vectorised function: it runs once per distinct value of a batch."""
    apply = transform.transform(kind)
    bucket = isinstance(transform, BucketTransform)
    result = pa.int32() if bucket else None

    def run(values: pa.ChunkedArray) -> pa.Array:
        encoded = pc.dictionary_encode(values.combine_chunks())
        distinct = [apply(each) for each in encoded.dictionary.to_pylist()]
        return pa.array(distinct, result or values.type).take(encoded.indices)

    argument = duckdb_type(kind)
    if argument is None:
        raise SchemaError(f"no partition transform {transform} for type {kind}")
    name = safe_name(f"cdc {transform} {kind}")
    known = con.execute("SELECT 1 FROM duckdb_functions() WHERE function_name = ?", [name]).fetchone()
    if known is None:
        con.create_function(
            name, run, [argument], "INTEGER" if bucket else argument, type="arrow", null_handling="default"
        )
    return f"{name}({value})"
