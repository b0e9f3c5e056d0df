"""Partition specs from ``partition_by``, and the SQL that computes a row's partition values."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import (
    BucketTransform,
    DayTransform,
    HourTransform,
    IdentityTransform,
    MonthTransform,
    Transform,
    TruncateTransform,
    VoidTransform,
    YearTransform,
    parse_transform,
)
from pyiceberg.types import (
    DateType,
    IcebergType,
    IntegerType,
    LongType,
    StringType,
    TimestampType,
    TimestamptzType,
    TimeType,
)

from cdc_platform.config.model import TableConfig, parse_partition_field
from cdc_platform.config.partition_fields import takes
from cdc_platform.errors import ConfigError
from cdc_platform.lake.column_types import arrow_type, duckdb_type
from cdc_platform.naming import quoted, safe_name

_FIRST_PARTITION_ID = 1000
_HOUR = 3_600_000_000
_BATCH_ROWS = 65_536

#: Murmur3 (32 bit, seed 0) of a long's eight little-endian bytes, as Iceberg's specification has it.
_MURMUR = (
    "murmur_times(x, c) AS (x::UBIGINT * c::UBIGINT) & 4294967295",
    "murmur_left(x, n) AS ((x::UBIGINT << n) & 4294967295) | (x::UBIGINT >> (32 - n))",
    "murmur_block(k) AS murmur_times(murmur_left(murmur_times(k, 3432918353), 15), 461845907)",
    "murmur_mix(h, k) AS (murmur_times(murmur_left(xor(h::UBIGINT, murmur_block(k)), 13), 5) + 3864292196) "
    "& 4294967295",
    "murmur_fold(h, n) AS xor(h::UBIGINT, h::UBIGINT >> n)",
    "murmur_end(h) AS murmur_fold(murmur_times(murmur_fold(murmur_times(murmur_fold("
    "xor(h::UBIGINT, 8::UBIGINT), 16), 2246822507), 13), 3266489909), 16)",
    "murmur_long(v) AS murmur_end(murmur_mix(murmur_mix(0, (v & 4294967295)::UBIGINT), "
    "((v >> 32) & 4294967295)::UBIGINT))",
)


def partition_spec(table: TableConfig, schema: Schema, *, where: str) -> PartitionSpec:
    """Return the spec ``partition_by`` asks for. Raises ConfigError when a field does not fit the schema."""
    fields: list[PartitionField] = []
    for number, text in enumerate(table.partition_by):
        name, width, source = parse_partition_field(text)
        column = safe_name(source)
        field = next((f for f in schema.fields if f.name == column), None)
        if field is None:
            what = f"partition column {source!r} is not in the files"
            raise _mistake(where, number, what, f"correct {text!r} in `partition_by`")
        transform: Transform[Any, Any] = parse_transform(f"{name}[{width}]" if width else name)
        kind = str(field.field_type).partition("(")[0]
        if not transform.can_transform(field.field_type) or not takes(name, kind):
            what = f"{text!r} does not go with a column of type {field.field_type}"
            raise _mistake(where, number, what, "use another transform in `partition_by`")
        partition = (
            column if name == "identity" else "_".join([column, name, *([str(width)] if width else [])])
        )
        taken = {f.name for f in schema.fields if f is not field or name != "identity"}
        while partition in taken | {f.name for f in fields}:
            partition += "_"  # other readers refuse a partition of the name of another column
        fields.append(PartitionField(field.field_id, _FIRST_PARTITION_ID + number, transform, partition))
    return PartitionSpec(*fields)


def _mistake(where: str, number: int, what: str, mend: str) -> ConfigError:
    return ConfigError("cdc.yaml", [(f"{where}: partition_by[{number}]", what, mend)])


def partition_expressions(
    con: duckdb.DuckDBPyConnection, spec: PartitionSpec, schema: Schema, rows_sql: str
) -> list[str]:
    """Return one SQL expression per field of ``spec``, over the columns of the rows that ``rows_sql`` yields.

    Transforms SQL cannot express run once per distinct value, into a table the expression looks them up in.
    """
    expressions = []
    for field in spec.fields:
        source = schema.find_field(field.source_id)
        value = quoted(source.name)
        expression = _expression(con, field.transform, source.field_type, value)
        if expression is None:
            query = f"SELECT DISTINCT {value} AS _cdc_value FROM ({rows_sql}) WHERE {value} IS NOT NULL"
            name = f"values_of_{field.field_id}"
            _tabulate(con, name, query, field.transform, source.field_type)
            # a table has a rowid of its own, which would be taken for a source's column of that name
            looked_up = f"SELECT _cdc_value, _cdc_result FROM {name}"
            expression = f"(SELECT _cdc_result FROM ({looked_up}) WHERE _cdc_value = {value})"
        expressions.append(expression)
    return expressions


def _expression(
    con: duckdb.DuckDBPyConnection, transform: Transform[Any, Any], kind: IcebergType, value: str
) -> str | None:
    if isinstance(transform, IdentityTransform):
        return value
    if isinstance(transform, VoidTransform):
        return "NULL::INTEGER"
    if isinstance(transform, YearTransform | MonthTransform):
        moment = f"timezone('UTC', {value})" if isinstance(kind, TimestamptzType) else value
        years = f"(year({moment}) - 1970)"
        whole_years = isinstance(transform, YearTransform)
        return f"{years if whole_years else f'({years} * 12 + month({moment}) - 1)'}::INTEGER"
    if isinstance(transform, DayTransform | HourTransform):
        if isinstance(kind, DateType):
            return f"({value} - DATE '1970-01-01')::INTEGER"
        width = _HOUR if isinstance(transform, HourTransform) else 24 * _HOUR
        return f"({_floor(f'epoch_us({value})', width)} // {width})::INTEGER"
    if isinstance(transform, TruncateTransform) and isinstance(kind, StringType):
        return f"substr({value}, 1, {transform.width})"
    if isinstance(transform, TruncateTransform) and isinstance(kind, IntegerType | LongType):
        return _truncated(kind, value, transform.width)
    if isinstance(transform, BucketTransform):
        return _bucket(con, transform, kind, value)
    return None


def _floor(value: str, width: int) -> str:
    """Return SQL for ``value`` rounded down (not towards zero) to a multiple of ``width``."""
    return f"({value} - (({value} % {width}) + {width}) % {width})"


def _truncated(kind: IntegerType | LongType, value: str, width: int) -> str:
    """Return SQL for Iceberg's truncate of a number: near the lowest one it wraps around, as Java's does."""
    low, size = (-(2**63), 2**64) if isinstance(kind, LongType) else (-(2**31), 2**32)
    floor = _floor(f"{value}::HUGEINT", width)
    return f"(CASE WHEN {floor} < {low} THEN {floor} + {size} ELSE {floor} END)::{duckdb_type(kind)}"


def _bucket(
    con: duckdb.DuckDBPyConnection, transform: BucketTransform[Any], kind: IcebergType, value: str
) -> str | None:
    """Return SQL for Iceberg's bucket of whatever it hashes as eight bytes, None for other types."""
    if isinstance(kind, IntegerType | LongType):
        number = f"{value}::BIGINT"
    elif isinstance(kind, DateType):
        number = f"({value} - DATE '1970-01-01')::BIGINT"
    elif isinstance(kind, TimestampType | TimestamptzType | TimeType):
        number = f"epoch_us({value})"
    else:
        return None
    for macro in _MURMUR:
        con.execute(f"CREATE TEMP MACRO IF NOT EXISTS {macro}")
    return f"((murmur_long({number}) & 2147483647) % {transform.num_buckets})::INTEGER"


def _tabulate(
    con: duckdb.DuckDBPyConnection, name: str, query: str, transform: Transform[Any, Any], kind: IcebergType
) -> None:
    apply = transform.transform(kind)
    result = "INTEGER" if isinstance(transform, BucketTransform) else duckdb_type(kind)
    arrow = pa.int32() if isinstance(transform, BucketTransform) else arrow_type(kind)
    con.execute(f"CREATE OR REPLACE TABLE {name} (_cdc_value {duckdb_type(kind)}, _cdc_result {result})")
    writer = con.cursor()
    for batch in con.execute(query).to_arrow_reader(_BATCH_ROWS):
        values = batch.column(0).to_pylist()
        table = pa.table({"v": batch.column(0), "t": pa.array([apply(value) for value in values], arrow)})
        writer.register("transformed", table)
        writer.execute(f"INSERT INTO {name} SELECT v, t FROM transformed")
        writer.unregister("transformed")
    writer.close()
