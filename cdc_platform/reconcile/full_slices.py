"""What the differing keys of a whole table have in common: columns of few values, operation, hour, segment.

The keys that differ are all looked at; of the others a sample by a hash of the key, which costs one scan.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import duckdb
import pyarrow as pa

from cdc_platform.events import COMMITTED_AT, OP
from cdc_platform.naming import quoted, sql_text
from cdc_platform.reconcile.column_differences import one_column
from cdc_platform.reconcile.segments import Segments
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.slices import (
    KEY_RANGE,
    LEAST_DIFFERING,
    LEAST_SHARE,
    Attribution,
    attribute,
    few_valued,
)
from cdc_platform.reconcile.source_base import CONFIRMED
from cdc_platform.reconcile.verdict import Comparison
from cdc_platform.reconcile.window_slices import is_plain
from cdc_platform.reconcile.workspace_names import in_workspace

#: About so many keys that do not differ are looked at.
SAMPLED_ROWS = 200_000

_OP, _HOUR = "op", "hour of commit"


@dataclass(frozen=True, slots=True)
class SliceScope:
    """Which segments were looked into (None: every one that differs), and the columns of base."""

    drilled: Collection[int] | None
    columns: pa.Schema


def attributed(
    connection: duckdb.DuckDBPyConnection, comparison: Comparison, sides: Sides, scope: SliceScope
) -> Comparison:
    """Return the comparison with what its differing keys have in common, or a note why that is not known."""
    try:
        found = _attribution(connection, sides, scope)
    except duckdb.Error as error:
        note = f"what the differing keys have in common could not be found: {error}"
        return replace(comparison, notes=(*comparison.notes, note))
    said = (found.sentence if found else "", one_column(comparison.column_differences))
    return replace(comparison, attribution="; ".join(filter(None, said)))


def _attribution(
    connection: duckdb.DuckDBPyConnection, sides: Sides, scope: SliceScope
) -> Attribution | None:
    keys = ", ".join(f"k.{in_workspace(column.column)} AS k{i}" for i, column in enumerate(sides.plan.key))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE slice_keys AS SELECT o.source_row, o.base_row, {keys}
            FROM source_outcomes o JOIN keys k ON k.key_id = o.key_id WHERE {CONFIRMED}"""
    )
    row = connection.execute("SELECT count(*), count(base_row) FROM slice_keys").fetchone()
    differing, in_base = row or (0, 0)
    if differing < LEAST_DIFFERING:
        return None
    names = _values(sides, scope)
    step = _load_rows(connection, sides, scope, names)
    columns = {f"column {name}": quoted(f"column {name}") for name in names}
    kept = few_valued(connection, "slice_rows", columns)
    # what base lacks has neither, which would say no more than that
    of_base = [_OP, _HOUR] if in_base > LEAST_SHARE * differing else []
    dimensions = [*of_base, *([KEY_RANGE] if scope.drilled is None else []), *kept]
    found = attribute(connection, "slice_rows", dimensions, sampled=step > 1)
    connection.execute("DROP TABLE slice_rows")
    return found


def _values(sides: Sides, scope: SliceScope) -> list[str]:
    key = {column.column for column in sides.plan.key}
    return [
        column.column
        for column in sides.plan.columns
        if column.column not in key and is_plain(scope.columns.field(column.column))
    ]


def _load_rows(
    connection: duckdb.DuckDBPyConnection, sides: Sides, scope: SliceScope, names: list[str]
) -> int:
    """Make ``slice_rows``; return of how many equal keys one is in it."""
    number = sides.segments.number_sql(sides.keys(sides.base_values))
    inside = f" AND ({number}) IN ({', '.join(map(str, scope.drilled))})" if scope.drilled is not None else ""
    size = connection.execute(f"SELECT count(*) FROM {sides.base_rows}{inside}").fetchone()
    step = max(1, (size[0] if size else 0) // SAMPLED_ROWS)
    same = " AND ".join(f"b.{quoted(column.column)} = d.k{i}" for i, column in enumerate(sides.plan.key))
    key = ", ".join(f"b.{quoted(column.column)}" for column in sides.plan.key)
    values = [column.usual.format(f"s.{in_workspace(column.column)}") for column in sides.plan.columns]
    here, there = ([f"b.{quoted(name)}" for name in names], [f"s.{in_workspace(name)}" for name in names])
    of_source = sides.segments.number_sql(sides.keys(values))
    named = f"[{', '.join(map(sql_text, _ranges(sides.segments)))}]"
    hour = f"strftime(date_trunc('hour', b.{COMMITTED_AT}), '%Y-%m-%d %H:00 UTC')"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE slice_rows AS
            SELECT d.k0 IS NOT NULL AS differs, b.{OP} AS {_OP}, {hour} AS {quoted(_HOUR)},
                   {named}[({number}) + 1] AS {KEY_RANGE} {_shown(here, names)}
            FROM (SELECT b.* FROM {sides.base_rows}{inside}) b LEFT JOIN slice_keys d ON {same}
            WHERE d.k0 IS NOT NULL OR hash({key}) % {step} = 0
            UNION ALL
            SELECT true, NULL, NULL, {named}[({of_source}) + 1] {_shown(there, names)}
            FROM slice_keys d JOIN source_rows s ON s.rowid = d.source_row WHERE d.base_row IS NULL"""
    )
    return step


def _ranges(segments: Segments) -> list[str]:
    """Return what the keys of each segment are, as what a sentence says they have.

    >>> _ranges(Segments(("BIGINT",), (("7",),))), _ranges(Segments(("BIGINT",)))
    (['keys below 7', 'keys from 7', 'no key'], ['a key', 'no key'])
    """
    ranges = [f"keys {segments.label(one)}" for one in range(segments.ranges)]
    return [*(ranges if segments.bounds else ["a key"]), "no key"]


def _shown(values: list[str], names: list[str]) -> str:
    pairs = zip(values, names, strict=True)
    return "".join(f", {value}::VARCHAR AS {quoted(f'column {name}')}" for value, name in pairs)
