"""The rows every measurement is made of, as SQL over a row's number ``i``: deterministic, nothing stored.

A table has a key (one of :data:`VARIANTS`) and nine further columns of the types a business table has. Row
``i`` has the same key whatever its version; the other values follow from ``i`` and the version, which is 0
for the full load and grows with each set of changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

#: Rows of a tenant in the two-column key: numbers ascend within each of so many tenants.
TENANTS = 50
_STATES = "['new', 'paid', 'packed', 'sent', 'delivered', 'returned', 'void']"


@dataclass(frozen=True, slots=True)
class Variant:
    """A kind of key: its columns with their types, and SQL for the key of row ``i``."""

    name: str
    types: Mapping[str, pa.DataType]
    expressions: Mapping[str, str]

    @property
    def key(self) -> tuple[str, ...]:
        """The names of the key's columns."""
        return tuple(self.types)

    @property
    def columns(self) -> dict[str, pa.DataType]:
        """All of the table's columns with their types, the key first."""
        return {**self.types, **VALUES}


VARIANTS: Mapping[str, Variant] = {
    one.name: one
    for one in (
        Variant("bigint", {"id": pa.int64()}, {"id": "i + 1"}),
        Variant("uuid", {"id": pa.string()}, {"id": "md5(concat('row', i))::UUID::VARCHAR"}),
        Variant(
            "pair",
            {"tenant": pa.int32(), "number": pa.int64()},
            {"tenant": f"(i % {TENANTS})::INTEGER", "number": f"i // {TENANTS}"},
        ),
    )
}

#: The nine further columns.
VALUES: Mapping[str, pa.DataType] = {
    "quantity": pa.int32(),
    "account": pa.int64(),
    "amount": pa.decimal128(12, 2),
    "score": pa.float64(),
    "booked_at": pa.timestamp("us", tz="UTC"),
    "day": pa.date32(),
    "state": pa.string(),
    "note": pa.string(),
    "active": pa.bool_(),
}


def key_sql(variant: Variant) -> str:
    """Return the SELECT list of the key of row ``i``."""
    return ", ".join(f"({sql}) AS {name}" for name, sql in variant.expressions.items())


def values_sql(version: int) -> str:
    """Return the SELECT list of the further columns of row ``i`` in ``version``."""

    def drawn(number: int, below: int) -> str:
        return f"(hash(i, {version}, {number}) % {below})"

    values = {
        "quantity": f"{drawn(1, 1_000)}::INTEGER",
        "account": f"{drawn(2, 10**12)}::BIGINT",
        "amount": f"({drawn(3, 10**9)}::DECIMAL(12, 2) * 0.01::DECIMAL(3, 2))::DECIMAL(12, 2)",
        "score": f"{drawn(4, 1_000_003)} / 997.0::DOUBLE",
        "booked_at": f"TIMESTAMPTZ '2025-01-01 00:00:00+00' + to_microseconds(i * 300001 + {version})",
        "day": f"DATE '2025-01-01' + {drawn(5, 365)}::INTEGER",
        "state": f"{_STATES}[1 + {drawn(6, 7)}::INTEGER]",
        "note": f"CASE WHEN {drawn(7, 50)} > 0 THEN concat('note-', hex(hash(i, {version}, 8))) END",
        "active": f"{drawn(9, 3)} > 0",
    }
    return ", ".join(f"({sql}) AS {name}" for name, sql in values.items())
