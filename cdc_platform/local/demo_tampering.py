"""Changing one row of a base table past the platform, as a stray script would: with plain pyiceberg."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pyarrow as pa

from cdc_platform.errors import MergeError

if TYPE_CHECKING:
    from cdc_platform.lake.catalog import Lake


def tamper(lake: Lake, source: str, table_id: str, order_id: int, *, quantity: int = 999) -> None:
    """Set one order's quantity in base. Raises MergeError when base has no such order."""
    from pyiceberg.expressions import EqualTo

    table = lake.load(source, table_id)
    condition = EqualTo(term="order_id", value=order_id)
    rows = table.scan(row_filter=condition).to_arrow() if table is not None else pa.table({})
    if table is None or rows.num_rows != 1:
        raise MergeError(f"base has no order {order_id}", where=f"{source}/{table_id}")
    at = rows.schema.get_field_index("quantity")
    changed = pa.array([quantity], rows.schema.field(at).type)
    with warnings.catch_warnings():
        # pyiceberg rewrites the data file where the table asks for merge-on-read, and says so
        warnings.simplefilter("ignore", UserWarning)
        table.overwrite(rows.set_column(at, rows.schema.field(at), changed), overwrite_filter=condition)
