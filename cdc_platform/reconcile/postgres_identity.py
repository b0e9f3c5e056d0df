"""Which PostgreSQL database and table a reader reads: what two reads must share to tell of one history.

A connection names a server, not a database: behind one name may stand a restored copy tomorrow, or a standby
that was promoted before it had everything. What was proven of the one says nothing of the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, LiteralString

import psycopg

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.postgres_shape import hold, shape_of
from cdc_platform.reconcile.sources import ReadPlan

_SYSTEM: LiteralString = "SELECT system_identifier::text FROM pg_catalog.pg_control_system()"

_IN_RECOVERY: LiteralString = "SELECT pg_catalog.pg_is_in_recovery()"
# the name of a log file begins with its timeline; a standby names none
_TIMELINE: LiteralString = """
    SELECT ('x' || left(file, 8))::bit(32)::int
    FROM pg_catalog.pg_walfile_name(pg_catalog.pg_current_wal_insert_lsn()) file"""
_TIMELINE_OF_STANDBY: LiteralString = """
    SELECT greatest(c.timeline_id, r.min_recovery_end_timeline)
    FROM pg_catalog.pg_control_checkpoint() c, pg_catalog.pg_control_recovery() r"""

_STARTED: LiteralString = """
    SELECT to_char(pg_catalog.pg_postmaster_start_time() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"""
# the number the next transaction gets
_TRANSACTIONS: LiteralString = "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot())"

_TABLE: LiteralString = """
    SELECT (SELECT oid FROM pg_catalog.pg_database WHERE datname = current_database())::text, c.oid::text
    FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = %s AND c.relname = %s"""

# a hosted server may keep these functions from everybody
_REFUSALS = (
    psycopg.errors.InsufficientPrivilege,
    psycopg.errors.FeatureNotSupported,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.ObjectNotInPrerequisiteState,
)


def identity_of(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> str:
    """Return what tells this table of this database from every other, in words; empty when nothing does.

    The timeline is a part where the server tells it: a promoted standby may lack what its primary had
    committed. Raises psycopg.Error.
    """
    system = _told(connection, _SYSTEM)
    found = connection.execute(_TABLE, [schema, table]).fetchone()
    if system is None or found is None:
        return ""
    is_standby = connection.execute(_IN_RECOVERY).fetchone() == (True,)
    timeline = _told(connection, _TIMELINE_OF_STANDBY if is_standby else _TIMELINE)
    told = "unknown" if timeline is None else timeline
    return f"system {system}, timeline {told}, database {found[0]}, table {found[1]}"


def history_of(connection: psycopg.Connection[tuple[Any, ...]], schema: str, table: str) -> dict[str, Any]:
    """Return what a plan has of the table's identity, and of the history of its server.

    While a server runs nobody can put an older copy of its files in the place of these. Raises psycopg.Error.
    """
    return {
        "identity": identity_of(connection, schema, table),
        "started": _told(connection, _STARTED) or "",
        "transactions": _told(connection, _TRANSACTIONS),
    }


def refuse_other(connection: psycopg.Connection[tuple[Any, ...]], plan: ReadPlan) -> None:
    """Raise SourceUnavailable unless what this connection reads is what the plan was made of.

    It is from here on: the table is kept from being altered. Raises psycopg.Error.
    """
    table = plan.table
    hold(connection, table.schema, table.name)
    now = identity_of(connection, table.schema, table.name)
    then, today = plan.identity or "unknown", now or "unknown"
    # whichever standby answers has started at a time of its own
    started = plan.started if plan.is_standby else _told(connection, _STARTED) or ""
    if started != plan.started:
        then, today = f"started at {plan.started or 'unknown'}", f"started at {started or 'unknown'}"
    elif now == plan.identity:
        found = replace(plan, shape=shape_of(connection, table.schema, table.name))
        if found.shape_read == plan.shape_read:
            return
        then, today = "as it was planned", "altered, truncated or rewritten"
    raise SourceUnavailable(
        f"the source changed while it was read: first {then}, now {today}",
        where=table.label,
        mend="run again; if it happens again, connect to one server and not to whichever answers",
    )


def _told(connection: psycopg.Connection[tuple[Any, ...]], query: LiteralString) -> Any:
    """Return the one value of a query, None when the server keeps it from us."""
    try:
        with connection.transaction():
            row = connection.execute(query).fetchone()
    except _REFUSALS:
        return None
    return row[0] if row else None
