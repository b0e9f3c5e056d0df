"""Where PostgreSQL's log stands."""

from __future__ import annotations

from typing import Any

import psycopg

from cdc_platform.errors import SourceUnavailable
from cdc_platform.lsn import find_lsn, lsn_text
from cdc_platform.reconcile.in_flight import PAGE_HEADERS
from cdc_platform.reconcile.postgres_errors import unavailable


def log_position(connection: psycopg.Connection[tuple[Any, ...]]) -> str:
    """Return a log position no visible change lies beyond.

    The insert position, not the write position: a commit that does not wait for the disk is visible before it
    is written. Where it stands just behind a page header it is set back, since nothing lies between.
    """
    try:
        row = connection.execute(
            "SELECT CASE WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() "
            "ELSE pg_current_wal_insert_lsn() END::text, current_setting('wal_block_size')::int"
        ).fetchone()
    except psycopg.Error as error:
        raise unavailable(error, "cannot read the source's log position") from None
    position = find_lsn(row[0]) if row else None
    if row is None or position is None:
        raise SourceUnavailable("the source tells no log position", mend="reconcile against the primary")
    into_page = position % row[1]
    return lsn_text(position - into_page if into_page in PAGE_HEADERS else position)


def is_standby(connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Return whether the server follows another one. Raises psycopg.Error."""
    return connection.execute("SELECT pg_catalog.pg_is_in_recovery()").fetchone() == (True,)
