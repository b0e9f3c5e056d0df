"""Slice attribution: which few conditions nearly all differing keys share, and other keys do not.

One sentence, or nothing. A condition stands out when most of the differing keys meet it (at least
:data:`LEAST_SHARE`), clearly more often than the compared keys do (lift), and so often that chance does not
explain it: the binomial tail, times the number of conditions looked at, is below :data:`MOST_CHANCE`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb

from cdc_platform.naming import quoted, sql_text
from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.words import in_a_line

#: Fewer keys that differ than this have everything in common.
LEAST_DIFFERING = 5
LEAST_SHARE = 0.8
LEAST_LIFT = 1.5
MOST_CHANCE = 1e-3

#: A further condition must hold for nearly all that are left, and leave out a fifth of the other keys.
_FURTHER_SHARE, _FURTHER_REST = 0.95, 0.8
_MOST_CONDITIONS = 3
#: Values with more differing keys than the others; a condition that stands out is among the first.
_VALUES_LOOKED_AT = 3
#: Of a longer value so much stands in a sentence.
_SHOWN_CHARACTERS = 80

#: The dimension whose values are words already: "keys below 7", "no key".
KEY_RANGE = "keys"


@dataclass(frozen=True, slots=True)
class Condition:
    """``dimension = value`` over a slice of the compared keys: how many meet it, and how many differ."""

    dimension: str
    value: str | None
    keys: int
    differing: int

    @property
    def words(self) -> str:
        """The condition for a person, which takes no text for another."""
        if self.dimension == KEY_RANGE and self.value is not None:
            return self.value
        return f"{self.dimension} = {_shown(self.value)}"

    @property
    def sql(self) -> str:
        """The condition as SQL over the relation of slices."""
        value = "NULL" if self.value is None else sql_text(self.value)
        return f"{quoted(self.dimension)} IS NOT DISTINCT FROM {value}"


def _shown(value: str | None) -> str:
    """Return a value as it stands in a sentence: quoted where its ends, or that it is a text, would not show.

    >>> print(*map(_shown, ["EU", "New York", "", " EU", "NULL", None]), sep="|")
    EU|New York|''|' EU'|'NULL'|NULL
    """
    if value is None:
        return "NULL"
    is_plain = value and value == value.strip() and "'" not in value and value.upper() != "NULL"
    is_plain = is_plain and value.isprintable() and " and " not in value
    shown = in_a_line(value, _SHOWN_CHARACTERS)
    return shown if is_plain else sql_text(shown)


@dataclass(frozen=True, slots=True)
class Attribution:
    """What the differing keys have in common: all ``conditions`` at once."""

    conditions: tuple[Condition, ...]
    keys: int
    differing: int
    slice_keys: int
    slice_differing: int
    #: Whether the keys that are equal are a sample of them; those that differ are all.
    sampled: bool = False

    @property
    def share(self) -> float:
        """Which part of the differing keys lies in the slice."""
        return self.slice_differing / self.differing

    @property
    def lift(self) -> float:
        """How many times as often a differing key lies in the slice as any compared key does."""
        return self.share / (self.slice_keys / self.keys)

    @property
    def sentence(self) -> str:
        """The finding for a person."""
        common = " and ".join(one.words for one in self.conditions)
        share = _percent(self.slice_differing, self.differing)
        of = f"a sample of {self.keys:,} keys" if self.sampled else f"the {self.keys:,} keys compared"
        return (
            f"{share} of the {self.differing:,} keys that differ have {common}, "
            f"as have {_percent(self.slice_keys, self.keys)} of {of} "
            f"({self.lift:.1f} times as often)"
        )


def attribute(
    connection: duckdb.DuckDBPyConnection, relation: str, dimensions: Sequence[str], *, sampled: bool = False
) -> Attribution | None:
    """Return what stands out among the rows of ``relation`` that differ; None when nothing does.

    ``relation`` is a FROM item with one row per compared key: a boolean ``differs``, and one text column per
    dimension. Columns of more than a few values are of no use and cost time: leave them out. ``sampled`` says
    that of the keys that do not differ only a sample is there.
    """
    keys, differing = _counts(connection, relation, [])
    if differing < LEAST_DIFFERING or differing == keys:
        return None
    chosen: list[Condition] = []
    size = keys, differing
    while len(chosen) < _MOST_CONDITIONS:
        left = [one for one in dimensions if one not in {c.dimension for c in chosen}]
        values = [one for name in left for one in _values(connection, relation, name, chosen)]
        best = _best(values, size, first=not chosen)
        if best is None:
            break
        chosen.append(best)
        size = best.keys, best.differing
    return Attribution(tuple(chosen), keys, differing, *size, sampled) if chosen else None


def _best(values: Sequence[Condition], size: tuple[int, int], *, first: bool) -> Condition | None:
    """Return the condition with the highest lift among those that stand out of a slice."""
    keys, differing = size
    share = LEAST_SHARE if first else _FURTHER_SHARE
    found = [
        one
        for one in values
        if one.differing >= share * differing
        and (one.differing / differing) / (one.keys / keys) >= (LEAST_LIFT if first else 1 / _FURTHER_REST)
        and len(values) * chance(one.differing, differing, one.keys / keys) < MOST_CHANCE
    ]
    return max(found, key=lambda one: (one.differing / one.keys, one.differing), default=None)


def chance(hits: int, draws: int, probability: float) -> float:
    """Return how likely at least ``hits`` of ``draws`` are, at most (Chernoff's bound on the tail).

    >>> chance(5, 10, 0.5), chance(10, 10, 0.5) < 0.001
    (1.0, True)
    """
    part = hits / draws
    if part <= probability:
        return 1.0
    if probability <= 0:
        return 0.0
    rest = 0.0 if part == 1 else (1 - part) * math.log((1 - part) / (1 - probability))
    return math.exp(-draws * (part * math.log(part / probability) + rest))


def _values(
    connection: duckdb.DuckDBPyConnection, relation: str, dimension: str, chosen: Sequence[Condition]
) -> list[Condition]:
    rows = connection.execute(
        f"""SELECT {quoted(dimension)}, count(*), count(*) FILTER (differs) AS hits
            FROM {relation} {_where(chosen)} GROUP BY 1 HAVING hits > 0
            ORDER BY hits DESC LIMIT {_VALUES_LOOKED_AT}"""
    ).fetchall()
    return [Condition(dimension, value, int(keys), int(differing)) for value, keys, differing in rows]


def _counts(
    connection: duckdb.DuckDBPyConnection, relation: str, chosen: Sequence[Condition]
) -> tuple[int, int]:
    row = connection.execute(
        f"SELECT count(*), count(*) FILTER (differs) FROM {relation} {_where(chosen)}"
    ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _where(chosen: Sequence[Condition]) -> str:
    return f"WHERE {' AND '.join(one.sql for one in chosen)}" if chosen else ""


def _percent(part: int, whole: int) -> str:
    if part == whole:
        return "all"
    # never rounded up to all of them
    return f"{min(99.9, 100 * part / whole):.1f} %"


def few_valued(
    connection: duckdb.DuckDBPyConnection, relation: str, columns: Mapping[str, str], most: int = 50
) -> list[str]:
    """Return the columns (name → SQL expression over ``relation``) with at most about ``most`` values."""
    numbers: list[int] = []
    for group in column_groups(list(columns.values())):
        counts = ", ".join(f"approx_count_distinct({value})" for value in group)
        numbers += connection.execute(f"SELECT {counts} FROM {relation}").fetchone() or ()
    return [name for name, number in zip(columns, numbers, strict=True) if 1 < number <= most]
