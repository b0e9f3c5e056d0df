"""Whatever DMS does to a value on its way, NULL stays NULL: it is no end of a range."""

from __future__ import annotations

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.reconcile.postgres_types import plan_column
from cdc_platform.reconcile.sources import ColumnPlan, SourceColumn
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.repair.images import _as_dms_writes

UTC = pa.timestamp("us", tz="UTC")


@pytest.mark.parametrize(
    ("declared", "kind", "sql"),
    [
        ("time", pa.time64("us"), "TIME"),
        ("timetz", pa.time64("us"), "TIME"),
        ("date", pa.date32(), "DATE"),
        ("timestamp", pa.timestamp("us"), "TIMESTAMP"),
        ("timestamp", UTC, "TIMESTAMPTZ"),
        ("timestamptz", UTC, "TIMESTAMPTZ"),
        ("numeric", pa.decimal128(28, 6), "DECIMAL(28,6)"),
        ("bpchar", pa.string(), "VARCHAR"),
    ],
)
def test_null_in_the_source_has_no_other_form_and_equals_no_value(
    declared: str, kind: pa.DataType, sql: str
) -> None:
    plan = plan_column(SourceColumn("v", "v", declared, declared), kind)
    assert isinstance(plan, ColumnPlan)
    ends = {"TIME": "23:59:59.999", "DATE": "9999-12-31", "VARCHAR": ""}
    end = ends.get(sql, "9999-12-31 23:59:59.999999" if sql.startswith("TIMESTAMP") else "0")
    name, also = in_workspace("v"), plan.also or "false"
    with duckdb.connect() as connection:
        connection.execute(f"CREATE TABLE s AS SELECT NULL::{sql} AS {name}, {end!r}::{sql} AS base")
        found = connection.execute(
            f"SELECT {plan.usual.format(f's.{name}')}, {_as_dms_writes(plan)}, "
            f"coalesce({also.format(source=f's.{name}', base='base')}, false), "
            f"coalesce({also.format(source='base', base=f's.{name}')}, false) FROM s"
        ).fetchone()

    assert (None, None, False, False) == found
