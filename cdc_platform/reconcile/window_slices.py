"""What the differing keys of a window have in common: file, hour, operation, schema, values of the row."""

from __future__ import annotations

import duckdb
import pyarrow as pa

from cdc_platform.events import COMMITTED_AT, OP
from cdc_platform.naming import quoted, sql_text
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.column_differences import one_column
from cdc_platform.reconcile.slices import LEAST_DIFFERING, attribute, few_valued
from cdc_platform.reconcile.verdict import RAW_MATCHES_BASE, Comparison
from cdc_platform.reconcile.window_events import WindowEvents
from cdc_platform.reconcile.workspace_names import in_workspace

_FILE, _OP, _HOUR, _SCHEMA = "file", "op", "hour of commit", "columns in the file"

#: Differences that a later file can still explain are no differences.
_OUTCOMES = {
    True: "SELECT key_id, event, outcome > 2 AS differs FROM outcomes WHERE NOT pending",
    False: """SELECT s.key_id, e.event, s.outcome > 0 AS differs FROM source_outcomes s
        LEFT JOIN (SELECT key_id, min(event) AS event FROM last_effects GROUP BY key_id) e
               ON e.key_id = s.key_id
        WHERE NOT s.awaited AND NOT s.moved AND NOT s.later""",
}


def attribution_of(
    connection: duckdb.DuckDBPyConnection, comparison: Comparison, events: WindowEvents, view: BaseView
) -> str:
    """Return what stands out about the keys that differ, as a sentence; empty when nothing does."""
    said = one_column(comparison.column_differences)
    if comparison.tally.different < LEAST_DIFFERING:
        return said
    rows = _OUTCOMES[comparison.name == RAW_MATCHES_BASE]
    values = {
        name: f"coalesce(b.{in_workspace(name)}, r.{in_workspace(name)})"
        for name in view.columns.names
        if name in events.columns.names and name not in events.key and is_plain(view.columns.field(name))
    }
    joined = f"""({rows}) o LEFT JOIN raw_events r ON r.rowid = o.event
        LEFT JOIN (SELECT key_id, min(rowid) AS base_row FROM base_rows GROUP BY key_id) f
               ON f.key_id = o.key_id
        LEFT JOIN base_rows b ON b.rowid = f.base_row"""
    kept = {f"column {name}": values[name] for name in few_valued(connection, joined, values)}
    files = ", ".join(sql_text(key) for key, _ in events.read_files) or "NULL"
    schemas = ", ".join(str(number) for _, number in events.read_files) or "NULL"
    dimensions = {
        _FILE: f"([{files}])[r.file + 1]",
        _OP: f"r.{OP}",
        _HOUR: f"strftime(date_trunc('hour', r.{COMMITTED_AT}), '%Y-%m-%d %H:00 UTC')",
        _SCHEMA: f"([{schemas}])[r.file + 1]",
        **kept,
    }
    shown = ", ".join(f"({value})::VARCHAR AS {quoted(name)}" for name, value in dimensions.items())
    connection.execute(f"CREATE OR REPLACE TEMP TABLE slices AS SELECT o.differs, {shown} FROM {joined}")
    found = attribute(connection, "slices", list(dimensions))
    connection.execute("DROP TABLE slices")
    return "; ".join(filter(None, [found.sentence if found else "", said]))


def is_plain(column: pa.Field[pa.DataType]) -> bool:
    """Whether a column's values are such that rows can have one in common."""
    kinds = (pa.types.is_string, pa.types.is_boolean, pa.types.is_integer, pa.types.is_date)
    return any(is_kind(column.type) for is_kind in kinds)
