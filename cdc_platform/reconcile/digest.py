"""Digests of sets of rows: equal for equal bags of typed rows, else different but for a 128-bit accident.

A row becomes two 64-bit numbers (*lanes*), a set of rows ``(count, sum of lane 1, sum of lane 2)``. Sums keep
duplicates apart (which XOR does not), do not depend on the order of rows, and add up: the digest of two
disjoint sets is the sum of theirs. No sum is taken modulo anything: DuckDB adds in 128 bits.

* ``hash`` takes typed values, never text made of them, brought to one type on both sides.
* Lane 1 is DuckDB's hash of all values in one fixed order, mixed once more with a secret.
* Lane 2 is a chain over the columns, ``mix(state XOR hash(value))``, that begins with a secret, so that it is
  another function in each run. Values wider than 64 bits (text, bytes, wide decimals) enter *with the salt
  before them*, those of more than 12 bytes by their MD5: DuckDB multiplies a text's words of 8 bytes into its
  hash one by one, so that changes near the ends of two words cancel each other whatever stands before them
  (of texts that differ in their 8th and 16th letter, one pair in a few hundred). Shorter ones are not hit:
  their second word has 4 bytes, which holds nothing the first one's could leave behind.
* ``hash`` maps NULL to a constant, which one value of each type that uses all 64 bits has as well; so both
  lanes end with which of these are NULL in the row. Of shorter types no value has it; of wider ones one may
  by accident, as any two texts may share a hash, and another one after the salt.
* Of many columns lane 2 is a chain over the chains of parts of them: the engine bounds their depth.
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
DIGEST_VERSION = "4"
DIGEST_BITS = 128
#: The engine bounds how deep expressions are nested, and takes time for them that grows with its square.
MOST_CHAINED = 64

_NARROW = (
    *("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "FLOAT", "DOUBLE", "DATE", "TIME"),
    *("TIMESTAMP", "TIMESTAMP WITH TIME ZONE"),
)
_NARROW_DIGITS = 18
#: So many bytes of a text at most are a word of 8 and one of 4 for DuckDB's hash.
_SHORT_BYTES = 12
#: Of these alone one value has the hash of NULL: the number it would be, -2930909409056394622, is a value of
#: theirs. It is none of shorter types, and has 19 digits.
_FULL = ("BIGINT", "DOUBLE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


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
        nulls = self._nulls(typed)
        first = _mixed(self._secret("lane 1"), f"hash({', '.join([*typed, *nulls])})")
        second = self._chain("lane 2", [*self._wide(typed), *self._narrow(typed), *nulls])
        if self.lane_bits < 64:
            return f"({first} >> {64 - self.lane_bits})", f"({second} >> {64 - self.lane_bits})"
        return first, second

    def aggregates(self, values: Sequence[str]) -> str:
        """Return the SQL of the digest of a group of rows: the columns n, lane1 and lane2."""
        first, second = self.lanes(values)
        return f"count(*) AS n, sum({first}) AS lane1, sum({second}) AS lane2"

    def column_aggregates(self, keys: Sequence[int], values: Sequence[str], places: Sequence[int]) -> str:
        """Return the SQL of a digest for each column at ``places``: of its values with their keys."""
        parts = []
        for place in places:
            chosen = [*keys, place]
            part = RowDigest(tuple(self.types[one] for one in chosen), self.salt, self.lane_bits)
            first, second = part.lanes([values[one] for one in chosen])
            parts.append(f"sum({first}) AS a{place}, sum({second}) AS b{place}")
        return ", ".join(parts)

    def _chain(self, name: str, hashes: Sequence[str]) -> str:
        """Return SQL of the chain over ``hashes``; of many, over the chains of parts of them."""
        if len(hashes) > MOST_CHAINED:
            starts = range(0, len(hashes), MOST_CHAINED)
            hashes = [self._chain(f"{name} from {at}", hashes[at : at + MOST_CHAINED]) for at in starts]
        state = self._secret(name)
        for hashed in hashes:
            state = _mixed(state, hashed)
        return state

    def _secret(self, name: str) -> str:
        return f"{self.salt.number(name)}::UBIGINT"

    def _narrow(self, values: Sequence[str]) -> list[str]:
        """Return SQL of a hash for each value of 64 bits at most."""
        narrow = (value for value, kind in zip(values, self.types, strict=True) if _is_narrow(kind))
        return [f"hash({value})" for value in narrow]

    def _wide(self, values: Sequence[str]) -> list[str]:
        """Return SQL of a hash for each wider value, the salt before it; of NULL it is that of NULL."""
        salt = sql_text(self.salt.text("before"))
        wide = [(value, kind) for value, kind in zip(values, self.types, strict=True) if not _is_narrow(kind)]
        return [
            _strong(f"{salt}::BLOB || {value}", f"{salt}::BLOB || {value}", f"octet_length({value})")
            if kind == "BLOB"
            else _strong(_joined(salt, value), f"{salt} || {value}::VARCHAR", f"strlen({value}::VARCHAR)")
            for value, kind in wide
        ]

    def _nulls(self, values: Sequence[str]) -> list[str]:
        """Return SQL of a hash of which values are NULL, of those whose own hash does not tell; or none."""
        untold = (value for value, kind in zip(values, self.types, strict=True) if kind in _FULL)
        flags = [f"({value}) IS NULL" for value in untold]
        return [f"hash({', '.join(flags)})"] if flags else []


def _strong(short: str, salted: str, size: str) -> str:
    """Return SQL of the hash of a text of ``size`` bytes with the salt before it, ``short`` where it is that.

    NULL has no size, and is not short.
    """
    return f"CASE WHEN {size} <= {_SHORT_BYTES} THEN hash({short}) ELSE hash(md5_number({salted})) END"


def _joined(salt: str, value: str) -> str:
    """Return SQL of the salt and a text that is not NULL; the operator takes 2 ns longer."""
    return f"concat({salt}, {value}::VARCHAR)"


def _mixed(state: str, hashed: str) -> str:
    return f"hash(xor({state}, {hashed}))"


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
