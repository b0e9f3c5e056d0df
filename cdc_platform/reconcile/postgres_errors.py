"""What PostgreSQL refuses, as an error that names the mend: which one it is, SQLSTATE tells."""

from __future__ import annotations

import psycopg

from cdc_platform.errors import SourceUnavailable
from cdc_platform.postgres_dsn import said_by

_CONNECTION = "check `connection` of the source in cdc.yaml, and that the database answers"
_KEYS = "check the table's merge key and columns against the source"
_TIMED_OUT = "the statement timed out: reconcile when the source is quieter, or index the merge key"
_ENDED = "the server ends sessions by {0}: set it to 0 for the reconciliation user (ALTER ROLE … SET {0} = 0)"

#: By SQLSTATE, or how it begins; the longest that fits counts.
_MENDS = {
    "08": _CONNECTION,
    "0A": "reconcile with a server that supports it, or with an export (--against)",
    "22": _KEYS,
    "25P03": _ENDED.format("idle_in_transaction_session_timeout"),
    "25P04": _ENDED.format("transaction_timeout"),
    "28": "check user and password in `connection` of the source in cdc.yaml",
    "3D": "check the database in `connection` of the source in cdc.yaml",
    "40": "reconcile again; of a standby that cancels reads, raise max_standby_streaming_delay or turn "
    "hot_standby_feedback on, or read the primary",
    "42": _KEYS,
    "42501": "grant the reconciliation user SELECT on the columns, and BYPASSRLS if rows are hidden",
    "53": "the server lacks memory, disk or connections: reconcile when it is quieter",
    "54": "the server cannot take so much at once: leave columns out by `not_compared` in cdc.yaml",
    "55P03": "try again when that session has ended its ALTER TABLE, TRUNCATE, LOCK or VACUUM FULL; "
    "pg_stat_activity and pg_locks name it",
    "57014": _TIMED_OUT,
    "57P": "the server was stopped, or an administrator ended the session: reconcile again",
    "57P05": _ENDED.format("idle_session_timeout"),
    "58": "the server cannot read its own files: look into its log",
    "72": "the snapshot became too old: reconcile when the source is quieter",
    "XX": "the server found a fault of its own: look into its log",
}
_OTHERWISE = "look into the server's log, and reconcile again"
_BY_REQUEST = "user request"


def unavailable(error: psycopg.Error, doing: str) -> SourceUnavailable:
    """Translate a driver error; the mend follows from what the server said."""
    said, state = said_by(error), error.sqlstate
    if state == "55P03":
        said = f"locked by another session: {said}"
    if state == "57014" and _BY_REQUEST in said:
        return SourceUnavailable(f"{doing}: {said}", mend="somebody cancelled the statement: reconcile again")
    usual = _CONNECTION if isinstance(error, psycopg.OperationalError) else _OTHERWISE
    return SourceUnavailable(f"{doing}: {said}", mend=mend_of(state) or usual)


def mend_of(state: str | None) -> str:
    """Return the mend of an SQLSTATE, '' of one that has none.

    >>> mend_of("42P01") == mend_of("42703"), mend_of("42501").startswith("grant"), mend_of(None)
    (True, True, '')
    """
    begun = (state[:length] for length in range(len(state), 1, -1)) if state else ()
    return next((_MENDS[one] for one in begun if one in _MENDS), "")
