"""Base tables of the retail sample with a handful of rows, written straight into a lake."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa

from cdc_platform.config.load import parse_config
from cdc_platform.config.model import PlatformConfig
from cdc_platform.events import CONTROL_COLUMNS, TIMESTAMP_TYPE
from cdc_platform.lake.catalog import Lake

ROOT = Path(__file__).parents[2]
CONFIG = f"""\
prepared: {{project: {ROOT / "dbt_project"}, database: prepared.duckdb}}
lake: {{warehouse: warehouse}}
sources:
  retail:
    raw: {{location: raw}}
    window: {{start: 2026-01-01}}
    tables:
      - {{name: public.product, merge_key: [product_id]}}
      - {{name: public.store, merge_key: [store_id]}}
      - {{name: public.productorder, merge_key: [order_id]}}
"""
PRODUCT = [(1, "pen", "office", Decimal("1.50"), True), (2, "ink", "office", Decimal("2.50"), True)]
STORE = [(1, "North", "Oslo", "north", date(2020, 1, 1)), (2, "South", "Rome", "south", date(2021, 1, 1))]
ORDERS: list[tuple[Any, ...]] = [
    # order, product, store, quantity, unit price, status, day
    (1, 1, 1, 2, Decimal("1.50"), "paid", 1),
    (2, 2, 1, 4, Decimal("2.50"), "paid", 1),
    (3, 1, 2, 1, Decimal("1.50"), "cancelled", 2),
    (4, 2, 2, 1, Decimal("2.50"), "new", 2),
    (5, 9, 2, 1, Decimal("7.00"), "paid", 3),  # its product is gone
]

_SOURCE_COLUMNS: dict[str, list[tuple[str, Any]]] = {
    "product": [
        ("product_id", pa.int32()),
        ("name", pa.string()),
        ("category", pa.string()),
        ("price", pa.decimal128(10, 2)),
        ("active", pa.string()),
    ],
    "store": [
        ("store_id", pa.int32()),
        ("name", pa.string()),
        ("city", pa.string()),
        ("region", pa.string()),
        ("opened_on", pa.date32()),
    ],
    "productorder": [
        ("order_id", pa.int64()),
        ("product_id", pa.int32()),
        ("store_id", pa.int32()),
        ("quantity", pa.int32()),
        ("unit_price", pa.decimal128(10, 2)),
        ("status", pa.string()),
        ("ordered_at", TIMESTAMP_TYPE),
    ],
}


def retail_config(folder: Path) -> PlatformConfig:
    """Return a configuration whose lake and prepared database are in ``folder``."""
    return parse_config(CONFIG, base_folder=folder, environment={})


def write_base_tables(lake: Lake) -> None:
    """Write the three base tables; order 6 is softly deleted."""
    write_rows(lake, "product", [(*row[:4], "true") for row in PRODUCT])
    write_rows(lake, "store", STORE)
    write_rows(lake, "productorder", [_order(row) for row in ORDERS])
    write_rows(lake, "productorder", [_order((6, 1, 1, 100, Decimal("1.50"), "paid", 1))], op="D")


def write_rows(lake: Lake, table_id: str, rows: list[tuple[Any, ...]], *, op: str = "L") -> None:
    """Append ``rows`` to a base table, which is made when it is not there."""
    columns = [
        pa.array([value] * len(rows), type=field.type)
        for field, value in zip(CONTROL_COLUMNS, (op, 1, Decimal(0), None), strict=True)
    ]
    names = _SOURCE_COLUMNS[table_id]
    columns += [pa.array([row[at] for row in rows], type=kind) for at, (_, kind) in enumerate(names)]
    schema = pa.schema([*CONTROL_COLUMNS, *(pa.field(name, kind) for name, kind in names)])
    lake.ensure_namespace("retail")
    table = lake.load("retail", table_id)
    if table is None:
        table = lake.catalog.create_table(lake.identifier("retail", table_id), schema=schema)
    table.append(pa.Table.from_arrays(columns, schema=schema))


def _order(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return (*row[:6], datetime(2026, 3, row[6], 12, tzinfo=UTC))
