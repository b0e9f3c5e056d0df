"""Keys whose value is another in base than in the source: DMS clamps, cuts and rounds, key columns as well.

Base's key does not tell which row of the source it is of then: none of its own value may be there, or several
become one. Nothing can be said of such a key, in any mode, and nothing repaired by it: it is UNVERIFIED.
"""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Protocol, runtime_checkable

import duckdb
import pyarrow as pa

from cdc_platform.reconcile.postgres_types import DMS_SCALE
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan, SourceColumn, SourceReader, SourceSnapshot
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window_events import count
from cdc_platform.reconcile.workspace_names import in_workspace

_KEYS_AT_ONCE = 5_000

ALTERED = "a key column is changed on its way to base, so which row of the source this is cannot be told"
_MEND = "name a `merge_key` whose values DMS does not change"


@runtime_checkable
class TellsAlteredKeys(Protocol):
    """A snapshot of a source of which keys may be others in base."""

    def altered_keys(self, keys: pa.Table, plan: ReadPlan) -> list[int]:
        """Return the numbers, from 0, of the keys that rows with another key in the source have in base."""
        ...

    def has_altered_key(self, plan: ReadPlan) -> bool:
        """Return whether any row has another key in base than in the source."""
        ...


def may_be_altered(plan: ReadPlan) -> bool:
    """Whether the types of the key allow values that are others in base."""
    return any(column.altered is not None for column in plan.key)


def as_key(planned: ColumnPlan, column: SourceColumn, base: pa.DataType) -> ColumnPlan:
    """Return the plan of a key column with which values of it are changed on their way to ``base``.

    ``altered`` is the condition on the source's value (``{0}``); what becomes a key (``{0}``) of base lies
    between the two of ``reached_from``. Both are PostgreSQL's.
    """
    match column.base_type:
        case "date" | "timestamp" | "timestamptz" if not pa.types.is_string(base):
            last = "'9999-12-31'" if column.base_type == "date" else "'9999-12-31 23:59:59.999999'"
            return replace(
                planned,
                altered=f"({{0}} < '0001-01-01' OR {{0}} > {last})",
                reached_from=(
                    "(CASE WHEN {0} < '0001-01-02' THEN '-infinity' ELSE {0} END)",
                    "(CASE WHEN {0} >= '9999-12-31' THEN 'infinity' ELSE {0} END)",
                ),
            )
        case "time":
            beyond = "{0} >= '23:59:59.999'"
            return replace(
                planned,
                altered="({0} <> {0}::time(3) OR {0} = '24:00')",
                reached_from=(
                    "{0}",
                    f"(CASE WHEN {beyond} THEN '24:00' ELSE {{0}} + interval '1 ms' END)",
                ),
            )
        case "timetz":
            return replace(planned, altered="true", reached_from=("'00:00+15:59'", "'24:00-15:59'"))
        case "numeric" if column.precision is None and isinstance(base, pa.Decimal128Type):
            decimals = min(DMS_SCALE, base.scale)
            half = f"{Decimal(5).scaleb(-decimals - 1):f}"
            return replace(
                planned,
                # neither NaN nor infinity less itself is 0
                altered=f"({{0}} <> round({{0}}, {decimals}) OR {{0}} - {{0}} <> 0)",
                reached_from=(f"({{0}} - {half})", f"({{0}} + {half})"),
            )
        case "numeric" if isinstance(base, pa.Decimal128Type):
            # NULL in base, so no key of base is meant
            return replace(planned, altered="{0} = 'NaN'")
    return planned


def load_altered_keys(
    connection: duckdb.DuckDBPyConnection, snapshot: SourceSnapshot, plan: ReadPlan
) -> None:
    """Make ``altered_keys`` (key_id): those of ``keys`` that are not known by their value."""
    connection.execute("CREATE OR REPLACE TEMP TABLE altered_keys (key_id BIGINT)")
    if all(column.reached_from is None for column in plan.key):
        return
    assert isinstance(snapshot, TellsAlteredKeys)
    names = ", ".join(in_workspace(column.column) for column in plan.key)
    reader = connection.execute(f"SELECT key_id, {names} FROM keys ORDER BY key_id").to_arrow_table()
    for first in range(0, reader.num_rows, _KEYS_AT_ONCE):
        chunk = reader.slice(first, _KEYS_AT_ONCE)
        numbers = snapshot.altered_keys(chunk.drop_columns(["key_id"]), plan)
        found = pa.table({"key_id": chunk.column("key_id").take(pa.array(numbers, pa.int64()))})
        connection.register("found", found)
        connection.execute("INSERT INTO altered_keys SELECT key_id FROM found")
        connection.unregister("found")


def altered_points(connection: duckdb.DuckDBPyConnection, plan: ReadPlan) -> list[tuple[Verdict, str]]:
    """Return what stands against MATCH because of ``altered_keys``."""
    number = count(connection, "SELECT count(*) FROM altered_keys")
    keys = "1 key is" if number == 1 else f"{number:,} keys are"
    text = f"{keys} changed on the way to base ({_rules(plan)}) and cannot be compared → {_MEND}"
    return [(Verdict.UNVERIFIED, text)] if number else []


def whole_points(reader: SourceReader, plan: ReadPlan) -> list[tuple[Verdict, str]]:
    """Return what stands against MATCH of a whole table: a row with another key in base.

    Raises SourceUnavailable.
    """
    if not may_be_altered(plan):
        return []
    with reader.snapshot() as snapshot:
        assert isinstance(snapshot, TellsAlteredKeys)
        if not snapshot.has_altered_key(plan):
            return []
    text = f"a key column is changed on its way to base ({_rules(plan)}) → {_MEND}"
    return [(Verdict.UNVERIFIED, text)]


def _rules(plan: ReadPlan) -> str:
    return "; ".join(f"{c.column}: {c.rule}" for c in plan.key if c.altered is not None)
