"""Source against base: for every key changed in the window, is base's row the one the source has now?

The source is read once, in one consistent snapshot, and only for those keys. Both rows are compared typed,
under the conversion rules of the source's type table where DMS converts; each rule used is named.
What differs is judged by log position (see ``in_flight``) and, before it is called different, read once more.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

import duckdb

from cdc_platform.reconcile.altered_keys import altered_points, load_altered_keys
from cdc_platform.reconcile.base_rows import BaseView, first_row_sql, load_all_spellings
from cdc_platform.reconcile.bracket import Bracket
from cdc_platform.reconcile.column_differences import column_differences
from cdc_platform.reconcile.column_groups import column_groups
from cdc_platform.reconcile.compared_columns import empty_told, gap_points
from cdc_platform.reconcile.difference_kinds import ColumnDifference
from cdc_platform.reconcile.in_flight import Capture, Judgement, judge_difference
from cdc_platform.reconcile.key_outcomes import Outcome, found_in
from cdc_platform.reconcile.not_finite import may_be_not_finite, written_sql
from cdc_platform.reconcile.samples import Sampling, count_kinds, fetch_discrepancies
from cdc_platform.reconcile.sightings import sightings
from cdc_platform.reconcile.source_base_words import reason_of
from cdc_platform.reconcile.source_rows import load_source_rows
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan, SourceReader
from cdc_platform.reconcile.typed import differs_sql
from cdc_platform.reconcile.verdict import (
    SOURCE_MATCHES_BASE,
    Comparison,
    Excluded,
    Kind,
    Tally,
    Verdict,
    combine,
)
from cdc_platform.reconcile.window_events import count
from cdc_platform.reconcile.workspace_names import in_workspace

METHOD = "keys of the window re-read in one source snapshot, typed and exact under the named rules"


#: The condition on ``source_outcomes o`` that a difference is one, where the judgement is DIFFERENT.
CONFIRMED = "o.outcome > 0 AND NOT o.awaited AND NOT o.moved AND NOT o.later"

#: Added to the outcome for the sample: the key is on its way, its source row moved while it was read, or it
#: may have changed since the source side was made, which is an export then, or cannot be told otherwise.
_AWAITED, _MOVED, _LATER = 100, 200, 300


def compare_source_base(
    connection: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    plan: ReadPlan,
    view: BaseView,
    *,
    observe: Callable[[str], Capture],
    open_points: Sequence[tuple[Verdict, str]] = (),
    judge: Callable[[str, Capture], Judgement] = judge_difference,
    has_later: bool = False,
    is_over: Callable[[], bool] = lambda: False,
) -> Comparison:
    """Compare the keys of the temporary table ``keys`` and return what was found.

    ``observe`` is called with the position the source was read at: it asks how far capture has come, then
    makes the table ``awaited`` of keys changed by files the pinned snapshot has not applied. ``judge`` says
    what a difference is; ``has_later``: ``later`` (key_id, reason) has keys it cannot be said of. Keys unread
    once ``is_over`` leave ``keys``. Raises SourceUnavailable.
    """
    started, bracket = time.monotonic(), _read(connection, reader, plan, view, is_over)
    judgement = bracket.judge(connection, judge, observe(bracket.high))
    _load_outcomes(connection, plan, view, has_later=has_later)
    _confirm(connection, reader, plan, judgement)
    tally, sampling = bracket.tally(_tally(connection, judgement), judgement), _sampling(plan, view)
    excluded, points = _gaps(connection, plan, view, open_points)
    kinds = _kinds(judgement, bracket, found_in(is_export=has_later))
    return Comparison(
        name=SOURCE_MATCHES_BASE,
        verdict=combine([tally.verdict, *(verdict for verdict, _ in points)]),
        reason=reason_of(tally, judgement, [text for _, text in points]),
        tally=tally,
        discrepancies=fetch_discrepancies(connection, sampling, kinds),
        discrepancies_total=count(connection, "SELECT count(*) FROM source_outcomes WHERE outcome > 0"),
        excluded=excluded,
        columns=tuple(column.column for column in plan.columns),
        rules={column.column: column.rule for column in plan.columns if column.rule},
        rows=_rows_read(connection, view),
        notes=bracket.notes,
        source_position=bracket.high,
        snapshot_id=view.snapshot_id,
        method=METHOD,
        column_differences=_column_differences(connection, sampling, tally),
        kinds=count_kinds(connection, sampling, kinds),
        seconds=round(time.monotonic() - started, 3),
        sightings=sightings(connection, plan, judgement, bracket.high),
        points=tuple(verdict for verdict, _ in open_points),
    )


def _read(
    connection: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    plan: ReadPlan,
    view: BaseView,
    is_over: Callable[[], bool],
) -> Bracket:
    """Make ``source_rows`` and ``altered_keys``; return the positions between which they were read."""
    load_all_spellings(connection, view, plan)
    with reader.snapshot() as snapshot:
        keys = "SELECT * FROM keys"
        last = load_source_rows(connection, snapshot, plan, into="source_rows", keys=keys, is_over=is_over)
        if last is not None:
            for table in ("keys", "base_rows"):
                connection.execute(f"DELETE FROM {table} WHERE key_id > {last}")
        load_altered_keys(connection, snapshot, plan)
        return Bracket.of(reader, snapshot.position)


def _gaps(
    connection: duckdb.DuckDBPyConnection,
    plan: ReadPlan,
    view: BaseView,
    open_points: Sequence[tuple[Verdict, str]],
) -> tuple[tuple[Excluded, ...], list[tuple[Verdict, str]]]:
    """Return the columns not compared, and ``open_points`` with those that stand against MATCH."""
    rows = f"base_rows b WHERE {view.live_condition}"
    excluded = empty_told(connection, plan, rows, in_workspace).excluded
    # a base that is not there yet lacks rows, not columns
    gaps = gap_points(excluded) if view.relation is not None else []
    return excluded, [*open_points, *gaps, *altered_points(connection, plan)]


def _column_differences(
    connection: duckdb.DuckDBPyConnection, sampling: Sampling, tally: Tally
) -> tuple[ColumnDifference, ...]:
    return column_differences(connection, sampling, f"o.outcome < {_AWAITED}") if tally.different else ()


def _rows_read(connection: duckdb.DuckDBPyConnection, view: BaseView) -> dict[str, int]:
    return {
        "source rows": count(connection, "SELECT count(*) FROM source_rows"),
        "base rows": count(connection, f"SELECT count(*) FROM base_rows b WHERE {view.live_condition}"),
    }


def _load_outcomes(
    connection: duckdb.DuckDBPyConnection, plan: ReadPlan, view: BaseView, *, has_later: bool
) -> None:
    """Make ``source_outcomes``, a row of each key: which rows it has, and how they compare."""
    connection.execute(_found_sql(plan, view, has_later=has_later))
    for group in column_groups(plan.columns):
        changed = " OR ".join(_differs(column, view) for column in group)
        connection.execute(
            f"""UPDATE source_outcomes SET outcome = {Outcome.CHANGED:d} WHERE key_id IN (
                    SELECT o.key_id FROM source_outcomes o JOIN source_rows s ON s.rowid = o.source_row
                    JOIN base_rows b ON b.rowid = o.base_row
                    WHERE o.outcome = {Outcome.EQUAL:d} AND ({changed}))"""
        )


def _found_sql(plan: ReadPlan, view: BaseView, *, has_later: bool) -> str:
    """Return SQL that makes ``source_outcomes``; keys with one row on either side are EQUAL in it as yet."""
    own_key = " AND ".join(
        f"s.{in_workspace(column.column)} = {column.base.format('k.' + in_workspace(column.column))}"
        for column in plan.key
    )
    later = "later" if has_later else "(SELECT 0 AS key_id, '' AS reason LIMIT 0)"
    return f"""CREATE OR REPLACE TEMP TABLE source_outcomes AS
        WITH of_source AS (
            SELECT k.key_id, min(s.rowid) AS source_row, count(*) AS n
            FROM source_rows s JOIN keys k ON k.key_id = s.key_id AND {own_key} GROUP BY k.key_id),
        of_equal AS (SELECT key_id, min(rowid) AS source_row FROM source_rows GROUP BY key_id),
        of_base AS (
            SELECT key_id, {first_row_sql(plan)} AS base_row, count(*) AS n FROM base_rows b
            WHERE {view.live_condition} GROUP BY key_id)
        SELECT k.key_id, CASE WHEN ob.n IS NULL THEN os.source_row ELSE coalesce(os.source_row, oe.source_row)
               END AS source_row, ob.base_row, coalesce(os.n, 0) AS source_copies,
               coalesce(ob.n, 0) AS base_copies, a.key_id IS NOT NULL AS awaited, false AS moved,
               l.key_id IS NOT NULL OR x.key_id IS NOT NULL AS later,
               CASE WHEN x.key_id IS NULL THEN coalesce(l.reason, '') ELSE '' END AS reason, CASE
                WHEN x.key_id IS NOT NULL THEN {Outcome.ALTERED:d}
                WHEN os.n IS NULL AND oe.key_id IS NOT NULL AND ob.n > 0 THEN {Outcome.SPELLED:d}
                WHEN os.n > 1 THEN {Outcome.AMBIGUOUS:d}
                WHEN ob.n > 1 THEN {Outcome.DUPLICATE:d}
                WHEN os.n IS NULL AND ob.n IS NULL THEN {Outcome.EQUAL:d}
                WHEN ob.n IS NULL THEN {Outcome.MISSING:d}
                WHEN os.n IS NULL THEN {Outcome.UNEXPECTED:d}
                ELSE {Outcome.EQUAL:d} END AS outcome
        FROM keys k
        LEFT JOIN of_source os ON os.key_id = k.key_id
        LEFT JOIN of_equal oe ON oe.key_id = k.key_id
        LEFT JOIN of_base ob ON ob.key_id = k.key_id
        LEFT JOIN awaited a ON a.key_id = k.key_id
        LEFT JOIN altered_keys x ON x.key_id = k.key_id
        LEFT JOIN {later} l ON l.key_id = k.key_id"""


def _differs(column: ColumnPlan, view: BaseView) -> str:
    """Return the SQL condition that source and base differ in ``column`` under its rule."""
    left, right = f"s.{in_workspace(column.column)}", column.base.format(f"b.{in_workspace(column.column)}")
    differs = differs_sql(left, right)
    if column.also is None:
        return f"({differs})"
    return f"({differs} AND NOT coalesce({column.also.format(source=left, base=right)}, false))"


def _confirm(
    connection: duckdb.DuckDBPyConnection, reader: SourceReader, plan: ReadPlan, judgement: Judgement
) -> None:
    """Read what is about to be called different once more; a row that moved meanwhile is in flight.

    A commit can reach capture before it becomes visible to us: then base is ahead of what was read.
    """
    suspects = "SELECT key_id FROM source_outcomes WHERE outcome > 0 AND NOT awaited AND NOT later"
    if judgement.verdict is not Verdict.DIFFERENT or not count(
        connection, f"SELECT count(*) FROM ({suspects})"
    ):
        return
    with reader.snapshot() as snapshot:
        keys = f"SELECT * FROM keys WHERE key_id IN ({suspects})"
        load_source_rows(connection, snapshot, plan, into="source_again", keys=keys)
    key = ["key_id", *(in_workspace(column.column) for column in plan.key)]
    for group in column_groups([in_workspace(column.column) for column in plan.columns]):
        # with the key, which tells the rows a key was found under from each other
        values = ", ".join(dict.fromkeys([*key, *group]))
        first = f"SELECT {values} FROM source_rows WHERE key_id IN ({suspects})"
        again = f"SELECT {values} FROM source_again"
        connection.execute(
            f"""UPDATE source_outcomes SET moved = true WHERE key_id IN (
                    SELECT key_id FROM (({first} EXCEPT ALL {again})
                                        UNION ALL ({again} EXCEPT ALL {first})))"""
        )


def _tally(connection: duckdb.DuckDBPyConnection, judgement: Judgement) -> Tally:
    row = connection.execute(
        """SELECT count(*), count(*) FILTER (outcome = 0 AND NOT awaited),
                  count(*) FILTER (awaited OR moved),
                  count(*) FILTER (outcome > 0 AND NOT awaited AND NOT moved AND NOT later),
                  count(*) FILTER (outcome > 0 AND NOT awaited AND NOT moved AND later)
           FROM source_outcomes"""
    ).fetchone()
    compared, matched, in_flight, differing, later = row or (0, 0, 0, 0, 0)
    by_verdict = {
        Verdict.DIFFERENT: 0,
        Verdict.IN_FLIGHT: 0,
        Verdict.UNVERIFIED: 0,
        judgement.verdict: differing,
    }
    return Tally(
        compared=compared,
        matched=matched,
        different=by_verdict[Verdict.DIFFERENT],
        in_flight=by_verdict[Verdict.IN_FLIGHT] + in_flight,
        unverified=by_verdict[Verdict.UNVERIFIED] + later,
    )


def _kinds(
    judgement: Judgement, bracket: Bracket, said: Mapping[Outcome, tuple[Kind, str]]
) -> dict[int, tuple[Kind, Verdict, str]]:
    kinds = {}
    awaits, why = bracket.awaited(judgement)
    for outcome, (kind, what) in said.items():
        kinds[int(outcome)] = (kind, judgement.verdict, f"{what}; {judgement.reason}")
        kinds[outcome + _AWAITED] = (kind, awaits, f"{what}; {why}")
        kinds[outcome + _MOVED] = (
            kind,
            Verdict.IN_FLIGHT,
            f"{what}; the source row changed while it was compared",
        )
        kinds[outcome + _LATER] = (kind, Verdict.UNVERIFIED, what)
    return kinds


def _sampling(plan: ReadPlan, view: BaseView) -> Sampling:
    return Sampling(
        key=tuple(column.column for column in plan.key),
        columns=tuple(column.column for column in plan.columns),
        left=tuple(f"s.{in_workspace(column.column)}" for column in plan.columns),
        right=tuple(f"b.{in_workspace(column.column)}" for column in plan.columns),
        differs=tuple(_differs(column, view) for column in plan.columns),
        pairs=f"""SELECT key_id, source_row, base_row, outcome + CASE WHEN awaited THEN {_AWAITED}
                      WHEN moved THEN {_MOVED} WHEN later THEN {_LATER} ELSE 0 END AS outcome,
                      CASE WHEN later AND NOT awaited AND NOT moved THEN reason ELSE '' END AS reason
                  FROM source_outcomes WHERE outcome > 0""",
        joins="""JOIN keys k ON k.key_id = o.key_id
            LEFT JOIN source_rows s ON s.rowid = o.source_row
            LEFT JOIN base_rows b ON b.rowid = o.base_row""",
        left_present="o.source_row IS NOT NULL",
        right_present="o.base_row IS NOT NULL",
        witnesses=("source", "base"),
        written={c.column: written_sql(c.column, "s") for c in plan.columns if may_be_not_finite(c)},
    )
