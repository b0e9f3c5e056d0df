"""What a task keeps in its source: a replication slot and the publications it reads through.

Two publications, because a publication that carries updates makes PostgreSQL refuse UPDATE and DELETE on
tables without a key: tables with a replica identity publish inserts, updates and deletes, the others inserts
only (DMS ignores the rest of such tables as well). Truncates are never published.

A task with a slot of its own names both after itself. A task of a given slot (``SlotName``) shares
publications named after the slot with its successors, so that one can begin where another ended.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import psycopg
from psycopg import sql

from cdc_platform.local.engine.lsn import parse_lsn
from cdc_platform.local.engine.outcome import RunFailed, StopRequested
from cdc_platform.local.engine.source import Connection, Source, SourceTable
from cdc_platform.local.engine.stream import ReplicationConnection, fault_of
from cdc_platform.lsn import lsn_text

_SLOT_RELEASE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class SlotNames:
    """The names a task uses at its source. ``is_own`` says the task made the slot and may drop it."""

    slot: str
    is_own: bool

    @property
    def publications(self) -> list[str]:
        """The publications: of tables with a key, and of tables without."""
        return [self.slot, f"{self.slot}_inserts"]


def slot_names(given: str | None, task: str, folder: str) -> SlotNames:
    """Return the names of a task: its given slot, or names no other task of the machine has.

    >>> slot_names(None, "Retail-CDC", "/tasks/A").slot
    'cdc_retail_cdc_c7a06e5d'
    """
    if given:
        return SlotNames(given, is_own=False)
    readable = re.sub(r"[^a-z0-9_]+", "_", task.lower())[:40]
    unique = hashlib.sha256(f"{task}\0{folder}".encode()).hexdigest()[:8]
    return SlotNames(f"cdc_{readable}_{unique}", is_own=True)


def publish(connection: Connection, names: SlotNames, tables: Iterable[SourceTable]) -> set[str]:
    """Make the publications carry ``tables``; return the ids of tables that were not published before.

    Raises RunFailed when the user may not.
    """
    chosen = list(tables)
    keyed = [table for table in chosen if table.has_identity]
    keyless = [table for table in chosen if not table.has_identity]
    added: set[str] = set()
    for name, members, actions in (
        (names.publications[0], keyed, "insert, update, delete"),
        (names.publications[1], keyless, "insert"),
    ):
        try:
            added |= _publish_one(connection, name, members, actions, keep_others=not names.is_own)
        except psycopg.Error as fault:
            raise fault_of(str(fault), f"publication {name} cannot be set up") from None
    return added


def _publish_one(
    connection: Connection, name: str, members: list[SourceTable], actions: str, *, keep_others: bool
) -> set[str]:
    members_now = connection.execute(_MEMBERS, (name,)).fetchall()
    present = {f"{schema}.{table}": sql.Identifier(schema, table) for schema, table in members_now}
    wanted = {table.id: sql.Identifier(table.schema, table.name) for table in members}
    exists = connection.execute("SELECT 1 FROM pg_publication WHERE pubname = %s", (name,)).fetchone()
    if exists is None:
        options = f"publish = '{actions}', publish_via_partition_root = true"
        if connection.info.server_version >= 180000:
            options += ", publish_generated_columns = stored"
        tables = (
            sql.SQL(" FOR TABLE {}").format(sql.SQL(", ").join(wanted.values())) if wanted else sql.SQL("")
        )
        create = sql.SQL("CREATE PUBLICATION {}").format(sql.Identifier(name))
        connection.execute(sql.Composed([create, tables, sql.SQL(f" WITH ({options})")]))
        return set(wanted)
    change = sql.SQL("ALTER PUBLICATION {} {} TABLE {}")
    for table_id in () if keep_others else sorted(present.keys() - wanted.keys()):
        connection.execute(change.format(sql.Identifier(name), sql.SQL("DROP"), present[table_id]))
    for table_id in sorted(wanted.keys() - present.keys()):
        connection.execute(change.format(sql.Identifier(name), sql.SQL("ADD"), wanted[table_id]))
    return wanted.keys() - present.keys()


def slot_position(connection: Connection, slot: str) -> int | None:
    """Return the LSN before which the slot keeps nothing; None when there is no such slot.

    Raises RunFailed when the slot is of no use: another plugin, or its log was removed.
    """
    row = connection.execute(
        "SELECT plugin, wal_status, confirmed_flush_lsn::text FROM pg_replication_slots WHERE slot_name = %s",
        (slot,),
    ).fetchone()
    if row is None:
        return None
    plugin, wal_status, confirmed = row
    if plugin != "pgoutput":
        mend = f"make it with pg_create_logical_replication_slot('{slot}', 'pgoutput')"
        raise RunFailed(f"slot {slot} decodes with {plugin}", where="source endpoint", mend=mend)
    if wal_status == "lost":
        mend = "start the task again (start-replication or reload-target); raise max_slot_wal_keep_size"
        raise RunFailed(f"the log that slot {slot} needs was removed", where="source endpoint", mend=mend)
    return parse_lsn(confirmed)


def create_own_slot(source: Source, slot: str, is_stopping: Callable[[], bool]) -> int:
    """Make the task's slot and return the LSN it begins at."""
    replication = source.replication()
    try:
        return replication.create_slot(slot, is_temporary=False, export=False, is_stopping=is_stopping)[0]
    finally:
        replication.close()


