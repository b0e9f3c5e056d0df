"""The messages of PostgreSQL's ``pgoutput`` plugin (protocol 1), parsed one by one.

This is the one per-row loop of the engine: the log is a stream of messages and each is a row. Values stay
bytes of PostgreSQL's text; a value the log does not carry is :data:`ABSENT`.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

#: Stands for a column the log did not carry: an unchanged TOAST value, a non-key column of a delete.
#: No text value equals it, for it is not UTF-8.
ABSENT = b"\xff\xfeabsent"

BEGIN, COMMIT, RELATION = ord("B"), ord("C"), ord("R")
INSERT, UPDATE, DELETE = ord("I"), ord("U"), ord("D")
ROW_CHANGES = frozenset((INSERT, UPDATE, DELETE))
_NEW, _OLD = ord("N"), ord("O")
_TEXT, _NULL = ord("t"), ord("n")
_POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000

_begin = Struct(">QqI").unpack_from
_commit = Struct(">QQq").unpack_from
_length = Struct(">I").unpack_from
_count = Struct(">H").unpack_from
_column = Struct(">Ii").unpack_from

Values = list[bytes | None]


@dataclass(frozen=True, slots=True)
class RelationColumn:
    """A column as a relation message tells it; ``is_key`` says it belongs to the replica identity."""

    name: str
    type_oid: int
    modifier: int
    is_key: bool


@dataclass(frozen=True, slots=True)
class Relation:
    """A table as it was when the changes that follow were made."""

    oid: int
    schema: str
    name: str
    is_full_identity: bool
    columns: tuple[RelationColumn, ...]


def parse_begin(data: bytes) -> tuple[int, int]:
    """Return the LSN of the transaction's commit record and its commit time in µs since 1970."""
    lsn, moment, _ = _begin(data, 1)
    return lsn, moment + _POSTGRES_EPOCH_MICROSECONDS


def parse_commit_end(data: bytes) -> int:
    """Return the LSN just after the transaction's commit record."""
    end: int = _commit(data, 2)[1]
    return end


def parse_relation(data: bytes) -> Relation:
    """Return the table a relation message describes."""
    oid = relation_oid(data)
    schema, at = _name(data, 5)
    name, at = _name(data, at)
    identity, count = data[at], _count(data, at + 1)[0]
    at += 3
    columns = []
    for _ in range(count):
        flags = data[at]
        column, at = _name(data, at + 1)
        type_oid, modifier = _column(data, at)
        at += 8
        columns.append(RelationColumn(column, type_oid, modifier, bool(flags & 1)))
    return Relation(oid, schema or "pg_catalog", name, identity == ord("f"), tuple(columns))


def relation_oid(data: bytes) -> int:
    """Return the table that a relation or row message is about."""
    oid: int = _length(data, 1)[0]
    return oid


def parse_row(data: bytes) -> tuple[Values | None, Values | None, bool]:
    """Return the old and the new image of a row message, and whether the old one is the whole row."""
    kind = data[5]
    if kind == _NEW:
        return None, _tuple(data, 6)[0], False
    old, at = _tuple(data, 6)
    new = _tuple(data, at + 1)[0] if data[0] == UPDATE else None
    return old, new, kind == _OLD


def _tuple(data: bytes, at: int) -> tuple[Values, int]:
    values: Values = []
    add = values.append
    count = _count(data, at)[0]
    at += 2
    for _ in range(count):
        kind = data[at]
        at += 1
        if kind == _TEXT:
            start = at + 4
            at = start + _length(data, at)[0]
            add(data[start:at])
        else:
            add(None if kind == _NULL else ABSENT)
    return values, at


def _name(data: bytes, at: int) -> tuple[str, int]:
    end = data.index(0, at)
    return data[at:end].decode(), end + 1
