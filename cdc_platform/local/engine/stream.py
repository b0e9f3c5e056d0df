"""A replication connection to PostgreSQL: slots, exported snapshots, and the stream of the log.

psycopg has no replication protocol of its own, but its libpq layer has all that is needed: a connection with
``replication=database``, commands, and COPY BOTH.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from struct import Struct

from psycopg import pq
from psycopg.conninfo import make_conninfo

from cdc_platform.local.engine.outcome import FATAL_ERROR, RECOVERABLE_ERROR, RunFailed, StopRequested

_OPTIONS = (
    # the run itself says when it is alive: a long reload must not look dead to the server
    "-c wal_sender_timeout=0 -c datestyle=ISO -c timezone=UTC -c intervalstyle=postgres"
    " -c bytea_output=hex -c extra_float_digits=1 -c lc_monetary=C"
)
_POSTGRES_EPOCH_SECONDS = 946_684_800
_status = Struct(">cQQQqB").pack
_header = Struct(">QQq").unpack_from
_keepalive = Struct(">QqB").unpack_from

WAL_DATA, KEEPALIVE = ord("w"), ord("k")


class ReplicationConnection:
    """One walsender of the source. Not safe for use from several threads."""

    def __init__(self, conninfo: str) -> None:
        full = make_conninfo(
            conninfo,
            replication="database",
            options=_OPTIONS,
            application_name="cdc-platform",
            client_encoding="UTF8",
        )
        self._connection = pq.PGconn.connect(full.encode())
        if self._connection.status != pq.ConnStatus.OK:
            raise self._fault("the source cannot be reached")

    def create_slot(
        self, slot: str, *, is_temporary: bool, export: bool, is_stopping: Callable[[], bool]
    ) -> tuple[int, str]:
        """Create a slot; return its consistent point and the name of the snapshot exported there.

        PostgreSQL waits for the transactions open now to end; ``is_stopping`` is asked meanwhile.
        """
        kind = "TEMPORARY " if is_temporary else ""
        snapshot = "export" if export else "nothing"
        command = f"CREATE_REPLICATION_SLOT {_name(slot)} {kind}LOGICAL pgoutput (SNAPSHOT '{snapshot}')"
        result = self._execute(command, is_stopping)
        point = (result.get_value(0, 1) or b"").decode()
        high, _, low = point.partition("/")
        return (int(high, 16) << 32) | int(low, 16), (result.get_value(0, 2) or b"").decode()

    def start(self, slot: str, lsn: int, publications: list[str]) -> None:
        """Begin to stream what was committed at or after ``lsn``."""
        names = ",".join(f'"{name}"' for name in publications)
        at = f"{lsn >> 32:X}/{lsn & 0xFFFFFFFF:X}"
        options = f"proto_version '1', publication_names '{names}'"
        self._execute(f"START_REPLICATION SLOT {_name(slot)} LOGICAL {at} ({options})", lambda: False)

    def receive(self) -> memoryview | None:
        """Return the next message if one is there, without waiting."""
        size, data = self._connection.get_copy_data(1)
        if size > 0:
            return data
        if size == 0:
            return None
        self._connection.get_result()
        raise self._fault("the source ended the stream of its log")

    def wait(self, seconds: float) -> None:
        """Wait until the source has sent something, at most ``seconds``."""
        ready, _, _ = select.select([self._connection.socket], [], [], seconds)
        if ready:
            try:
                self._connection.consume_input()
            except Exception as fault:
                raise self._fault("the connection to the source was lost") from fault

    def confirm(self, written: int, flushed: int) -> None:
        """Tell the source how far its log was read and how far it is not needed any more; ask where it is."""
        now = int((time.time() - _POSTGRES_EPOCH_SECONDS) * 1e6)
        try:
            self._connection.put_copy_data(_status(b"r", written, flushed, flushed, now, 1))
            self._connection.flush()
        except Exception as fault:
            raise self._fault("the connection to the source was lost") from fault

    def close(self) -> None:
        """Close the connection; a temporary slot goes with it."""
        self._connection.finish()

    def _execute(self, command: str, is_stopping: Callable[[], bool]) -> pq.abc.PGresult:
        self._connection.send_query(command.encode())
        while self._connection.is_busy():
            if is_stopping():
                self.close()
                raise StopRequested
            self.wait(0.1)
        result = self._connection.get_result()
        good = (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK, pq.ExecStatus.COPY_BOTH)
        if result is None or result.status not in good:
            message = result.error_message.decode(errors="replace") if result is not None else ""
            raise fault_of(message or "the source did not answer")
        if result.status != pq.ExecStatus.COPY_BOTH:
            while self._connection.get_result() is not None:
                continue
        return result

    def _fault(self, what: str) -> RunFailed:
        message = self._connection.error_message.decode(errors="replace")
        return fault_of(message, what) if message.strip() else RunFailed(what, reason=RECOVERABLE_ERROR)


def message_header(data: memoryview) -> tuple[int, int]:
    """Return the LSN of a WAL_DATA message and the source's end of log at that time."""
    start, end, _ = _header(data, 1)
    return start, end


def keepalive(data: memoryview) -> tuple[int, bool]:
    """Return up to where a keepalive says everything was sent, and whether it demands an answer."""
    end, _, demands = _keepalive(data, 1)
    return end, bool(demands)


def fault_of(message: str, what: str = "the source refused") -> RunFailed:
    """Return the failure a message of PostgreSQL stands for, with what a person can do about it."""
    text = " ".join(message.split())
    for part, mend in _MENDS.items():
        if part in text:
            return RunFailed(f"{what}: {text}", where="source endpoint", mend=mend, reason=FATAL_ERROR)
    mend = "see that the source runs and is reachable, then resume the task"
    return RunFailed(f"{what}: {text}", where="source endpoint", mend=mend, reason=RECOVERABLE_ERROR)


_RELOAD = "start the task again (start-replication or reload-target): the changes in between are gone"
_RIGHTS = "give the user the REPLICATION attribute, CREATE on the database and ownership of the tables"
_MENDS = {
    "password authentication failed": "mend Username and Password of the source endpoint",
    "does not exist": "see that the database and the replication slot exist; " + _RELOAD,
    "can no longer get changes": _RELOAD,
    "requested WAL segment": _RELOAD,
    "has been invalidated": _RELOAD,
    "wal_level": "set wal_level=logical at the source and restart it",
    "all replication slots are in use": "raise max_replication_slots at the source, or drop unused slots",
    "permission denied": _RIGHTS,
    "must be": _RIGHTS,
}


def _name(slot: str) -> str:
    return '"' + slot.replace('"', '""') + '"'
