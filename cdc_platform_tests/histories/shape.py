"""Shapes of tables: key columns whose values are hard to tell apart, columns that change, partition specs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from random import Random
from typing import Any

import pyarrow as pa

#: How many keys a table has.
KEYS = 7
LONG = "a prefix longer than statistics keep "

_MOMENTS = (
    *(datetime(2024, 2, 29, 23, 59, 59, micro, tzinfo=UTC) for micro in (0, 1, 2, 3, 999_999)),
    datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
    datetime(1970, 1, 1, tzinfo=UTC),
)

#: Values of one key column, by what is hard about them; all distinct under the table's type.
KEY_POOLS: dict[str, tuple[pa.DataType, tuple[Any, ...]]] = {
    "small": (pa.int64(), (0, 1, 2, 3, 4, 5, 6)),
    "int": (pa.int32(), (-(2**31), -1, 0, 1, 7, 300, 2**31 - 1)),
    "beyond double": (pa.int64(), (2**53, 2**53 + 1, -(2**53) - 1, -(2**53), 2**63 - 1, -(2**63), 0)),
    "text": (pa.string(), ("", " ", "a", "A", "a ", "é", "e\u0301")),
    "unicode": (pa.string(), ("", "\uffff", "\U00010000", "😀", "é", "\ud7ff", "\U0010ffff")),
    "long text": (
        pa.string(),
        (LONG, LONG + "a", LONG + "b", LONG[:16], LONG[:17], LONG + "\U0010ffff", LONG + "a "),
    ),
    "uuid text": (
        pa.string(),
        tuple(
            f"{n:08x}-{(n * 7919) % 65536:04x}-4a5b-8c9d-{n * 104729:012x}" for n in (1, 2, 3, 9, 10, 11, 99)
        ),
    ),
    "code": (pa.string(), ("aaa", "aab", "aba", "baa", "é1", "zzz", "  ~")),
    "decimal": (
        pa.decimal128(12, 2),
        tuple(map(Decimal, ("0.00", "-0.01", "0.01", "9999999999.99", "-9999999999.99", "1.10", "10.00"))),
    ),
    "date": (
        pa.date32(),
        (
            date(1969, 12, 31),
            date(1970, 1, 1),
            date(2024, 2, 29),
            date(2024, 3, 1),
            date(9999, 12, 31),
            date(1, 1, 1),
            date(2023, 2, 28),
        ),
    ),
    "moment": (pa.timestamp("us", tz="UTC"), _MOMENTS),
    "float": (
        pa.float64(),
        (0.0, -1.5, 1.5, float("inf"), float("-inf"), 5e-324, 2.0**100),
    ),
    "binary": (pa.binary(), (b"", b"\x00", b"\x00\x00", b"\xff" * 16, b"\xff" * 17, b"a", b"\x7f")),
    #: Numbers that some files write as text or as decimals.
    "number": (pa.int64(), (0, 1, -1, 10, 100, 2**53 + 1, 12)),
}

#: Keys of two columns: each a pool and which of its values each key has.
COMPOSITES = (
    (("small", (0, 0, 0, 1, 1, 1, 2)), ("text", (0, 1, 2, 0, 1, 2, 0))),
    (("text", (0, 1, 0, 1, 2, 2, 3)), ("text", (1, 0, 0, 1, 2, 3, 2))),
    (("date", (0, 0, 1, 1, 2, 2, 2)), ("long text", (0, 1, 0, 1, 0, 1, 2))),
    (("int", (0, 0, 0, 1, 2, 6, 6)), ("uuid text", (0, 1, 2, 0, 3, 5, 6))),
    (("code", (0, 1, 1, 4, 5, 6, 6)), ("small", (0, 0, 1, 0, 0, 0, 3))),
    (("unicode", (0, 1, 2, 3, 4, 5, 6)), ("decimal", (0, 0, 0, 0, 1, 1, 1))),
)

#: Types a column goes through, and values that fit from each type on.
COLUMN_POOLS: dict[str, tuple[tuple[pa.DataType, tuple[Any, ...]], ...]] = {
    "n": ((pa.int32(), (0, 1, -7, 2**31 - 1)), (pa.int64(), (5, 2**40, -(2**62)))),
    "t": ((pa.string(), ("", "x", " ", "é", LONG + "y")),),
    "m": (
        (pa.decimal128(8, 2), (Decimal("0.00"), Decimal("-1.50"), Decimal("999999.99"))),
        (pa.decimal128(14, 2), (Decimal("0.01"), Decimal("123456789012.34"))),
    ),
    "f": ((pa.float32(), (0.5, -2.0, 2.0**100)), (pa.float64(), (0.1, 1e300, -0.25))),
    "d": ((pa.date32(), (date(1969, 12, 31), date(2024, 2, 29), date(2024, 3, 1))),),
    "at": (
        (
            pa.timestamp("us", tz="UTC"),
            (
                datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
                datetime(2024, 2, 29, 23, 59, 59, 1, tzinfo=UTC),
                datetime(2024, 3, 1, tzinfo=UTC),
            ),
        ),
    ),
    "b": ((pa.bool_(), (True, False)),),
}

PARTITIONS = {
    "n": ("n", "truncate(10, n)", "bucket(2, n)"),
    "t": ("t", "truncate(1, t)", "bucket(2, t)"),
    "m": ("bucket(2, m)", "m"),
    "d": ("d", "day(d)", "month(d)", "year(d)"),
    "at": ("day(at)", "hour(at)", "month(at)"),
    "b": ("b",),
}
KEY_PARTITIONS = {
    "string": ("{}", "truncate(2, {})", "truncate(20, {})", "bucket(2, {})"),
    "int64": ("{}", "truncate(10, {})", "bucket(2, {})"),
    "date32[day]": ("{}", "year({})", "bucket(2, {})"),
}


@dataclass(frozen=True)
class Column:
    """A column beside the key: through which types it goes, and in which eras it is in the files."""

    name: str
    types: int = 1
    added: int = 0
    dropped: int = 9

    def type_in(self, era: int) -> pa.DataType | None:
        """Return its Arrow type in files of an era, None when they lack it."""
        if not self.added <= era < self.dropped:
            return None
        return COLUMN_POOLS[self.pool][min(era, self.types - 1)][0]

    def values_in(self, era: int) -> tuple[Any, ...]:
        """Return the values a row may have in it in an era."""
        steps = COLUMN_POOLS[self.pool][: min(era, self.types - 1) + 1]
        return (None, *(value for _, values in steps for value in values))

    @property
    def pool(self) -> str:
        """The name of its values."""
        return self.name.rstrip("0123456789")


@dataclass(frozen=True)
class Shape:
    """How the table is declared, and what its files look like."""

    #: (pool, which of its values each key has) of each key column.
    key: tuple[tuple[str, tuple[int, ...]], ...]
    columns: tuple[Column, ...]
    partition_by: tuple[str, ...] = ()
    soft: bool = False
    kind: str = "change-sequence"
    #: Whether files may write a number key as text or as a decimal.
    mixed_key: bool = False

    @property
    def key_names(self) -> tuple[str, ...]:
        return tuple(f"k{number}" for number in range(len(self.key)))

    def key_values(self, key: int) -> tuple[Any, ...]:
        """Return the values of a key by its number."""
        return tuple(KEY_POOLS[pool][1][which[key]] for pool, which in self.key)

    def key_types(self) -> tuple[pa.DataType, ...]:
        return tuple(KEY_POOLS[pool][0] for pool, _ in self.key)

    def columns_in(self, era: int) -> dict[str, pa.DataType]:
        """Return the columns beside the key of files of an era."""
        types = {column.name: column.type_in(era) for column in self.columns}
        return {name: kind for name, kind in types.items() if kind is not None}


def random_shape(random: Random) -> Shape:
    """Return a shape."""
    if random.random() < 0.3:
        key: tuple[tuple[str, tuple[int, ...]], ...] = random.choice(COMPOSITES)
    else:
        key = ((random.choice(list(KEY_POOLS)), tuple(range(KEYS))),)
    columns = tuple(
        _random_column(random, name) for name in random.sample(list(COLUMN_POOLS), random.randint(1, 3))
    )
    extra = Column("t2", added=1) if random.random() < 0.4 else None
    shape = Shape(
        key=key,
        columns=(*columns, extra) if extra else columns,
        soft=random.random() < 0.25,
        kind=random.choice(("change-sequence", "change-sequence", "commit-time", "file-time")),
        mixed_key=key[0][0] == "number",
    )
    return replace(shape, partition_by=_random_spec(random, shape))


def _random_column(random: Random, name: str) -> Column:
    types = random.randint(1, len(COLUMN_POOLS[name]))
    return Column(name, types=types, dropped=random.choice((9, 9, 9, 1, 2)))


def _random_spec(random: Random, shape: Shape) -> tuple[str, ...]:
    """Return none, one or two partition fields, over columns that every file has."""
    found: list[str] = []
    for column in shape.columns:
        if column.dropped == 9 and not column.added and column.name in PARTITIONS and random.random() < 0.3:
            found.append(random.choice(PARTITIONS[column.name]))
    if not found and not shape.mixed_key and random.random() < 0.35:
        kinds = [(n, str(kind)) for n, kind in zip(shape.key_names, shape.key_types(), strict=True)]
        name, kind = random.choice(kinds)
        found = [random.choice(KEY_PARTITIONS[kind]).format(name)] if kind in KEY_PARTITIONS else []
    return tuple(found[:2])
