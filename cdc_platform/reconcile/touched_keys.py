"""The keys that raw files name which were accepted since a table's proofs, whatever base made of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.errors import RawFileError, SchemaError
from cdc_platform.events import OP, Op, before_name
from cdc_platform.lake.applied import AppliedRecord, read_record
from cdc_platform.naming import quoted
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.manifests import Accepted, read_accepted
from cdc_platform.reconcile.proofs import FileVersion, Proofs, version_of
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.standing import standing_of
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.window_events import Events, Standing

#: Reading more files than this costs more than comparing the table.
MOST_FILES = 20_000

_SET_ASIDE = (Standing.QUARANTINED, Standing.DISCARDED)


@dataclass(frozen=True, slots=True)
class FilesSince:
    """The accepted files the proofs do not stand on, and why their keys cannot be told, if so.

    Files that wait for a merge are not here: what they change is in flight, and their turn comes when they
    are applied.
    """

    files: tuple[AcceptedFile, ...]
    doubt: str | None = None


def set_aside(subject: Subject) -> frozenset[FileVersion]:
    """Return the files that wait in quarantine or were given up, accepted before or not.

    A run that reads the source after this need not read them again: what they tell lies before it.
    """
    objects = subject.platform.objects(subject.source_name, subject.table.id)
    accepted = read_accepted(objects)
    return _refused(subject, accepted) | {
        version_of(one)
        for one in accepted.readable
        if standing_of(one, subject.record, subject.quarantine) in _SET_ASIDE
    }


def _refused(subject: Subject, accepted: Accepted) -> frozenset[FileVersion]:
    """Return the files that were set aside without ever having been accepted: of no generation."""
    known = {(one.file.key, one.file.etag) for one in accepted.files}
    return frozenset((key, etag, -1) for key, etag in subject.quarantine.files if (key, etag) not in known)


def files_since(subject: Subject, proofs: Proofs) -> FilesSince:
    """Return what was accepted since and is not on its way. Raises MergeError when the record is gone."""
    assert subject.base is not None
    objects = subject.platform.objects(subject.source_name, subject.table.id)
    then = read_record(subject.base, objects, proofs.record) if proofs.record else AppliedRecord()
    found, doubt = [], None
    accepted = read_accepted(objects)
    for key, _, _ in sorted(_refused(subject, accepted) - proofs.covered):
        doubt = f"raw file {key} was set aside without being accepted"
    for manifest in accepted.manifests:
        for one in manifest.files:
            if then.holds(one):
                continue
            standing = standing_of(one, subject.record, subject.quarantine)
            is_read = (one.file.key, one.file.etag) not in manifest.replaced
            if version_of(one) in proofs.covered or standing is Standing.PENDING:
                continue
            if not is_read and standing is Standing.APPLIED:
                doubt = f"raw file {one.file.key} was applied and has been overwritten since"
            elif one.kind is FileKind.LOAD:
                doubt = f"a full load came since ({one.file.key})"
            if is_read:
                found.append(one)
    if len(found) > MOST_FILES:
        doubt = f"{len(found):,} raw files came since, too many to read"
    return FilesSince(tuple(found), doubt)


def load_touched_keys(
    connection: duckdb.DuckDBPyConnection, sides: Sides, subject: Subject, files: Sequence[AcceptedFile]
) -> str | None:
    """Make ``touched_keys`` (segment, k0…) of what ``files`` name; return why that is not all, if so."""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE touched_keys (segment INT, {sides.key_fields})")
    open_file = partial(subject.platform.event_file, subject.source_name, subject.table.id)
    for one in files:
        try:
            why = _add_file(connection, sides, open_file(one))
        except (RawFileError, SchemaError, duckdb.Error) as error:
            why = f"it cannot be read ({error})"
        if why is not None:
            return f"raw file {one.file.key} does not tell which keys it changes: {why}"
    return None


def _add_file(connection: duckdb.DuckDBPyConnection, sides: Sides, events: Events) -> str | None:
    for batch in events.batches():
        if batch.rejected:
            return "a row of it cannot be typed"
        names = [column.column for column in sides.plan.key]
        if any(name not in batch.events.schema.names for name in names):
            return "it lacks a column of the merge key"
        if any(batch.events.column(name).null_count for name in names):
            return "a row of it has no key"
        if is_blind(batch.events, names):
            return "its updates have no before image of the key, and so not the key a row had before"
        _add(connection, sides, batch.events)
    return None


def is_blind(events: pa.RecordBatch, key: Sequence[str]) -> bool:
    """Whether there are updates that do not tell the key a row had before: it may have been another one."""
    if any(before_name(name) in events.schema.names for name in key):
        return False
    is_update = pc.equal(events.column(OP), pa.scalar(Op.UPDATE.value))
    return pc.any(is_update).as_py() is True


def _add(connection: duckdb.DuckDBPyConnection, sides: Sides, events: pa.RecordBatch) -> None:
    names = [column.column for column in sides.plan.key]
    before = [before_name(name) for name in names]
    own = [f"c.{quoted(name)}" for name in names]
    queries = [_keys(sides, own)]
    there = [name in events.schema.names for name in before]
    if any(there):
        # a key column the before image leaves out did not change
        old = [
            f"coalesce(c.{quoted(name)}, {value})" if is_there else value
            for name, value, is_there in zip(before, own, there, strict=True)
        ]
        queries.append(_keys(sides, old))
    connection.register("changes", pa.Table.from_batches([events]))
    try:
        connection.execute(f"INSERT INTO touched_keys {' UNION '.join(queries)}")
    finally:
        connection.unregister("changes")


def _keys(sides: Sides, values: Sequence[str]) -> str:
    raw = [f"({value})::{kind}" for value, kind in zip(values, sides.key_types, strict=True)]
    return f"SELECT {sides.segments.number_sql(sides.keys_of(values))}, {', '.join(raw)} FROM changes c"