def drop_slot(connection: Connection, slot: str) -> None:
    """Drop the slot if it exists and nobody reads it, waiting a little for a reader that is going."""
    deadline = time.monotonic() + _SLOT_RELEASE_SECONDS
    while slot_exists(connection, slot):
        try:
            connection.execute("SELECT pg_drop_replication_slot(%s)", (slot,))
        except psycopg.errors.UndefinedObject:
            return
        except psycopg.errors.ObjectInUse as fault:
            if time.monotonic() > deadline:
                raise fault_of(str(fault), f"slot {slot} cannot be dropped") from None
            time.sleep(0.1)


def slot_exists(connection: Connection, slot: str) -> bool:
    """Return whether the slot exists."""
    query = "SELECT 1 FROM pg_replication_slots WHERE slot_name = %s"
    return connection.execute(query, (slot,)).fetchone() is not None


def open_stream(
    source: Source, names: SlotNames, lsn: int, is_stopping: Callable[[], bool]
) -> ReplicationConnection:
    """Stream the log from ``lsn``; a run that was killed may hold the slot for a moment longer."""
    deadline = time.monotonic() + _SLOT_RELEASE_SECONDS
    while True:
        stream = source.replication()
        try:
            stream.start(names.slot, lsn, names.publications)
        except RunFailed as fault:
            stream.close()
            if "is active for PID" not in str(fault) or time.monotonic() > deadline:
                raise
            if is_stopping():
                raise StopRequested from None
            time.sleep(0.1)
        else:
            return stream


def refuse_gap(slot: str, position: int, confirmed: int) -> None:
    """Raise RunFailed when the slot has let go of the log at ``position``."""
    if position < confirmed:
        raise RunFailed(
            f"slot {slot} keeps the log from {lsn_text(confirmed)} on, not from {lsn_text(position)}",
            where="CdcStartPosition",
            mend="start from a later position, or load again with reload-target",
        )


def unpublish(connection: Connection, names: SlotNames) -> None:
    """Drop the task's publications."""
    for name in names.publications:
        connection.execute(sql.SQL("DROP PUBLICATION IF EXISTS {}").format(sql.Identifier(name)))


_MEMBERS = """
    SELECT n.nspname, c.relname FROM pg_publication p
    JOIN pg_publication_rel r ON r.prpubid = p.oid JOIN pg_class c ON c.oid = r.prrelid
    JOIN pg_namespace n ON n.oid = c.relnamespace WHERE p.pubname = %s
"""
