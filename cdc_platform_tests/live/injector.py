"""Faults put into a live run, one after another, with what each of them loses."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import psycopg

from cdc_platform_tests.live.source import BULK, BULK_ROWS, VICTIMS, Change, Log
from cdc_platform_tests.live.stage import Stage

WAIT_SECONDS = 60.0


@dataclass(slots=True)
class Loss:
    """A change that is lost, or a row of base somebody changed. ``round`` is the run's round it is of."""

    key: int
    kind: str
    at: float
    round: int
    found_in: int | None = None
    is_mended: bool = False


@dataclass(slots=True)
class Injector:
    """Injects faults, chosen by a seeded random, between rounds of a run."""

    stage: Stage
    log: Log
    random: Random
    losses: list[Loss] = field(default_factory=list)
    injected: Counter[str] = field(default_factory=Counter)
    #: When the first whole file was dropped: which of its changes is found out afterwards.
    dropped_file_at: float | None = None
    _next: int = VICTIMS

    def inject(self, kind: str, round_: int) -> None:
        """Inject one fault and wait until it was met."""
        act: Callable[[int], None] = getattr(self, "_" + kind.replace("-", "_"))
        act(round_)
        self.injected[kind] += 1

    def mend(self, loss: Loss) -> None:
        """Write a lost row anew at the source, so that its next change brings it to base."""
        self._write(loss.key, f"mended-{loss.key}-{time.monotonic_ns()}")
        loss.is_mended = True

    def _victim(self) -> int:
        """Make a row that only faults change, and return its key."""
        self._next += 1
        self._write(self._next, f"victim-{self._next}")
        self._captured()
        return self._next

    def _write(self, key: int, value: str | None) -> None:
        at = time.monotonic()
        with psycopg.connect(self.stage.dsn, autocommit=True) as connection:
            if value is None:
                connection.execute("DELETE FROM item WHERE id = %s", (key,))
            else:
                connection.execute(
                    "INSERT INTO item VALUES (%s, %s) ON CONFLICT (id) DO UPDATE SET v = excluded.v",
                    (key, value),
                )
        self.log.add([Change(key, value, at)])

    def _captured(self) -> None:
        """Wait until capture has read what was written so far: a fault armed now is met by what follows."""
        values = self._statistics()
        self._wait(lambda: self._statistics() > values or not self._is_busy(), "capture stands still")

    def _statistics(self) -> int:
        told = self.stage.task.statistics()
        return int(told["AppliedInserts"] + told["AppliedUpdates"] + told["AppliedDeletes"])

    def _is_busy(self) -> bool:
        told = self.stage.task.statistics()
        return int(told["Inserts"] + told["Updates"] + told["Deletes"]) > self._statistics()

    def _lose(self, key: int, value: str | None, kind: str, round_: int) -> None:
        at = time.monotonic()
        self.stage.arm("drop-change", f"public.item:{key}")
        self._write(key, value)
        self._met("drop-change")
        self.losses.append(Loss(key, kind, at, round_))

    def _met(self, fault: str) -> None:
        self._wait(lambda: not self.stage.is_armed(fault), f"{fault} was not met")

    @staticmethod
    def _wait(reached: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + WAIT_SECONDS
        while not reached():
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    # -- the kinds

    def _lost_update(self, round_: int) -> None:
        key = self._victim()
        self._lose(key, f"lost-{key}", "lost-update", round_)

    def _lost_insert(self, round_: int) -> None:
        self._next += 1
        self._lose(self._next, f"lost-{self._next}", "lost-insert", round_)

    def _lost_delete(self, round_: int) -> None:
        self._lose(self._victim(), None, "lost-delete", round_)

    def _masked_loss(self, round_: int) -> None:
        """Lose the change back to the first value while a change to another is on its way."""
        key = self._victim()
        self.stage.arm("delay-file", files=4)
        self._write(key, f"older-{key}")
        self._met("delay-file")
        self._lose(key, f"victim-{key}", "masked-loss", round_)

    def _duplicate_file(self, _: int) -> None:
        self.stage.arm("duplicate-file")
        self._met("duplicate-file")

    def _delayed_file(self, _: int) -> None:
        self.stage.arm("delay-file", files=self.random.randint(1, 4))
        self._met("delay-file")

    def _dropped_file(self, _: int) -> None:
        self.dropped_file_at = self.dropped_file_at or time.monotonic()
        self.stage.arm("drop-file")
        self._met("drop-file")

    def _read_again(self, _: int) -> None:
        self.stage.arm("reemit-after-resume", transactions=self.random.randint(5, 50))
        self.stage.resume()

    def _split_transaction(self, _: int) -> None:
        """Change so many rows in one transaction that it comes in several files."""
        at, value = time.monotonic(), f"bulk-{time.monotonic_ns()}"
        with psycopg.connect(self.stage.dsn, autocommit=True) as connection:
            connection.execute("UPDATE item SET v = %s || id WHERE id >= %s AND id < %s",
                               (value, BULK, BULK + BULK_ROWS))  # fmt: skip
        self.log.add([Change(key, f"{value}{key}", at) for key in range(BULK, BULK + BULK_ROWS)])

    def _stuck_slot(self, _: int) -> None:
        """Halt the process that sends the log while windows are compared: capture stands still."""
        with psycopg.connect(self.stage.dsn, autocommit=True) as connection:
            row = connection.execute(
                "SELECT active_pid FROM pg_replication_slots WHERE database = current_database() "
                "AND active_pid IS NOT NULL"
            ).fetchone()
        if row is None:
            return
        os.kill(row[0], signal.SIGSTOP)
        try:
            self._write(self._new_row(), "while the slot is stuck")
            self.stage.merge()
            self.stage.windows()
        finally:
            os.kill(row[0], signal.SIGCONT)

    def _new_row(self) -> int:
        self._next += 1
        return self._next

    def _tampered_row(self, round_: int) -> None:
        key = self._victim()
        at = time.monotonic()
        self._wait(lambda: self._is_in_base(key), "the row did not come to base")
        if self.stage.tamper(key):
            self.losses.append(Loss(key, "tampered-row", at, round_))

    def _is_in_base(self, key: int) -> bool:
        from pyiceberg.expressions import EqualTo

        from cdc_platform_tests.live.stage import SOURCE, TABLE

        self.stage.merge()
        table = self.stage.platform.lake.load(SOURCE, TABLE)
        return table is not None and table.scan(row_filter=EqualTo("id", key)).to_arrow().num_rows > 0
