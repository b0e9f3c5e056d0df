"""Which rows of old files are looked at for the keys that changed."""

from __future__ import annotations

from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.cut_sides import make_sides
from cdc_platform.reconcile.digest import new_salt
from cdc_platform.reconcile.key_places import within_sought
from cdc_platform_tests.reconcile.pairs import as_base, memory_plan, typed_table


@pytest.mark.parametrize(
    ("kind", "values", "kept"),
    [
        (pa.int64(), [-5, 3, 7, 9, 12], [3, 7, 9]),
        (pa.int32(), [-5, 3, 7, 9, 12], [3, 7, 9]),
        (pa.string(), ["", "3", "7", "9", "x"], ["", "3", "7", "9", "x"]),
        (pa.float64(), [-5.0, 3.0, 7.0, 9.0, float("inf")], [-5.0, 3.0, 7.0, 9.0, float("inf")]),
    ],
    ids=str,
)
def test_rows_between_the_first_and_the_last_changed_key_are_looked_at(
    kind: pa.DataType, values: list[Any], kept: list[Any]
) -> None:
    base = as_base(typed_table(("id", "v"), (kind, pa.int64()), [(value, 1) for value in values]))
    with duckdb.connect() as connection:
        connection.register("base_table", base)
        view = BaseView("base_table", base.schema, 1)
        plan = memory_plan(("id", "v"), (kind, pa.int64()), 1, ranged=False)
        sides = make_sides(connection, plan, view, new_salt(), bounds=(), rows_per_segment=1)
        connection.register("sought", pa.table({"k0": pa.array([values[3], values[1]], kind)}))
        condition = within_sought(connection, sides, "sought")
        found = connection.execute(f"SELECT id FROM base_table b WHERE {condition} ORDER BY id").fetchall()

    assert kept == [value for (value,) in found]


def test_no_changed_key_bounds_nothing() -> None:
    base = as_base(typed_table(("id", "v"), (pa.int64(), pa.int64()), [(1, 1)]))
    with duckdb.connect() as connection:
        connection.register("base_table", base)
        view = BaseView("base_table", base.schema, 1)
        plan = memory_plan(("id", "v"), (pa.int64(), pa.int64()), 1, ranged=False)
        sides = make_sides(connection, plan, view, new_salt(), bounds=(), rows_per_segment=1)
        connection.register("sought", pa.table({"k0": pa.array([], pa.int64())}))

        assert "true" == within_sought(connection, sides, "sought")
