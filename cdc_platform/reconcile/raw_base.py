"""Raw against base: is base what the last event of every key of the window says it should be?

Exact: for each key the window touches, base holds either the row of the window's last event, column by
column, or a row of a later position (another window's, counted as superseded). A row that is missing, stale,
changed, doubled or still there after its delete is a discrepancy, unless a tombstone, a newer full load,
the quarantine or a file not yet applied explains it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import IntEnum

import duckdb

from cdc_platform.events import GENERATION, OP, POSITION, Position
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.carried_rows import BASE_ROWS, RAW_EVENTS
from cdc_platform.reconcile.column_differences import column_differences
from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.reconcile.open_points import given_up, given_up_text, open_points
from cdc_platform.reconcile.samples import Sampling, count_kinds, fetch_discrepancies
from cdc_platform.reconcile.typed import differs_sql
from cdc_platform.reconcile.verdict import (
    RAW_MATCHES_BASE,
    Comparison,
    Excluded,
    Kind,
    Tally,
    Verdict,
    combine,
)
from cdc_platform.reconcile.window_events import WindowEvents, count
from cdc_platform.reconcile.workspace_names import in_workspace

METHOD = "every key of the window, every column, typed and exact"

CONTROL_EXCLUDED = (
    Excluded("_cdc_op", "control column; a delete kept as a row is recognised by it"),
    Excluded("_cdc_committed_at", "control column, not the source's data"),
)


class Outcome(IntEnum):
    """How a key ended; among events of one position the lowest counts."""

    MATCHED = 0
    SUPERSEDED = 1
    AGED = 2
    MISSING = 3
    UNEXPECTED = 4
    CHANGED = 5
    STALE = 6
    DUPLICATE = 7


_KINDS = {
    Outcome.AGED: (
        Kind.MISSING,
        Verdict.UNVERIFIED,
        "a later delete whose tombstone is past its horizon may explain it",
    ),
    Outcome.MISSING: (
        Kind.MISSING,
        Verdict.DIFFERENT,
        "the window's last event wrote this row and base lacks it",
    ),
    Outcome.UNEXPECTED: (
        Kind.UNEXPECTED,
        Verdict.DIFFERENT,
        "the window's last event deleted this row and base has it",
    ),
    Outcome.CHANGED: (
        Kind.CHANGED,
        Verdict.DIFFERENT,
        "base has the position of the window's last event and other values",
    ),
    Outcome.STALE: (
        Kind.CHANGED,
        Verdict.DIFFERENT,
        "base is at an older position than the window's last event",
    ),
    Outcome.DUPLICATE: (Kind.DUPLICATE, Verdict.DIFFERENT, "base holds more than one row of this key"),
}


def compare_raw_base(
    connection: duckdb.DuckDBPyConnection,
    events: WindowEvents,
    view: BaseView,
    *,
    unaccepted: Sequence[str] = (),
    tombstone_floor: Position | None = None,
) -> Comparison:
    """Compare the loaded window (``window_events``, ``base_rows``) and return what was found.

    ``unaccepted`` names files of the window that lie in raw and are not accepted yet. A missing row
    at or below ``tombstone_floor`` proves nothing: the tombstone of a later delete may be forgotten.
    """
    started = time.monotonic()
    _load_outcomes(connection, events, view, tombstone_floor)
    tally = _tally(connection)
    sampling = _sampling(events, view)
    discrepancies = fetch_discrepancies(connection, sampling, _KINDS)
    total = count(connection, f"SELECT count(*) FROM outcomes WHERE outcome > {Outcome.SUPERSEDED:d}")
    points = open_points(events, unaccepted)
    verdict = combine([tally.verdict, *(verdict for verdict, _ in points)])
    return Comparison(
        name=RAW_MATCHES_BASE,
        verdict=verdict,
        reason=_reason(tally, events, [text for _, text in points]),
        tally=tally,
        discrepancies=discrepancies,
        discrepancies_total=total,
        excluded=CONTROL_EXCLUDED,
        columns=tuple(events.columns.names) or tuple(view.columns.names),
        rows={RAW_EVENTS: events.rows, BASE_ROWS: count(connection, "SELECT count(*) FROM base_rows")},
        notes=_notes(events, view),
        snapshot_id=view.snapshot_id,
        method=METHOD,
        column_differences=column_differences(connection, sampling, f"o.outcome > {Outcome.AGED:d}"),
        kinds=count_kinds(connection, sampling, _KINDS),
        seconds=round(time.monotonic() - started, 3),
        points=tuple(verdict for verdict, _ in points),
        given_up=given_up(events),
    )


def _load_outcomes(
    connection: duckdb.DuckDBPyConnection, events: WindowEvents, view: BaseView, floor: Position | None
) -> None:
    """Make ``outcomes``: one row per key with the event and base row to show."""
    connection.execute(_effects_sql(view, floor))
    for group in column_groups(changed_conditions(events, view)):
        connection.execute(
            f"""UPDATE effect_outcomes SET outcome = {Outcome.CHANGED:d} WHERE rowid IN (
                    SELECT o.rowid FROM effect_outcomes o JOIN raw_events r ON r.rowid = o.event
                    JOIN base_rows b ON b.rowid = o.base_row
                    WHERE o.outcome = {Outcome.MATCHED:d} AND NOT o.deletes AND ({" OR ".join(group)}))"""
        )
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE outcomes AS
            SELECT p.key_id, unnest(p.best), n.key_id IS NOT NULL AS pending
            FROM (SELECT key_id, arg_min({outcome: outcome, event: event, base_row: base_row,
                                          deletes: deletes}, outcome) AS best
                  FROM effect_outcomes GROUP BY key_id) p
            LEFT JOIN pending_keys n ON n.key_id = p.key_id"""
    )
    connection.execute("DROP TABLE effect_outcomes")


