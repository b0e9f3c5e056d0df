"""How each odd row stands: what raw tells of it is reckoned in before anything is called a difference.

Base is later than what it is compared with where that is an export, and earlier where files are on their way;
and a table that keeps every row that came (``append``) keeps what the source deleted. So base as of the
source's position has as many copies of a row as it has now, less those that came after it and more those that
went after it. What is still left over (``off``: positive where base lacks copies) is

* kept by declaration, where base alone has copies and raw has as many deletes of them;
* awaited, where files on their way bring or take so many: any part of them may be of before the position;
* open, where raw cannot tell: the reason says why;
* judged by position like any difference (see ``in_flight``).

A row that is equal and that files on their way change is awaited, too: equality may be passing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import duckdb

from cdc_platform.config.model import NoKey
from cdc_platform.naming import sql_text
from cdc_platform.reconcile.row_parts import Buckets
from cdc_platform.reconcile.verdict import Kind


class State(StrEnum):
    """How an odd row stands."""

    EQUAL = "equal"
    KEPT = "kept"
    AWAITED = "awaited"
    MOVED = "moved"
    OPEN = "open"
    JUDGED = "judged"


class RowOutcome(IntEnum):
    """What is wrong with a row, seen from base."""

    MISSING = 1
    UNEXPECTED = 2
    DUPLICATE = 3


KINDS = {
    RowOutcome.MISSING: Kind.MISSING,
    RowOutcome.UNEXPECTED: Kind.UNEXPECTED,
    RowOutcome.DUPLICATE: Kind.DUPLICATE,
}

AMBIGUOUS = "it may be equal to another row by rule, and which one is not known"


@dataclass(frozen=True, slots=True)
class RawSays:
    """What raw says of odd rows. ``row_events`` has the events, if any.

    ``is_after`` and ``is_untimed`` are conditions on one: it came after the source was read, or nothing tells
    whether it did. ``doubt`` leaves every row open, ``doubt_of_surplus`` those base alone has copies of.
    """

    is_after: str = "false"
    is_untimed: str = "false"
    doubt: str = ""
    doubt_of_surplus: str = ""


def load_shifts(connection: duckdb.DuckDBPyConnection, raw: RawSays) -> None:
    """Make ``shifts``: what applied events did to odd rows after the source was read, and took before."""
    after = f"op <> 'L' AND ({raw.is_after})"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE shifts AS
            SELECT o.id, coalesce(sum(e.came) FILTER ({after}), 0)::BIGINT AS came_after,
                   coalesce(sum(e.went) FILTER ({after}), 0)::BIGINT AS went_after,
                   coalesce(sum(e.went) FILTER (NOT ({after})), 0)::BIGINT AS went_before,
                   count(*) FILTER (op <> 'L' AND ({raw.is_untimed})) AS untimed
            FROM odd o JOIN row_events e USING (lane1, lane2)
            WHERE e.standing = 'applied' GROUP BY o.id"""
    )


def unexplained_later(connection: duckdb.DuckDBPyConnection, raw: RawSays, policy: NoKey) -> int:
    """Count the rows that are as often on both sides though applied events after the source changed them.

    Base must have lost, or got, copies of these since, or before: which, nobody can tell.
    """
    # a table that keeps every row is changed by no delete
    went = "0" if policy is NoKey.APPEND else "went"
    row = connection.execute(
        f"""SELECT count(*) FROM (
                SELECT sum(came - {went}) AS shift FROM row_events e ANTI JOIN odd USING (lane1, lane2)
                WHERE standing = 'applied' AND op <> 'L' AND ({raw.is_after}) GROUP BY lane1, lane2)
            WHERE shift <> 0"""
    ).fetchone()
    return int(row[0]) if row else 0


