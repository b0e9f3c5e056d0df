"""Sessions of reconciliation with PostgreSQL: how they are opened, and what they are set to.

The settings are pinned inside each transaction and read back, so that no pooler or role setting can change
what a value looks like, let a read wait for a lock, or end the session between two reads.
"""

from __future__ import annotations

from typing import Any

import psycopg
from psycopg import sql

from cdc_platform.config.model import Connection
from cdc_platform.errors import SourceUnavailable
from cdc_platform.postgres_dsn import DSN_MEND, NotConnected, UnreadableDsn, open_connection, parts_of
from cdc_platform.reconcile.postgres_errors import mend_of, unavailable

CONNECT_TIMEOUT_SECONDS = 10
STATEMENT_TIMEOUT_MILLISECONDS = 60_000

#: What the session must be set to; compared with SHOW before any row is read.
PINNED_SETTINGS = {
    "application_name": "cdc-platform reconciliation",
    "bytea_output": "hex",
    "client_encoding": "UTF8",
    "DateStyle": "ISO, MDY",
    "extra_float_digits": "3",
    "IntervalStyle": "postgres",
    # a table that is being altered is not waited for
    "lock_timeout": "1s",
    # names of tables, types and functions are text as long as the path does not lead to them; DMS's own
    # session has PostgreSQL's default
    "quote_all_identifiers": "off",
    "search_path": "public",
    "array_nulls": "on",
    "row_security": "off",
    "TimeZone": "UTC",
}
#: What would end the session, where the server has it: a role's own settings are for its other sessions.
ENDLESS = ("idle_in_transaction_session_timeout", "idle_session_timeout", "transaction_timeout")
_SET_ENDLESS = b"""
    SELECT number, pg_catalog.set_config(name, '0', %s)
    FROM pg_catalog.unnest(%s::text[]) WITH ORDINALITY AS each (name, number)
    WHERE pg_catalog.current_setting(name, true) IS NOT NULL"""


def connect(connection: Connection) -> psycopg.Connection[tuple[Any, ...]]:
    """Connect as ``cdc.yaml`` says. Raises SourceUnavailable with the server's reason, never a secret."""
    if connection.dsn is not None:
        try:
            parts: dict[str, Any] = dict(parts_of(connection.dsn.get_secret_value()))
        except UnreadableDsn as error:
            what = f"the dsn in the source's `connection` cannot be parsed: {error}"
            raise SourceUnavailable(what, mend=DSN_MEND) from None
    else:
        parts = {
            "host": connection.host,
            "port": connection.port,
            "dbname": connection.database,
            "user": connection.user,
            "password": connection.password.get_secret_value() if connection.password else None,
            "sslmode": connection.sslmode,
        }
    parts = {name: value for name, value in parts.items() if value is not None}
    try:
        return open_connection(parts | {"connect_timeout": CONNECT_TIMEOUT_SECONDS}, autocommit=False)
    except NotConnected as error:
        mend = mend_of(error.sqlstate) or (
            "check `connection` of the source in cdc.yaml, and that the database answers"
        )
        raise SourceUnavailable(f"cannot connect to the source: {error.said}", mend=mend) from None


def end_never(connection: psycopg.Connection[tuple[Any, ...]], *, local: bool = True) -> list[str]:
    """Let the server not end the session, or (``local``) not in this transaction; return what was set.

    One statement, since the session may be ended before a second. Raises psycopg.Error.
    """
    # by number: before the session's encoding is set, text of a database without one comes as bytes
    found = connection.execute(_SET_ENDLESS, [local, list(ENDLESS)]).fetchall()
    return [ENDLESS[number - 1] for number, _ in found]


def pin_settings(connection: psycopg.Connection[tuple[Any, ...]]) -> None:
    """Pin the settings for this transaction and prove they hold."""
    pins = PINNED_SETTINGS | {"statement_timeout": f"{STATEMENT_TIMEOUT_MILLISECONDS}ms"}
    try:
        endless = dict.fromkeys(end_never(connection), "0")
        for name, value in pins.items():
            connection.execute(sql.SQL("SET LOCAL {} TO {}").format(sql.Identifier(name), sql.Literal(value)))
        for name, value in (PINNED_SETTINGS | endless).items():
            row = connection.execute(sql.SQL("SHOW {}").format(sql.Identifier(name))).fetchone()
            if row is None or row[0] != value:
                raise SourceUnavailable(
                    f"setting {name} is {row[0] if row else None!r} though {value!r} was asked for",
                    mend="connect to the database itself; a pooler between drops session settings",
                )
    except psycopg.Error as error:
        raise unavailable(error, "cannot pin the session's settings") from None