def _effects_sql(view: BaseView, floor: Position | None) -> str:
    """Return SQL that makes ``effect_outcomes`` of the last effects of each key, values not yet compared."""
    here, there = "row(l.generation, l.position)", f"row(b.{GENERATION}, b.{POSITION})"
    aged = f"{here} <= row({floor.generation}, {floor.sequence}::DECIMAL(38,0))" if floor else "false"
    deleted = f"b.{OP} = 'D'" if view.soft_deletes else "false"
    return f"""CREATE OR REPLACE TEMP TABLE effect_outcomes AS
        WITH copies AS (SELECT key_id, min(rowid) AS base_row, count(*) AS n FROM base_rows GROUP BY key_id)
        SELECT l.key_id, l.event, l.deletes, c.base_row, CASE
            WHEN c.n > 1 THEN {Outcome.DUPLICATE:d}
            WHEN c.n IS NULL AND l.deletes THEN {Outcome.MATCHED:d}
            WHEN c.n IS NULL AND t.key_id IS NOT NULL AND row(t.generation, t.position) > {here}
                THEN {Outcome.SUPERSEDED:d}
            WHEN c.n IS NULL AND {aged} THEN {Outcome.AGED:d}
            WHEN c.n IS NULL THEN {Outcome.MISSING:d}
            WHEN {there} > {here} THEN {Outcome.SUPERSEDED:d}
            WHEN l.deletes AND {there} = {here} AND {deleted} THEN {Outcome.MATCHED:d}
            WHEN l.deletes THEN {Outcome.UNEXPECTED:d}
            WHEN {there} < {here} THEN {Outcome.STALE:d}
            WHEN {deleted} THEN {Outcome.CHANGED:d}
            ELSE {Outcome.MATCHED:d} END AS outcome
        FROM last_effects l
        LEFT JOIN copies c ON c.key_id = l.key_id
        LEFT JOIN base_rows b ON b.rowid = c.base_row
        LEFT JOIN tombstones t ON t.key_id = l.key_id"""


