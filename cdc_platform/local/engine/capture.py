"""Ongoing changes: the log, read transaction by transaction, into change files.

The checkpoint is the place before the oldest change that is not in a visible file; on an idle source it
follows the end of the log. It only ever lies between two transactions.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

from cdc_platform.errors import CdcError
from cdc_platform.local.engine.buffer import TableBuffer, Transaction
from cdc_platform.local.engine.context import RunContext
from cdc_platform.local.engine.load import Reload, begin_reload
from cdc_platform.local.engine.lsn import StopPosition
from cdc_platform.local.engine.outcome import (
    FAILURES,
    NORMAL,
    STOPPED_AFTER_CACHED_EVENTS,
    STOPPED_AT_COMMIT_TIME,
    STOPPED_AT_SERVER_TIME,
    Stop,
)
from cdc_platform.local.engine.pgoutput import (
    BEGIN,
    COMMIT,
    RELATION,
    ROW_CHANGES,
    parse_begin,
    parse_commit_end,
    parse_relation,
    relation_oid,
)
from cdc_platform.local.engine.prepare import admit_tables
from cdc_platform.local.engine.slots import SlotNames, open_stream
from cdc_platform.local.engine.source import Connection
from cdc_platform.local.engine.state import LogPosition
from cdc_platform.local.engine.stream import KEEPALIVE, ReplicationConnection, keepalive

_BURST = 5_000
_IDLE_SECONDS = 0.05
_POLL_SECONDS = 0.1
_CONFIRM_SECONDS = 0.25
_DISCOVERY_SECONDS = 1.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ChangeCapture:
    """Reads the log from the state's position until something ends the run."""

    def __init__(
        self,
        context: RunContext,
        names: SlotNames,
        connection: Connection,
        stop_position: StopPosition | None,
        cached_until: int | None,
    ) -> None:
        assert context.state.position is not None
        self._context = context
        self._names = names
        self._connection = connection
        self._stop_position = stop_position
        self._drain = (cached_until, STOPPED_AFTER_CACHED_EVENTS) if cached_until is not None else None
        self._buffers: dict[int, TableBuffer] = {}
        self._here: LogPosition = context.state.position
        self._transaction: Transaction | None = None
        self._end: str | None = None
        self._reload: Reload | None = None
        self._counter = self._here.counter
        self._must_release = self._has_published = False
        self._saved_at = self._polled_at = self._confirmed_at = 0.0
        self._looked_at = time.monotonic()

    def run(self) -> Stop:
        """Capture changes until the run ends. Raises RunFailed when it cannot go on."""
        stream = open_stream(self._context.source, self._names, self._here.lsn, self._context.is_stopping)
        try:
            while True:
                is_idle = self._read(stream)
                if self._transaction is None:
                    stop = self._between_transactions(stream)
                    if stop is not None:
                        return stop
                if is_idle:
                    stream.wait(_IDLE_SECONDS)
        finally:
            for buffer in self._live_buffers():
                buffer.discard()
            self._context.publisher.discard_held()
            if self._reload is not None:
                self._reload.close()
            stream.close()

    # -- reading

    def _read(self, stream: ReplicationConnection) -> bool:
        """Take a burst of messages; return whether nothing more is there now."""
        for _ in range(_BURST):
            data = stream.receive()
            if data is None:
                return True
            if data[0] == KEEPALIVE:
                self._note_keepalive(data)
            else:
                self._take(bytes(data[25:]))
            if self._end is not None:
                return True
        return False

    def _note_keepalive(self, data: memoryview) -> None:
        sent_up_to, demands_answer = keepalive(data)
        if demands_answer:
            # a server that shuts down waits until its readers have confirmed all they were sent
            self._must_release = True
        if self._transaction is None and sent_up_to > self._here.lsn:
            self._here = LogPosition(sent_up_to, self._here.time, self._here.counter)

    def _take(self, message: bytes) -> None:
        code = message[0]
        if code in ROW_CHANGES:
            transaction = self._transaction
            assert transaction is not None
            self._counter += 1
            buffer = self._buffers.get(relation_oid(message))
            if buffer is not None:
                self._add(buffer, message, transaction)
        elif code == BEGIN:
            self._begin(message)
        elif code == COMMIT:
            self._commit(message)
        elif code == RELATION:
            self._relate(message)

    def _add(self, buffer: TableBuffer, message: bytes, transaction: Transaction) -> None:
        progress = buffer.progress
        if progress.is_suspended or transaction.commit_lsn < progress.changes_from:
            return
        try:
            buffer.add(message, transaction, self._counter)
        except CdcError as fault:
            self._suspend(buffer, fault)

    def _begin(self, message: bytes) -> None:
        commit_lsn, moment = parse_begin(message)
        committed = _EPOCH + timedelta(microseconds=moment)
        stop = self._stop_position
        if stop is not None and stop.is_commit_time and committed > stop.moment:
            self._end = STOPPED_AT_COMMIT_TIME
            return
        self._reload_once_read(commit_lsn)
        self._counter = self._here.counter
        self._transaction = Transaction.begin(self._here, commit_lsn, committed)

    def _commit(self, message: bytes) -> None:
        transaction, state = self._transaction, self._context.state
        assert transaction is not None
        self._here = LogPosition(parse_commit_end(message), transaction.time, self._counter)
        self._transaction = None
        state.transactions += 1
        if transaction.is_captured:
            state.history.append(transaction.before)

    def _relate(self, message: bytes) -> None:
        relation = parse_relation(message)
        context = self._context
        table = context.source.table_of(self._connection, relation)
        is_selected = context.mappings.selects(table.schema, table.name)
        if is_selected and table.id not in context.state.tables:
            admit_tables(context, self._connection, self._names)
        if not is_selected or table.id not in context.state.tables:
            # not selected, or a partition of a table that is
            self._retire(relation.oid)
            return
        progress = context.progress_of(table)
        buffer = self._buffers.get(relation.oid)
        if buffer is None or buffer.target.id != table.id:
            self._retire(relation.oid)
            buffer = TableBuffer(context, context.target_of(table.schema, table.name), progress)
            self._buffers[relation.oid] = buffer
        try:
            buffer.describe(table)
        except CdcError as fault:
            self._suspend(buffer, fault)

    def _retire(self, oid: int) -> None:
        """Let go of a table that was renamed out of the task, or under another name in it."""
        buffer = self._buffers.pop(oid, None)
        if buffer is not None:
            buffer.publish()

    # -- between transactions

    def _between_transactions(self, stream: ReplicationConnection) -> Stop | None:
        now = time.monotonic()
        for buffer in self._live_buffers():
            if buffer.is_due(now):
                self._publish(buffer)
        stop = self._poll(now)
        if stop is not None:
            if stop.reason not in FAILURES:
                self._publish_all()
                self._save()
                stream.confirm(self._here.lsn, self._context.state.needed_lsn)
            return stop
        if self._must_release:
            self._publish_all()
            self._context.state.history.clear()
        if self._reload is None and self._context.reloads:
            self._reload = begin_reload(self._context)
        self._reload_once_read(self._here.lsn)
        self._checkpoint(now)
        if self._must_release or now - self._confirmed_at >= _CONFIRM_SECONDS:
            stream.confirm(self._here.lsn, self._context.state.needed_lsn)
            self._must_release, self._confirmed_at = False, now
        return None

    def _reload_once_read(self, lsn: int) -> None:
        """Load again what waits for it when the log was read up to its snapshot, and not beyond."""
        if self._reload is not None and lsn >= self._reload.lsn:
            self._publish_all()
            self._save()
            self._reload.load()
            self._reload = None

    def _poll(self, now: float) -> Stop | None:
        context = self._context
        if context.stopping.is_set():
            return Stop(NORMAL)
        if self._end is not None:
            return Stop(self._end)
        if self._drain is not None and self._here.lsn >= self._drain[0]:
            return Stop(self._drain[1])
        if now - self._polled_at < _POLL_SECONDS:
            return None
        self._polled_at = now
        armed = context.faults.take(context.spec.identifier, "stop")
        if armed is not None:
            return Stop(str(armed["reason"]))
        self._suspend_where_armed()
        if now - self._looked_at >= _DISCOVERY_SECONDS:
            self._looked_at = now
            admit_tables(context, self._connection, self._names)
        stop = self._stop_position
        if stop is not None and not stop.is_commit_time and datetime.now(UTC) >= stop.moment:
            # what was committed until now is still taken in
            self._drain = (context.source.current_lsn(self._connection), STOPPED_AT_SERVER_TIME)
            self._stop_position = None
        return None

    def _suspend_where_armed(self) -> None:
        context = self._context
        for table_id, progress in list(context.state.tables.items()):
            if progress.is_suspended:
                continue
            armed = context.faults.take(context.spec.identifier, "suspend-table", table_id)
            if armed is not None:
                for buffer in self._live_buffers():
                    if buffer.target.id == table_id:
                        buffer.discard()
                context.suspend(table_id, str(armed.get("reason", "by an armed fault")))

    # -- files and checkpoint

    def _live_buffers(self) -> list[TableBuffer]:
        return list(self._buffers.values())

    def _publish(self, buffer: TableBuffer) -> None:
        self._has_published = True
        try:
            buffer.publish()
        except CdcError as fault:
            self._suspend(buffer, fault)

    def _publish_all(self) -> None:
        for buffer in self._live_buffers():
            self._publish(buffer)
        self._context.publisher.publish_held()

    def _suspend(self, buffer: TableBuffer, fault: CdcError) -> None:
        buffer.discard()
        self._context.fail_table(buffer.target.id, fault)

    def _checkpoint(self, now: float) -> None:
        is_time = self._has_published or now - self._saved_at >= _CONFIRM_SECONDS
        if is_time and self._durable() != self._context.state.position:
            self._save()

    def _save(self) -> None:
        self._context.state.position = self._durable()
        self._context.save()
        self._saved_at, self._has_published = time.monotonic(), False

    def _durable(self) -> LogPosition:
        """Return the place before the oldest change that is not in a visible file."""
        pending = [buffer.first_change for buffer in self._live_buffers()]
        pending.append(self._context.publisher.oldest_held)
        return min([place for place in pending if place is not None], default=self._here)
