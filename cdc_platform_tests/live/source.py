"""A table under load: writers that never rest, and a record of every change they committed."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from random import Random

import psycopg

#: Keys 1 to HOT change about ten times a second, half of them back and forth between two values.
HOT = 4
#: Keys from here on belong to the faults, which lose changes of them by name.
VICTIMS = 1_000_000
#: Keys from here on are written all in one transaction, large enough to be cut into several files.
BULK, BULK_ROWS = 500_000, 12_000

Cursor = psycopg.Connection[tuple[object, ...]]


@dataclass(frozen=True, slots=True)
class Change:
    """One committed change. ``value`` is unique but for hot keys; None takes the row away."""

    key: int
    value: str | None
    at: float


@dataclass(slots=True)
class Log:
    """What was committed, in no order across writers."""

    changes: list[Change] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, changes: list[Change]) -> None:
        with self.lock:
            self.changes.extend(changes)


def create(dsn: str, rows: int) -> None:
    """Make the table, with ordinary rows, hot ones, and those written in bulk."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        connection.execute(f"INSERT INTO item SELECT i, 'load' FROM generate_series(1, {rows}) i")
        last = BULK + BULK_ROWS - 1
        connection.execute(f"INSERT INTO item SELECT i, 'load' FROM generate_series({BULK}, {last}) i")


class Writer(threading.Thread):
    """Changes the keys that are its own (``number`` of ``of``), in transactions of one to five changes."""

    def __init__(self, dsn: str, log: Log, number: int, of: int, rows: int, seed: int, pause: float) -> None:
        super().__init__(name=f"writer {number}", daemon=True)
        self._dsn, self._log, self._pause = dsn, log, pause
        self._random = Random(seed * 100 + number)
        self._number = number
        self._there = [key for key in range(HOT + 1, rows + 1) if key % of == number]
        self._free = [rows + 1 + i * of + number for i in range(300)]
        self._written = 0
        self.ended = threading.Event()
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            with psycopg.connect(self._dsn, autocommit=True) as connection:
                while not self.ended.wait(self._pause * self._random.random() * 2):
                    self._transaction(connection)
        except psycopg.Error as error:
            self.failure = error

    def _transaction(self, connection: Cursor) -> None:
        done: list[Change] = []
        before = time.monotonic()
        with connection.transaction():
            for _ in range(self._random.choice((1, 1, 2, 5))):
                done += self._act(connection, before)
        self._log.add(done)

    def _value(self) -> str:
        self._written += 1
        return f"w{self._number}-{self._written}"

    def _act(self, connection: Cursor, at: float) -> list[Change]:
        place, value = self._random.randrange(len(self._there)), self._value()
        key, what = self._there[place], self._random.random()
        if what < 0.7:
            connection.execute("UPDATE item SET v = %s WHERE id = %s", (value, key))
            return [Change(key, value, at)]
        if what < 0.8 and self._free:
            key = self._free.pop(self._random.randrange(len(self._free)))
            self._there.append(key)
            connection.execute("INSERT INTO item VALUES (%s, %s)", (key, value))
            return [Change(key, value, at)]
        if what < 0.9:
            self._free.append(self._there.pop(place))
            connection.execute("DELETE FROM item WHERE id = %s", (key,))
            return [Change(key, None, at)]
        if self._free:
            other = self._free.pop(self._random.randrange(len(self._free)))
            self._there[place] = other
            self._free.append(key)
            connection.execute("UPDATE item SET id = %s, v = %s WHERE id = %s", (other, value, key))
            return [Change(key, None, at), Change(other, value, at)]
        return []


class HotWriter(Writer):
    """Changes every hot key about ten times a second."""

    def _transaction(self, connection: Cursor) -> None:
        done = []
        for key in range(1, HOT + 1):
            value = self._value()
            if key % 2:
                value = "back" if self._written % 8 < 4 else "forth"
            connection.execute("UPDATE item SET v = %s WHERE id = %s", (value, key))
            done.append(Change(key, value, time.monotonic()))
        self._log.add(done)


class SlowWriter(Writer):
    """Writes early and commits late: after the others have committed a few hundred changes more."""

    def _transaction(self, connection: Cursor) -> None:
        before, seen = time.monotonic(), len(self._log.changes)
        with connection.transaction():
            done = self._act(connection, before)
            while len(self._log.changes) < seen + 200 and not self.ended.wait(0.02):
                continue
            done += self._act(connection, before)
        self._log.add(done)
