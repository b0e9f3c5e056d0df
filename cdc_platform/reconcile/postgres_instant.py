"""A closed instant of PostgreSQL's clock: one before which every commit is visible to whoever reads next.

A commit takes its time, is written, and only then becomes visible. So after instant B has passed, whatever
was in progress then may still become visible with a time before B. It is waited for, by transaction id,
unless its session shows that it has not begun to commit: idle in its transaction, or in a statement that
began after B. What begins later commits later.

In progress is who holds the lock on its own transaction id: taken before anything is written under it, given
back once it is visible. (A snapshot's list of transactions lacks those newer than the last that has ended.)
"""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Any

import psycopg

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.postgres_errors import unavailable
from cdc_platform.reconcile.postgres_session import connect, end_never

LONGEST_WAIT_SECONDS = 15.0
_PAUSE_SECONDS = 0.02

_IN_PROGRESS = """
    SELECT l.transactionid::text FROM pg_locks l
    WHERE l.locktype = 'transactionid' AND l.mode = 'ExclusiveLock' AND l.granted"""

#: Which of the transactions ``%(open)s`` may yet become visible with a commit time before ``%(instant)s``.
_MAY_COMMIT_BEFORE = f"""{_IN_PROGRESS}
      AND l.transactionid::text = ANY(%(open)s) AND NOT EXISTS (
        SELECT 1 FROM pg_stat_activity a
        WHERE a.pid = l.pid AND (a.state LIKE 'idle in transaction%%' OR a.query_start > %(instant)s))"""


def closed_instant(settings: Connection, step: timedelta) -> datetime:
    """Return an instant, a multiple of ``step``, just passed and closed.

    Raises SourceUnavailable when the source is a standby, or a transaction does not end in time.
    """
    try:
        with connect(settings) as connection:
            connection.rollback()
            connection.autocommit = True
            return _closed(connection, step)
    except psycopg.Error as error:
        raise unavailable(error, "cannot tell which commits are visible") from None


def _closed(connection: psycopg.Connection[tuple[Any, ...]], step: timedelta) -> datetime:
    end_never(connection, local=False)
    connection.execute("SET TimeZone TO 'UTC'")
    if _one(connection, "SELECT pg_is_in_recovery()"):
        raise SourceUnavailable(
            "the source is a standby, which does not show what its primary has committed meanwhile",
            mend="let `connection` of the source name the primary, then repair",
        )
    micros = step // timedelta(microseconds=1)
    instant: datetime = _one(
        connection,
        "SELECT to_timestamp(0) + ((extract(epoch FROM clock_timestamp()) * 1000000)::bigint / %(s)s + 1)"
        " * %(s)s * interval '1 microsecond'",
        {"s": micros},
    )
    while not _one(connection, "SELECT clock_timestamp() >= %(at)s", {"at": instant}):
        time.sleep(step.total_seconds() / 10)
    still = [row[0] for row in connection.execute(_IN_PROGRESS).fetchall()]
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while still:
        asked = {"open": still, "instant": instant}
        still = [row[0] for row in connection.execute(_MAY_COMMIT_BEFORE, asked).fetchall()]
        if still and time.monotonic() > deadline:
            raise SourceUnavailable(
                f"{len(still)} transactions of the source (first: {still[0]}) have run a statement since "
                f"before {instant.isoformat()}: whether they commit as of before or after cannot be told",
                mend="repair when they have ended; grant pg_read_all_stats to tell idle sessions from them",
            )
        if still:
            time.sleep(_PAUSE_SECONDS)
    return instant


def _one(connection: psycopg.Connection[tuple[Any, ...]], query: str, given: Any = None) -> Any:
    row = connection.execute(query, given).fetchone()
    return row[0] if row else None