def load_balances(connection: duckdb.DuckDBPyConnection, policy: NoKey) -> None:
    """Make ``balances`` of ``odd``, ``ruled``, ``shifts`` and ``changing``: how far off each odd row is."""
    # a table that keeps every row is changed by no delete
    went, kept = ("0", "h.went_before") if policy is NoKey.APPEND else ("h.went_after", "0")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE balances AS
            SELECT o.*, coalesce(r.undecided, false) OR coalesce(r.n, 0) > 0 AND h.id IS NOT NULL
                       AND h.came_after + h.went_after > 0 AS undecided,
                   coalesce(r.n, 0) AS ruled,
                   o.n_source - o.n_base - sign(o.n_source - o.n_base) * coalesce(r.n, 0)
                       + coalesce(h.came_after - {went}, 0) AS off,
                   coalesce({kept}, 0) AS deleted, coalesce(h.untimed, 0) AS untimed,
                   coalesce(c.came, 0) AS came, coalesce(c.went, 0) AS went
            FROM odd o LEFT JOIN ruled r USING (id) LEFT JOIN shifts h USING (id)
            LEFT JOIN changing c ON c.lane1 = o.lane1 AND c.lane2 = o.lane2"""
    )


def load_outcomes(connection: duckdb.DuckDBPyConnection, raw: RawSays) -> None:
    """Make ``row_outcomes``: each of ``balances`` with its state, its outcome, copies and, if open, why."""
    untimed = "raw has a change of this row that does not tell its log position (AR_H_STREAM_POSITION)"
    surplus = f"off < 0 AND {'true' if raw.doubt_of_surplus else 'false'}"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE row_outcomes AS
            SELECT *, CASE WHEN off > 0 THEN {RowOutcome.MISSING:d} WHEN n_source = 0
                       THEN {RowOutcome.UNEXPECTED:d} ELSE {RowOutcome.DUPLICATE:d} END AS outcome,
                   CASE WHEN state = '{State.MOVED}' THEN greatest(abs(off), 1)
                        WHEN state = '{State.AWAITED}' THEN greatest(abs(off), 1)
                        WHEN state IN ('{State.OPEN}', '{State.JUDGED}') AND off < 0
                        THEN greatest(-off - deleted, 1)
                        ELSE abs(off) END::BIGINT AS copies,
                   CASE WHEN {bool(raw.doubt)} THEN {sql_text(raw.doubt)}
                        WHEN untimed > 0 THEN {sql_text(untimed)}
                        WHEN undecided THEN {sql_text(AMBIGUOUS)}
                        ELSE {sql_text(raw.doubt_of_surplus)} END AS why
            FROM (SELECT *, CASE
                WHEN moved THEN '{State.MOVED}'
                WHEN {bool(raw.doubt)} OR untimed > 0 THEN '{State.OPEN}'
                WHEN off = 0 AND came + went = 0 THEN '{State.EQUAL}'
                WHEN undecided THEN '{State.OPEN}'
                WHEN off < 0 AND -off <= deleted THEN '{State.KEPT}'
                WHEN off BETWEEN -(went + deleted) AND came THEN '{State.AWAITED}'
                WHEN {surplus} THEN '{State.OPEN}'
                ELSE '{State.JUDGED}' END AS state FROM balances)"""
    )


@dataclass(frozen=True, slots=True)
class SegmentCounts:
    """Copies of odd rows in one segment, by what became of them; ``lacking`` are those base lacks of any."""

    judged: int = 0
    in_flight: int = 0
    open: int = 0
    lacking: int = 0
    ruled: int = 0


def counts_of(connection: duckdb.DuckDBPyConnection, buckets: Buckets) -> Mapping[int, SegmentCounts]:
    """Count ``row_outcomes`` by segment."""
    rows = connection.execute(
        f"""SELECT {buckets.segment_sql()}, coalesce(sum(copies) FILTER (state = '{State.JUDGED}'), 0),
                   coalesce(sum(copies) FILTER (state IN ('{State.AWAITED}', '{State.MOVED}')), 0),
                   coalesce(sum(copies) FILTER (state = '{State.OPEN}'), 0),
                   coalesce(sum(off) FILTER (off > 0), 0), sum(ruled)
            FROM row_outcomes GROUP BY 1"""
    ).fetchall()
    return {row[0]: SegmentCounts(*map(int, row[1:])) for row in rows}


def count_changing(connection: duckdb.DuckDBPyConnection, buckets: Buckets) -> Mapping[int, int]:
    """Count the rows that files on their way change and that are as many on both sides, by segment."""
    rows = connection.execute(
        f"""SELECT {buckets.segment_sql()}, count(*)
            FROM changing c ANTI JOIN odd o ON o.lane1 = c.lane1 AND o.lane2 = c.lane2 GROUP BY 1"""
    ).fetchall()
    return dict(rows)
