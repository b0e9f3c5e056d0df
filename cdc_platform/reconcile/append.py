"""Raw against base for a table without a key that keeps every row that ever came (``no_key: append``).

A row of such a table is known by its event's position; a row of a full load has none. So bags are compared:
of every (generation, position, row) base holds as many as the files of the window brought. Of rows of a load
it may hold more, since another window may have brought the same.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from enum import IntEnum

import duckdb

from cdc_platform.events import GENERATION, OP, POSITION, ROW
from cdc_platform.naming import quoted
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.carried_rows import BASE_ROWS, RAW_EVENTS
from cdc_platform.reconcile.open_points import given_up, given_up_text, open_points
from cdc_platform.reconcile.raw_base import CONTROL_EXCLUDED, compared_columns
from cdc_platform.reconcile.samples import Sampling, count_kinds, fetch_discrepancies
from cdc_platform.reconcile.verdict import RAW_MATCHES_BASE, Comparison, Kind, Tally, Verdict, combine
from cdc_platform.reconcile.window_events import WindowEvents, count
from cdc_platform.reconcile.workspace_names import in_workspace

METHOD = "every row of the window as a bag of typed values, by position"
_IDENTITY = (GENERATION, POSITION)


class Outcome(IntEnum):
    """How a row that differs stands."""

    MISSING = 1
    UNEXPECTED = 2
    DUPLICATE = 3


_KINDS = {
    Outcome.MISSING: (Kind.MISSING, Verdict.DIFFERENT, "the window brought this row and base lacks it"),
    Outcome.UNEXPECTED: (
        Kind.UNEXPECTED,
        Verdict.DIFFERENT,
        "base has this row at a position of another one",
    ),
    Outcome.DUPLICATE: (Kind.DUPLICATE, Verdict.DIFFERENT, "base has this row more often than it came"),
}


def compare_append(
    connection: duckdb.DuckDBPyConnection,
    events: WindowEvents,
    view: BaseView,
    *,
    unaccepted: Sequence[str] = (),
) -> Comparison:
    """Compare ``raw_events`` with base, row by row, and return what was found."""
    started = time.monotonic()
    columns = compared_columns(events, view)
    for statement in _statements(events, view, columns):
        connection.execute(statement)
    compared = count(connection, "SELECT sum(in_raw) FROM bags")
    different = count(connection, "SELECT count(*) FROM differing")
    missing = count(connection, "SELECT sum(in_raw - in_base) FROM differing WHERE outcome = 1")
    tally = Tally(
        compared=compared - missing + different + events.pending_rows,
        matched=compared - missing,
        different=different,
        in_flight=events.pending_rows,
    )
    points = open_points(events, unaccepted)
    said = f"{tally.matched:,} of {compared:,} rows of the window are in base"
    texts = [said, *(text for _, text in points), *given_up_text(events)]
    return Comparison(
        name=RAW_MATCHES_BASE,
        verdict=combine([tally.verdict, *(verdict for verdict, _ in points)]),
        reason="; ".join(texts if compared or points else ["nothing to compare in this window", *texts[1:]]),
        tally=tally,
        discrepancies=fetch_discrepancies(connection, _sampling(columns), _KINDS),
        discrepancies_total=different,
        kinds=count_kinds(connection, _sampling(columns), _KINDS),
        excluded=CONTROL_EXCLUDED,
        columns=tuple(columns),
        rows={RAW_EVENTS: events.rows, BASE_ROWS: count(connection, "SELECT sum(in_base) FROM bags")},
        snapshot_id=view.snapshot_id,
        method=METHOD,
        seconds=round(time.monotonic() - started, 3),
        points=tuple(verdict for verdict, _ in points),
        given_up=given_up(events),
    )


def _statements(events: WindowEvents, view: BaseView, columns: Sequence[str]) -> list[str]:
    raw = ", ".join(_value(in_workspace(one), one, events.columns.names) for one in columns)
    base = ", ".join(_value(quoted(one), one, view.columns.names) for one in columns)
    completed = view.completed_generation or 0
    nothing = f"SELECT {GENERATION}, {POSITION}, {raw} FROM raw_events WHERE false"
    held = f"SELECT {GENERATION}, {POSITION}, {base} FROM {view.relation}" if view.relation else nothing
    return [
        # An event that comes again under another file name is one event; rows of a load have no position.
        f"""CREATE OR REPLACE TEMP TABLE brought AS
            SELECT {GENERATION}, {POSITION}, {raw} FROM raw_events
            WHERE applied AND {OP} <> 'D' AND {GENERATION} >= {completed}
            QUALIFY {POSITION} = 0
                OR row_number() OVER (PARTITION BY {GENERATION}, {POSITION} ORDER BY file, {ROW}) = 1""",
        f"""CREATE OR REPLACE TEMP TABLE bags AS
            SELECT * EXCLUDE (side),
                   count(*) FILTER (side = 1) AS in_raw, count(*) FILTER (side = 2) AS in_base
            FROM (SELECT 1 AS side, * FROM brought
                  UNION ALL BY NAME
                  SELECT 2 AS side, h.* FROM ({held}) h
                  SEMI JOIN brought USING ({GENERATION}, {POSITION}))
            GROUP BY ALL""",
        f"""CREATE OR REPLACE TEMP TABLE differing AS
            SELECT row_number() OVER () AS key_id, *, CASE
                WHEN in_raw > in_base THEN {Outcome.MISSING:d}
                WHEN in_raw = 0 THEN {Outcome.UNEXPECTED:d}
                ELSE {Outcome.DUPLICATE:d} END AS outcome
            FROM bags WHERE in_raw > in_base OR ({POSITION} > 0 AND in_base > in_raw)""",
    ]


def _value(value: str, column: str, there: Sequence[str]) -> str:
    return f"{value if column in there else 'NULL'} AS {in_workspace(column)}"


def _sampling(columns: Sequence[str]) -> Sampling:
    values = tuple(f"b.{in_workspace(column)}" for column in columns)
    return Sampling(
        key=_IDENTITY,
        columns=tuple(columns),
        left=values,
        right=values,
        differs=("false",) * len(columns),
        pairs="SELECT key_id, outcome, in_raw, in_base, '' AS reason FROM differing",
        joins="JOIN differing k ON k.key_id = o.key_id JOIN differing b ON b.key_id = o.key_id",
        left_present="o.in_raw > 0",
        right_present="o.in_base > 0",
        witnesses=("raw", "base"),
    )
