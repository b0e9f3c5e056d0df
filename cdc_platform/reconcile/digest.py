"""Digests of sets of rows: equal for equal bags of typed rows, else different but for a 128-bit accident.

A row becomes two 64-bit numbers (*lanes*), a set of rows ``(count, sum of lane 1, sum of lane 2)``. Sums keep
duplicates apart (which XOR does not), do not depend on the order of rows, and add up: the digest of two
disjoint sets is the sum of theirs. No sum is taken modulo anything: DuckDB adds in 128 bits.

* A lane is a chain over the columns in one fixed order, ``mix(state XOR hash(value) XOR the column's salt)``,
  where ``mix`` is DuckDB's own bijective mixing of 64 bits. What column a value is in, and what comes before
  it, is part of every step, so values cannot move between columns, nor text between the ends of two.
* ``hash`` takes typed values, never text made of them, brought to one type on both sides. It maps NULL to a
  constant; so the chain ends with the null mask of the row.
* Lane 2 is another function: the columns in reverse, other salts, and of values wider than 64 bits (text,
  bytes, wide decimals) the hash of the value *with a salt appended*, since an accident in the one hash of a
  text would else be one in both lanes.
* The salts come from 256 secret bits, new for each run, and leave the process by their id only.

Digests are of the DuckDB version that made them and never compared with those of another.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from cdc_platform.naming import quoted, sql_text

#: Changes whenever the function does.
DIGEST_VERSION = "1"
DIGEST_BITS = 128

_MASK_BITS = 62
_NARROW = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DATE", "TIME"),
    *("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
)
_NARROW_DIGITS = 18


def implementation() -> str:
    """Return the name of the digest function as it is stored beside every digest."""
    return f"two-lane sum {DIGEST_VERSION}, duckdb {duckdb.__version__} hash"


@dataclass(frozen=True, slots=True)
class Salt:
    """The secret of one run; ``id`` names it without telling it."""

    secret: bytes

    @property
    def id(self) -> str:
        return hashlib.blake2b(self.secret, digest_size=6, person=b"salt id").hexdigest()

    def number(self, name: str) -> int:
        """Return 64 bits that depend on the secret and ``name``."""
        return int.from_bytes(self._derived(name), "big")

    def text(self, name: str) -> str:
        """Return 16 characters that depend on the secret and ``name``."""
        return self._derived(name).hex()

    def _derived(self, name: str) -> bytes:
        return hashlib.blake2b(name.encode(), digest_size=8, key=self.secret).digest()


def new_salt() -> Salt:
    """Return a salt nobody knows."""
    return Salt(secrets.token_bytes(32))


@dataclass(frozen=True, slots=True)
class RowDigest:
    """The digest of rows with the columns ``types`` (DuckDB types, in the plan's order).

    ``lane_bits`` below 64 weakens it, for tests of what must not be concluded then.
    """

    types: tuple[str, ...]
    salt: Salt
    lane_bits: int = 64

    @property
    def bits(self) -> int:
        """The width an accident has to overcome."""
        return 2 * self.lane_bits

    def lanes(self, values: Sequence[str]) -> tuple[str, str]:
        """Return the SQL of both lanes over the SQL of the values."""
        typed = [f"({value})::{kind}" for value, kind in zip(values, self.types, strict=True)]
        masks = [(part, "BIGINT") for part in _null_masks(typed)]
        columns = [*zip(typed, self.types, strict=True), *masks]
        named = [(f"column {place}", value, kind) for place, (value, kind) in enumerate(columns)]
        first = self._chain("1", [(name, f"hash({value})") for name, value, _ in named])
        turned = [(name, self._second_hash(value, kind)) for name, value, kind in reversed(named)]
        return first, self._chain("2", turned)

    def aggregates(self, values: Sequence[str]) -> str:
        """Return the SQL of the digest of a group of rows: the columns n, lane1 and lane2."""
        first, second = self.lanes(values)
        return f"count(*) AS n, sum({first}) AS lane1, sum({second}) AS lane2"

    def column_aggregates(self, keys: Sequence[int], values: Sequence[str]) -> str:
        """Return the SQL of a digest for each column: of its values with the keys they stand under."""
        parts = []
        for place in range(len(values)):
            chosen = [*keys, place]
            part = RowDigest(tuple(self.types[one] for one in chosen), self.salt, self.lane_bits)
            first, second = part.lanes([values[one] for one in chosen])
            parts.append(f"sum({first}) AS a{place}, sum({second}) AS b{place}")
        return ", ".join(parts)

    def _chain(self, lane: str, steps: Sequence[tuple[str, str]]) -> str:
        state = f"{self.salt.number(f'lane {lane}')}::UBIGINT"
        for name, hashed in steps:
            salt = self.salt.number(f"lane {lane} {name}")
            state = f"hash(xor({state}, xor({hashed}, {salt}::UBIGINT)))"
        return state if self.lane_bits == 64 else f"({state} >> {64 - self.lane_bits})"

    def _second_hash(self, value: str, kind: str) -> str:
        salt = sql_text(self.salt.text("appended"))
        if kind == "VARCHAR":
            return f"hash({value} || {salt})"
        if kind == "BLOB":
            return f"hash({value} || {salt}::BLOB)"
        return f"hash({value})" if _is_narrow(kind) else f"hash({value}::VARCHAR || {salt})"


def _null_masks(values: Sequence[str]) -> list[str]:
    """Return SQL of numbers that say which values are NULL, so many bits each."""
    return [
        " | ".join(
            f"(({value}) IS NULL)::BIGINT << {bit}"
            for bit, value in enumerate(values[start : start + _MASK_BITS])
        )
        for start in range(0, len(values), _MASK_BITS)
    ]


def _is_narrow(kind: str) -> bool:
    """Whether DuckDB keeps the type in 64 bits, so that its hash loses nothing."""
    if kind.startswith("DECIMAL("):
        return int(kind[len("DECIMAL(") :].partition(",")[0]) <= _NARROW_DIGITS
    return kind in _NARROW


def duckdb_types(connection: duckdb.DuckDBPyConnection, types: Sequence[pa.DataType]) -> tuple[str, ...]:
    """Return what DuckDB calls Arrow's types."""
    schema = pa.schema([pa.field(f"c{place}", kind) for place, kind in enumerate(types)])
    connection.register("shape_of_types", schema.empty_table())
    try:
        names = ", ".join(quoted(name) for name in schema.names)
        rows = connection.execute(f"DESCRIBE SELECT {names} FROM shape_of_types").fetchall()
    finally:
        connection.unregister("shape_of_types")
    return tuple(str(row[1]) for row in rows)
