"""The events of each suspect in order, held against its base row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from cdc_platform.events import COMMITTED_AT, OP, ROW, SOURCE_POSITION
from cdc_platform.naming import sql_text
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.reconcile.faults import RawImage
from cdc_platform.reconcile.samples import shown_sql
from cdc_platform.reconcile.suspect_events import Reading
from cdc_platform.reconcile.suspects import same_key
from cdc_platform.reconcile.typed import differs_sql, json_value, json_values
from cdc_platform.reconcile.workspace_names import in_workspace

#: So many of a row's newest events are shown.
SHOWN_EVENTS = 4

_NEWEST_FIRST = "ORDER BY h.generation DESC, h.position DESC, h.equals_base DESC NULLS LAST, r.file"


def images_of(
    connection: duckdb.DuckDBPyConnection, view: BaseView, key: tuple[str, ...], reading: Reading
) -> dict[int, list[RawImage]]:
    """Return of each key the newest events, and the newest of each standing and of those equal to base."""
    _load_histories(connection, view, key)
    columns = view.columns.names
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE shown_events AS
            SELECT h.key_id AS h_key, h.generation AS h_generation, h.position AS h_position,
                   h.deletes AS h_deletes, h.equals_base AS h_equal, r.standing AS h_standing,
                   r.file AS h_file, r.{ROW} AS h_row, r.{OP} AS h_op, r.{COMMITTED_AT} AS h_committed,
                   r.{SOURCE_POSITION} AS h_source, h.event AS h_event
            FROM histories h JOIN raw_events r ON r.rowid = h.event
            QUALIFY row_number() OVER (PARTITION BY h.key_id {_NEWEST_FIRST}) <= {SHOWN_EVENTS}
                OR row_number() OVER (PARTITION BY h.key_id, r.standing {_NEWEST_FIRST}) = 1
                OR (h.equals_base AND row_number() OVER (
                        PARTITION BY h.key_id, r.standing, h.equals_base {_NEWEST_FIRST}) = 1)"""
    )
    rows = _shown(connection, "SELECT rowid AS number, * FROM shown_events")
    for group in column_groups(list(enumerate(columns))):
        values = ", ".join(f"r.{in_workspace(name)} AS v{i}" for i, name in group)
        found = (
            f"SELECT e.rowid AS number, {values} FROM shown_events e JOIN raw_events r ON r.rowid = e.h_event"
        )
        for number, row in _shown(connection, found).items():
            rows[number].update(row)
    images: dict[int, list[RawImage]] = defaultdict(list)
    for row in rows.values():
        images[int(row["h_key"])].append(_image(row, columns, reading))
    for events in images.values():
        events.sort(key=lambda one: (one.place, bool(one.equals_base)), reverse=True)
    return images


def never_carried(
    connection: duckdb.DuckDBPyConnection, view: BaseView, key: tuple[str, ...]
) -> dict[int, tuple[str, ...]]:
    """Return the columns of each base row whose value no event of its key has."""
    columns = [name for name in view.columns.names if name not in key]
    found: dict[int, tuple[str, ...]] = {}
    for group in column_groups(columns):
        tests = ", ".join(
            f"CASE WHEN NOT coalesce(bool_or(r.{own} IS NOT DISTINCT FROM b.{own}), false) "
            f"THEN {sql_text(c)} END"
            for c, own in zip(group, map(in_workspace, group), strict=True)
        )
        rows = connection.execute(
            f"""SELECT h.key_id, list_filter([{tests}], lambda x : x IS NOT NULL)
                FROM histories h JOIN raw_events r ON r.rowid = h.event
                JOIN base_rows b ON b.key_id = h.key_id
                WHERE NOT h.deletes GROUP BY h.key_id"""
        ).fetchall()
        found |= {int(key_id): (*found.get(int(key_id), ()), *names) for key_id, names in rows}
    return found


def _shown(connection: duckdb.DuckDBPyConnection, query: str) -> dict[int, dict[str, Any]]:
    """Return the rows of a query by their ``number``, each value as it is shown."""
    found = connection.sql(query)
    shown = ", ".join(shown_sql(*column) for column in zip(found.columns, found.types, strict=True))
    return {row["number"]: row for row in found.project(shown).to_arrow_table().to_pylist()}


def _load_histories(connection: duckdb.DuckDBPyConnection, view: BaseView, key: Sequence[str]) -> None:
    """Make ``histories``: one row per suspect and event that has an effect on it."""
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE histories AS
            SELECT k.key_id, e.event, e.generation, e.position, e.deletes, b.base_row,
                   CASE WHEN NOT e.deletes AND b.base_row IS NOT NULL THEN true END AS equals_base
            FROM effects e
            JOIN suspects k ON {same_key(key, "e", "k")}
            LEFT JOIN (SELECT key_id, min(rowid) AS base_row FROM base_rows GROUP BY key_id) b
                   ON b.key_id = k.key_id"""
    )
    for group in column_groups(_tests(view)):
        connection.execute(
            f"""UPDATE histories SET equals_base = false WHERE rowid IN (
                    SELECT h.rowid FROM histories h JOIN raw_events r ON r.rowid = h.event
                    JOIN base_rows b ON b.rowid = h.base_row
                    WHERE h.equals_base AND ({" OR ".join(group)}))"""
        )


def _tests(view: BaseView) -> list[str]:
    """Return a condition per column: the event ``r`` and the base row ``b`` differ in it."""
    columns = [f"r.{in_workspace(name)}" for name in view.columns.names]
    tests = [differs_sql(one, f"b.{one.removeprefix('r.')}") for one in columns]
    if view.partial_images:
        # an update that leaves a column out says nothing of it
        tests = [
            f"((r.{OP} IN ('I', 'L') OR {one} IS NOT NULL) AND {test})"
            for one, test in zip(columns, tests, strict=True)
        ]
    return tests


def _image(row: Mapping[str, Any], columns: Sequence[str], reading: Reading) -> RawImage:
    return RawImage(
        file=reading.files[row["h_file"]].accepted.file.key,
        row=int(row["h_row"]),
        op=str(row["h_op"]),
        deletes=bool(row["h_deletes"]),
        generation=int(row["h_generation"]),
        sequence=int(row["h_position"]),
        standing=str(row["h_standing"]),
        committed_at=json_value(row["h_committed"]),
        source_position=row["h_source"],
        equals_base=row["h_equal"],
        values=None
        if row["h_deletes"]
        else json_values(columns, (row[f"v{i}"] for i in range(len(columns)))),
    )
