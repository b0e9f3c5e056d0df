"""The objects of the local DMS endpoint, durable in one SQLite file that only its owner can read.

A document is a JSON object under (kind, key). Members whose names begin with ``_`` are the endpoint's own
and never leave it. Times are seconds since the epoch. Passwords live here and nowhere else.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from pathlib import Path
from typing import Any, TypeAlias

from cdc_platform.errors import LocalServiceError

Document: TypeAlias = dict[str, Any]

#: The member that tells the order in which documents of a kind were made.
ORDER = "_order"

_SCHEMA = """
create table if not exists documents (
  number integer primary key autoincrement,
  kind text not null,
  key text not null,
  body text not null,
  unique (kind, key)
)
"""


class ApiStore:
    """Documents by kind and key. Safe from any thread of one process."""

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
        file.chmod(0o600)
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(file, check_same_thread=False, isolation_level=None)
        try:
            self._connection.execute("pragma journal_mode = wal")
            self._connection.execute("pragma synchronous = normal")
            self._connection.execute(_SCHEMA)
        except sqlite3.DatabaseError as fault:
            self._connection.close()
            raise LocalServiceError(
                f"the state of the local DMS cannot be read: {fault}",
                where=str(file),
                mend="remove the file (its tasks are forgotten, raw files stay) and start again",
            ) from fault

    def get(self, kind: str, key: str) -> Document | None:
        """Return the document, or None."""
        with self._lock:
            row = self._connection.execute(
                "select number, body from documents where kind = ? and key = ?", (kind, key)
            ).fetchone()
        return _document(row) if row else None

    def put(self, kind: str, key: str, document: Document) -> None:
        """Write the document, new or in place of the old one (whose order it keeps)."""
        body = json.dumps({name: value for name, value in document.items() if name != ORDER})
        with self._lock:
            self._connection.execute(
                "insert into documents (kind, key, body) values (?, ?, ?) "
                "on conflict (kind, key) do update set body = excluded.body",
                (kind, key, body),
            )

    def delete(self, kind: str, key: str) -> None:
        """Remove the document if it is there."""
        with self._lock:
            self._connection.execute("delete from documents where kind = ? and key = ?", (kind, key))

    def all(self, kind: str) -> list[Document]:
        """Return every document of a kind, oldest first."""
        with self._lock:
            rows = self._connection.execute(
                "select number, body from documents where kind = ? order by number", (kind,)
            ).fetchall()
        return [_document(row) for row in rows]

    def trim(self, kind: str, keep: int) -> None:
        """Remove all but the newest ``keep`` documents of a kind."""
        with self._lock:
            self._connection.execute(
                "delete from documents where kind = ?1 and number not in "
                "(select number from documents where kind = ?1 order by number desc limit ?2)",
                (kind, keep),
            )

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def _document(row: tuple[int, str]) -> Document:
    document: Document = json.loads(row[1])
    document[ORDER] = f"{row[0]:012d}"
    return document