def changed_conditions(events: WindowEvents, view: BaseView) -> list[str]:
    """Return one SQL condition per compared column: the event ``r`` and the base row ``b`` differ in it.

    A column that only one side has is NULL on the other: base keeps it as NULL once the files drop it.
    """
    raw, base = set(events.columns.names), set(view.columns.names)
    conditions = []
    for column in compared_columns(events, view):
        left = f"r.{in_workspace(column)}" if column in raw else "NULL"
        right = f"b.{in_workspace(column)}" if column in base else "NULL"
        differs = differs_sql(left, right)
        if view.partial_images:
            differs = f"((r.{OP} IN ('I', 'L') OR {left} IS NOT NULL) AND {differs})"
        conditions.append(differs)
    return conditions


def compared_columns(events: WindowEvents, view: BaseView) -> list[str]:
    """Return the source columns of either side, base's order first."""
    return list(dict.fromkeys([*view.columns.names, *events.columns.names]))


def _tally(connection: duckdb.DuckDBPyConnection) -> Tally:
    different = f"outcome > {Outcome.AGED:d}"
    row = connection.execute(
        f"""SELECT count(*) FILTER ({different}),
                   count(*) FILTER (NOT ({different}) AND pending),
                   count(*) FILTER (outcome = {Outcome.AGED:d} AND NOT pending),
                   count(*) FILTER (outcome = {Outcome.SUPERSEDED:d} AND NOT pending),
                   count(*) FILTER (outcome = {Outcome.MATCHED:d} AND NOT pending)
            FROM outcomes"""
    ).fetchone()
    different_keys, pending, aged, superseded, matched = row or (0, 0, 0, 0, 0)
    pending += count(
        connection, "SELECT count(*) FROM pending_keys WHERE key_id NOT IN (SELECT key_id FROM outcomes)"
    )
    return Tally(
        compared=different_keys + pending + aged + superseded + matched,
        matched=matched,
        superseded=superseded,
        different=different_keys,
        in_flight=pending,
        unverified=aged,
    )


def _sampling(events: WindowEvents, view: BaseView) -> Sampling:
    columns = compared_columns(events, view)
    raw, base = set(events.columns.names), set(view.columns.names)
    return Sampling(
        key=events.key,
        columns=tuple(columns),
        left=tuple(f"r.{in_workspace(c)}" if c in raw else "NULL" for c in columns),
        right=tuple(f"b.{in_workspace(c)}" if c in base else "NULL" for c in columns),
        differs=tuple(changed_conditions(events, view)),
        pairs=f"SELECT *, '' AS reason FROM outcomes WHERE outcome > {Outcome.SUPERSEDED:d}",
        joins="""JOIN keys k ON k.key_id = o.key_id
            JOIN raw_events r ON r.rowid = o.event
            LEFT JOIN base_rows b ON b.rowid = o.base_row""",
        left_present="NOT o.deletes",
        right_present="o.base_row IS NOT NULL",
        witnesses=("raw", "base"),
    )


def _reason(tally: Tally, events: WindowEvents, open_texts: Sequence[str]) -> str:
    if not tally.compared and not open_texts:
        files = events.applied_files + len(events.discarded_files)
        empty = "its files hold no event that counts" if files else "raw was listed and holds no file of it"
        return "; ".join([f"nothing to compare in this window: {empty}", *given_up_text(events)])
    agree = tally.matched + tally.superseded
    parts = [f"{agree:,} of {tally.compared:,} keys changed in the window agree"]
    if tally.superseded:
        parts.append(f"{tally.superseded:,} of them superseded by a later window")
    if tally.different:
        parts.append(f"{tally.different:,} differ{'s' if tally.different == 1 else ''}")
    if tally.in_flight:
        parts.append(f"{tally.in_flight:,} have an event that is not applied yet")
    if tally.unverified:
        parts.append(f"{tally.unverified:,} are missing beyond the tombstone horizon")
    return "; ".join([*parts, *open_texts, *given_up_text(events)])


def _notes(events: WindowEvents, view: BaseView) -> tuple[str, ...]:
    notes = []
    if events.stale_rows:
        notes.append(
            f"{events.stale_rows:,} events of superseded generations "
            f"(before full load {view.completed_generation}) passed over"
        )
    if view.partial_images:
        notes.append("partial images: of an update only the columns it supplies are compared")
    return tuple(notes)
