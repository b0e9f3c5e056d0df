"""The discrepancies a comparison keeps: a bounded sample of differing keys with both rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import duckdb

from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.reconcile.difference_kinds import ValueClass
from cdc_platform.reconcile.typed import json_value, json_values
from cdc_platform.reconcile.value_classes import are_singles, classify
from cdc_platform.reconcile.verdict import DISCREPANCY_CAP, Discrepancy, Kind, Verdict
from cdc_platform.reconcile.workspace_names import in_workspace

#: Outcome → (kind, verdict, reason).
Kinds = Mapping[Any, tuple[Kind, Verdict, str]]


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to fetch differing pairs. ``pairs`` yields key_id, outcome, reason and what ``joins`` needs.

    ``joins`` brings ``k`` (the key) and both rows to ``o``, the sampled pairs; ``left``, ``right`` and
    ``differs`` are SQL per column of ``columns``.
    """

    key: tuple[str, ...]
    columns: tuple[str, ...]
    left: tuple[str, ...]
    right: tuple[str, ...]
    differs: tuple[str, ...]
    pairs: str
    joins: str
    left_present: str
    right_present: str
    witnesses: tuple[str, str]
    #: Column → SQL for the text of a number on the left that is NULL there, as no decimal holds it.
    written: Mapping[str, str] = field(default_factory=dict)


def fetch_discrepancies(
    connection: duckdb.DuckDBPyConnection, sampling: Sampling, kinds: Kinds
) -> tuple[Discrepancy, ...]:
    """Return at most DISCREPANCY_CAP discrepancies, an even share of each outcome first."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE sampled_pairs AS SELECT * FROM (
                SELECT *, row_number() OVER (PARTITION BY outcome ORDER BY key_id) AS place
                FROM ({sampling.pairs}))
            ORDER BY place, outcome LIMIT {DISCREPANCY_CAP}"""
    )
    keys = [f"k.{in_workspace(column)} AS k{i}" for i, column in enumerate(sampling.key)]
    facts = [
        *("o.outcome AS outcome", "o.reason AS reason"),
        *(f"{sampling.left_present} AS has_left", f"{sampling.right_present} AS has_right"),
    ]
    order = ", ".join(["outcome", *(f"k{i}" for i in range(len(sampling.key)))])
    rows, _ = _fetched(connection, sampling, [*facts, *keys], f"ORDER BY {order}")
    types_of: dict[str, tuple[str, str]] = {}
    for group in column_groups(range(len(sampling.columns))) if rows else ():
        sides = (("l", sampling.left), ("r", sampling.right), ("d", sampling.differs))
        values = [f"{values[i]} AS {side}{i}" for side, values in sides for i in group]
        written = ((i, sampling.written.get(sampling.columns[i])) for i in group)
        values += [f"{text} AS w{i}" for i, text in written if text is not None]
        found, types = _fetched(connection, sampling, values)
        for number, row in rows.items():
            row.update(found[number])
            row.update({f"l{i}": Decimal(text) for i in group if (text := row.get(f"w{i}")) is not None})
        types_of |= {sampling.columns[i]: (types[f"l{i}"], types[f"r{i}"]) for i in group}
    return tuple(_discrepancy(row, sampling, kinds, types_of) for row in rows.values())


def _fetched(
    connection: duckdb.DuckDBPyConnection, sampling: Sampling, values: Sequence[str], order: str = ""
) -> tuple[dict[int, dict[str, Any]], dict[str, str]]:
    """Return ``values`` of each of ``sampled_pairs`` by its number, and the types they have."""
    found = connection.sql(
        f"SELECT o.rowid AS number, {', '.join(values)} FROM sampled_pairs o {sampling.joins} {order}"
    )
    types = dict(zip(found.columns, map(str, found.types), strict=True))
    shown = ", ".join(shown_sql(name, kind) for name, kind in types.items())
    rows = found.project(shown).to_arrow_table().to_pylist()
    return {row["number"]: row for row in rows}, types


def count_kinds(connection: duckdb.DuckDBPyConnection, sampling: Sampling, kinds: Kinds) -> dict[Kind, int]:
    """Return how many of all confirmed differences are of which kind, the most first."""
    found: Counter[Kind] = Counter()
    for outcome, keys in connection.execute(
        f"SELECT outcome, count(*) FROM ({sampling.pairs}) GROUP BY 1"
    ).fetchall():
        kind, verdict, _ = kinds[outcome]
        if verdict is Verdict.DIFFERENT:
            found[kind] += keys
    return dict(found.most_common())


def shown_sql(name: str, type_: object) -> str:
    """Return the SQL that shows a value: dates and times beyond Python's years only exist as text."""
    return f"CAST({name} AS VARCHAR) AS {name}" if _is_temporal(str(type_)) else name


def _is_temporal(*types: str) -> bool:
    return all(type_.startswith(("TIMESTAMP", "DATE")) for type_ in types)


def _discrepancy(
    row: Mapping[str, Any], sampling: Sampling, kinds: Kinds, types_of: Mapping[str, tuple[str, str]]
) -> Discrepancy:
    kind, verdict, reason = kinds[row["outcome"]]
    both = row["has_left"] and row["has_right"]
    size = range(len(sampling.columns))
    differing = {sampling.columns[i]: (row[f"l{i}"], row[f"r{i}"]) for i in size if both and row[f"d{i}"]}
    return Discrepancy(
        kind=kind,
        key={column: json_value(row[f"k{i}"]) for i, column in enumerate(sampling.key)},
        columns=tuple(differing),
        expected=json_values(sampling.columns, (row[f"l{i}"] for i in size)) if row["has_left"] else None,
        actual=json_values(sampling.columns, (row[f"r{i}"] for i in size)) if row["has_right"] else None,
        witnesses=sampling.witnesses,
        verdict=verdict,
        reason=row["reason"] or reason,
        classes=_classes(differing, types_of, sampling.witnesses),
    )


def _classes(
    differing: Mapping[str, tuple[Any, Any]],
    types_of: Mapping[str, tuple[str, str]],
    witnesses: tuple[str, str],
) -> dict[str, ValueClass]:
    """Return what kind of difference each column has, where it has a name."""
    found = {}
    for column, (left, right) in differing.items():
        types = types_of[column]
        values = (_time(left), _time(right)) if _is_temporal(*types) else (left, right)
        class_ = classify(*values, witnesses, singles=are_singles(types))
        if class_ is not None:
            found[column] = class_
    return found


def _time(value: Any) -> Any:
    """Return a date or time off its text; what Python has no year for stays text."""
    if not isinstance(value, str):
        return value
    with suppress(ValueError):
        return date.fromisoformat(value)
    with suppress(ValueError):
        return datetime.fromisoformat(value)
    return value
