"""The changes of one table that are not yet in a visible file."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import itemgetter

from cdc_platform.local.engine.context import RunContext, TargetTable
from cdc_platform.local.engine.outcome import TableFailed
from cdc_platform.local.engine.output import OutputFile
from cdc_platform.local.engine.pgoutput import ABSENT, DELETE, INSERT, Values, parse_row
from cdc_platform.local.engine.shape import ChangeRow, RowShape
from cdc_platform.local.engine.source import SourceTable
from cdc_platform.local.engine.state import LogPosition, TableProgress
from cdc_platform.lsn import lsn_text

_SPILL_ROWS = 10_000
_SPILL_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Transaction:
    """The transaction being read. ``before`` is the place just before it."""

    before: LogPosition
    commit_lsn: int
    moment: str
    position: str
    time: int
    is_captured: bool = False

    @classmethod
    def begin(cls, before: LogPosition, commit_lsn: int, committed: datetime) -> Transaction:
        """Return a transaction; its sequence time never goes back, though the source's clock may."""
        digits = int(f"{committed:%Y%m%d%H%M%S}{committed.microsecond // 10_000:02d}")
        moment = f"{committed:%Y-%m-%d %H:%M:%S.%f}"
        return cls(before, commit_lsn, moment, lsn_text(commit_lsn), max(digits, before.time))


class TableBuffer:
    """Collects a table's changes, spills them into a file under way, and publishes it."""

    def __init__(self, context: RunContext, target: TargetTable, progress: TableProgress) -> None:
        self.target = target
        self.progress = progress
        self.first_change: LogPosition | None = None
        self._context = context
        self._ops = context.files.ops
        self._shape: RowShape | None = None
        self._absent_in_delete: tuple[int, ...] = ()
        self._images: Callable[[Values], tuple[bytes | None, ...]] = _no_images
        self._rows: list[ChangeRow] = []
        self._bytes = 0
        self._has_absent = False
        self._file: OutputFile | None = None
        self._counts = {"I": 0, "U": 0, "D": 0}
        self._since = 0.0

    def describe(self, table: SourceTable) -> None:
        """Take the table's columns as of the changes that follow; another shape begins another file."""
        if self._shape is not None and self._shape.table == table:
            return
        shape = self._context.shape_of(table, is_load=False)
        if self._shape is not None and self._shape.table.columns != table.columns:
            self.progress.statistics.ddls += 1
            self.progress.statistics.applied_ddls += 1
        if self._shape is not None and self._shape.schema != shape.schema:
            self.publish()
        self._spill()
        self._shape = shape
        keyless = (number for number, column in enumerate(table.columns) if not column.is_key)
        self._absent_in_delete = tuple(keyless)
        self._images = _chosen(shape.before_indexes)

    def add(self, message: bytes, transaction: Transaction, counter: int) -> None:
        """Take one row message. Raises TableFailed when the table's columns cannot be written."""
        if self._shape is None:
            raise TableFailed(
                "its columns cannot be written", where=self.target.id, mend="mend the table mappings"
            )
        old, new, is_whole = parse_row(message)
        op = _OPS[message[0]]
        if op not in self._ops:
            return
        if self._is_dropped(new if new is not None else old or []):
            return
        after = self._after(message[0], old, new, is_whole)
        head = (op, transaction.moment, transaction.position, f"{transaction.time}{counter:019d}")
        images = self._images(old) if old is not None else self._images([None] * len(after))
        self._rows.append((*head, *after, *images))
        self._bytes += len(message)
        self._counts[op] += 1
        self._has_absent = self._has_absent or ABSENT in after
        if self.first_change is None:
            self.first_change, self._since = transaction.before, time.monotonic()
        transaction.is_captured = True
        self._count(op)
        if len(self._rows) >= _SPILL_ROWS or self._bytes >= _SPILL_BYTES:
            self._spill()
            if self._file is not None and self._file.text_bytes >= self._context.files.min_change_file_bytes:
                self.publish()

    def _is_dropped(self, row: Values) -> bool:
        """Whether an armed fault loses this change: the next of the table, or the next of its key."""
        assert self._shape is not None
        columns = zip(self._shape.table.columns, row, strict=True)
        # a value that was not sent stands for itself: no key of a fault is like that
        values = (bytes(value or b"") for column, value in columns if column.is_key)
        key = ",".join(value.decode(errors="replace") for value in values)
        take, task, table = self._context.faults.take, self._context.spec.identifier, self.target.id
        return any(take(task, "drop-change", where) is not None for where in (f"{table}:{key}", table))

    def is_due(self, now: float) -> bool:
        """Return whether the file must be published: old enough, or large enough."""
        if self.first_change is None:
            return False
        size = self._bytes + (self._file.text_bytes if self._file else 0)
        limits = self._context.files
        return size >= limits.min_change_file_bytes or now - self._since >= limits.max_batch_seconds

    def publish(self) -> None:
        """Make what was collected visible."""
        self._spill()
        if self._file is None or self.first_change is None:
            return
        file, first = self._file, self.first_change
        self._file, self.first_change = None, None
        self._context.publisher.publish_changes(file, self.target, first)
        statistics, counts = self.progress.statistics, self._counts
        statistics.applied_inserts += counts["I"]
        statistics.applied_updates += counts["U"]
        statistics.applied_deletes += counts["D"]
        statistics.last_update_time = datetime.now(UTC)
        self._counts = dict.fromkeys(counts, 0)

    def discard(self) -> None:
        """Forget what was collected; it will be read again."""
        if self._file is not None:
            self._file.discard()
        self._file, self.first_change = None, None
        self._rows, self._bytes, self._has_absent = [], 0, False
        self._counts = dict.fromkeys(self._counts, 0)

    def _after(self, code: int, old: Values | None, new: Values | None, is_whole: bool) -> Values:
        if code == DELETE:
            assert old is not None
            if is_whole:
                return old
            after = list(old)
            for number in self._absent_in_delete:
                after[number] = ABSENT
            return after
        assert new is not None
        if code != INSERT and is_whole and old is not None and ABSENT in new:
            # a full old image has what an unchanged TOAST column left out
            pairs = zip(new, old, strict=True)
            return [before if value is ABSENT else value for value, before in pairs]
        return new

    def _count(self, op: str) -> None:
        if op == "I":
            self.progress.statistics.inserts += 1
        elif op == "U":
            self.progress.statistics.updates += 1
        else:
            self.progress.statistics.deletes += 1

    def _spill(self) -> None:
        if not self._rows or self._shape is None:
            return
        batch = self._shape.change_batch(self._rows, has_absent=self._has_absent)
        if self._file is None:
            self._file = OutputFile(self.target.folder, self._shape.schema, self._context.files)
        self._file.write(batch, self._bytes)
        self._rows, self._bytes, self._has_absent = [], 0, False


_OPS = {INSERT: "I", DELETE: "D", ord("U"): "U"}


def _no_images(_: Values) -> tuple[bytes | None, ...]:
    return ()


def _chosen(indexes: tuple[int, ...]) -> Callable[[Values], tuple[bytes | None, ...]]:
    if not indexes:
        return _no_images
    if len(indexes) == 1:
        only = indexes[0]
        return lambda values: (values[only],)
    return itemgetter(*indexes)
