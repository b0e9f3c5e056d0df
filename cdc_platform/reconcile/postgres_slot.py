"""What PostgreSQL tells of a replication slot."""

from __future__ import annotations

from typing import Any, LiteralString

import psycopg

from cdc_platform.reconcile.capture_slot import SlotSeen

_SLOT: LiteralString = """
    SELECT s.confirmed_flush_lsn::text, s.active FROM pg_catalog.pg_replication_slots s
    WHERE s.slot_name = %s AND s.slot_type = 'logical' AND s.database = pg_catalog.current_database()"""
_DECODED: LiteralString = "SELECT total_txns FROM pg_catalog.pg_stat_replication_slots WHERE slot_name = %s"
# the next number a transaction gets
_TRANSACTIONS: LiteralString = (
    "SELECT pg_catalog.txid_snapshot_xmax(pg_catalog.txid_current_snapshot()), pg_catalog.pg_is_in_recovery()"
)
_COUNTS_SINCE = 140000


def slot_seen(connection: psycopg.Connection[tuple[Any, ...]], name: str) -> SlotSeen | None:
    """Return what there is of a logical slot of this database; None of a standby. Raises psycopg.Error."""
    found = connection.execute(_SLOT, [name]).fetchone()
    decoded = None
    if connection.info.server_version >= _COUNTS_SINCE:
        counted = connection.execute(_DECODED, [name]).fetchone()
        decoded = int(counted[0]) if counted else None
    row = connection.execute(_TRANSACTIONS).fetchone()
    if row is None or row[1]:
        return None
    confirmed, is_active = found or (None, False)
    return SlotSeen(confirmed, is_active, decoded, transactions=int(row[0]))
