"""NaN and infinities of numerics, which no decimal holds: NULL where values are compared, shown as they are.

DMS has no value for them, so base holds NULL, and the two are equal by rule. Beside a number in base such a
value is no NULL to a person, so where rows are looked up, the text of it is kept in a column of its own.
"""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.events import CONTROL_PREFIX
from cdc_platform.naming import quoted
from cdc_platform.reconcile.sources import ColumnPlan, Decoding

#: As PostgreSQL writes them.
_TEXTS = pa.array(("NaN", "Infinity", "-Infinity"))


def may_be_not_finite(column: ColumnPlan) -> bool:
    """Whether a column can have such values."""
    return column.decoding in (Decoding.DECIMAL_TEXT, Decoding.NUMBER_TEXT)


def written_name(column: str) -> str:
    """Return the name of the column that has the texts of such values of ``column``; no source has it.

    >>> written_name("price")
    '_cdc_written_price'
    """
    return f"{CONTROL_PREFIX}written_{column}"


def written_sql(column: str, rows: str) -> str:
    """Return SQL for the text of such a value in ``rows`` that were looked up, NULL for any other value."""
    return f"{rows}.{quoted(written_name(column))}"


def without_not_finite(values: pa.Array[Any]) -> pa.Array[Any]:
    """Return numbers as text, with NULL for those no decimal holds."""
    found: pa.Array[Any] = pc.if_else(pc.is_in(values, value_set=_TEXTS), None, values)
    return found


def only_not_finite(values: pa.Array[Any]) -> pa.Array[Any]:
    """Return of numbers as text those no decimal holds, with NULL for the others."""
    found: pa.Array[Any] = pc.if_else(pc.is_in(values, value_set=_TEXTS), values, None)
    return found
