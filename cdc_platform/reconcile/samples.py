"""The discrepancies a comparison keeps: a bounded sample of differing keys with both rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from cdc_platform.naming import quoted
from cdc_platform.reconcile.typed import json_value, json_values
from cdc_platform.reconcile.verdict import DISCREPANCY_CAP, Discrepancy, Kind, Verdict

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


def fetch_discrepancies(
    connection: duckdb.DuckDBPyConnection, sampling: Sampling, kinds: Kinds
) -> tuple[Discrepancy, ...]:
    """Return at most DISCREPANCY_CAP discrepancies, an even share of each outcome first."""
    keys = ", ".join(f"k.{quoted(column)} AS k{i}" for i, column in enumerate(sampling.key))
    sides = [
        f"{value} AS {side}{i}"
        for side, values in (("l", sampling.left), ("r", sampling.right), ("d", sampling.differs))
        for i, value in enumerate(values)
    ]
    shown = ", ".join([keys, *sides])
    order = ", ".join(f"k{i}" for i in range(len(sampling.key)))
    found = connection.sql(
        f"""SELECT o.outcome AS outcome, o.reason AS reason, {sampling.left_present} AS has_left,
                   {sampling.right_present} AS has_right, {shown}
            FROM (SELECT * FROM (
                      SELECT *, row_number() OVER (PARTITION BY outcome ORDER BY key_id) AS place
                      FROM ({sampling.pairs}))
                  ORDER BY place, outcome LIMIT {DISCREPANCY_CAP}) o
            {sampling.joins}
            ORDER BY o.outcome, {order}"""
    )
    rows = found.project(
        ", ".join(_shown(*column) for column in zip(found.columns, found.types, strict=True))
    )
    return tuple(_discrepancy(row, sampling, kinds) for row in rows.to_arrow_table().to_pylist())


def _shown(name: str, type_: object) -> str:
    """Return the SQL that shows a value: dates and times beyond Python's years only exist as text."""
    temporal = str(type_).startswith(("TIMESTAMP", "DATE"))
    return f"CAST({name} AS VARCHAR) AS {name}" if temporal else name


def _discrepancy(row: Mapping[str, Any], sampling: Sampling, kinds: Kinds) -> Discrepancy:
    kind, verdict, reason = kinds[row["outcome"]]
    both = row["has_left"] and row["has_right"]
    size = range(len(sampling.columns))
    return Discrepancy(
        kind=kind,
        key={column: json_value(row[f"k{i}"]) for i, column in enumerate(sampling.key)},
        columns=tuple(sampling.columns[i] for i in size if row[f"d{i}"]) if both else (),
        expected=json_values(sampling.columns, (row[f"l{i}"] for i in size)) if row["has_left"] else None,
        actual=json_values(sampling.columns, (row[f"r{i}"] for i in size)) if row["has_right"] else None,
        witnesses=sampling.witnesses,
        verdict=verdict,
        reason=row["reason"] or reason,
    )
