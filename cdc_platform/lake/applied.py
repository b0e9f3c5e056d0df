"""Which files a base table has applied: batch manifests, named by the snapshots that applied them.

Every merge writes ``batches/<batch id>.json`` and names it in its snapshot's summary, so the record commits,
rolls back and moves with the table. A manifest names its predecessor; every :data:`CONSOLIDATE_EVERY`
batches one carries the whole list, which bounds the walk. A snapshot of someone else's (a compaction) has no
manifest: its parent's holds. Should every snapshot that names one have been expired, the table property of
the same name, written in the same commits, is the way back in. The empty snapshot a table may begin with has
applied nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from cdc_platform.errors import MergeError
from cdc_platform.events import Position, PositionKind
from cdc_platform.lake.branch import history
from cdc_platform.lake.summary import BATCH_MANIFEST, properties_of
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.objects import ObjectStore, first_mistake

FOLDER = "batches"
CONSOLIDATE_EVERY = 20

FileIdentity = tuple[str, str]


@dataclass(frozen=True, slots=True)
class AppliedFile:
    """A file a batch applied, and how many of its rows it took and rejected."""

    key: str
    etag: str
    kind: str
    generation: int
    window: str
    rows: int | None
    rejected: int = 0


@dataclass(frozen=True, slots=True)
class BatchManifest:
    """What one merge did, and where the table stands after it."""

    batch_id: str
    created_at: str
    previous: str | None
    depth: int
    files: tuple[AppliedFile, ...]
    replayed: tuple[str, ...] = ()
    #: Object with every file applied up to and including this batch; the walk ends here.
    consolidated: str | None = None
    position_kinds: Mapping[str, str] = field(default_factory=dict)
    tombstones: tuple[str, ...] = ()
    #: The highest generation and the highest sequence in tombstone files, where they are known.
    tombstone_bounds: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    #: Events up to here may be older than a forgotten tombstone.
    tombstone_floor: tuple[int, int] | None = None
    generation_complete: int = 0
    watermark: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


_MANIFEST = TypeAdapter(BatchManifest)


@dataclass(frozen=True, slots=True)
class AppliedRecord:
    """Everything applied so far, as of one snapshot."""

    #: (key, ETag) of every applied file → the generation it was applied as a part of.
    files: Mapping[FileIdentity, int] = field(default_factory=dict)
    replayed: frozenset[str] = frozenset()
    #: Path of the newest manifest, and the manifest.
    path: str | None = None
    manifest: BatchManifest | None = None

    def holds(self, accepted: AcceptedFile) -> bool:
        """Return whether a file was applied as a part of the generation it belongs to now.

        A full load that becomes known late moves the changes that follow it into its generation: files
        applied before count as not applied then, and applying them again is what keeps them.
        """
        return self.files.get((accepted.file.key, accepted.file.etag)) == accepted.generation

    def is_outdated(self, accepted: AcceptedFile) -> bool:
        """Return whether a file was applied as a part of another generation than it belongs to now."""
        applied = self.files.get((accepted.file.key, accepted.file.etag))
        return applied is not None and applied != accepted.generation

    def holds_older(self, generation: int) -> bool:
        """Return whether a file was applied as a part of an older generation."""
        return any(one < generation for one in self.files.values())

    @property
    def generation_complete(self) -> int:
        """The newest generation whose full load is complete in the table; older events are superseded."""
        return self.manifest.generation_complete if self.manifest else 0

    @property
    def tombstones(self) -> tuple[str, ...]:
        """The tombstone files that hold for the table."""
        return self.manifest.tombstones if self.manifest else ()

    @property
    def tombstone_bounds(self) -> Mapping[str, Position]:
        """A position that no tombstone of a file is above, by file; not every file has one."""
        bounds = self.manifest.tombstone_bounds if self.manifest else {}
        return {file: Position(*bound) for file, bound in bounds.items()}

    @property
    def tombstone_floor(self) -> Position | None:
        """The highest position of a forgotten tombstone."""
        floor = self.manifest.tombstone_floor if self.manifest else None
        return Position(*floor) if floor else None

    @property
    def watermark(self) -> datetime | None:
        """The highest commit time applied."""
        text = self.manifest.watermark if self.manifest else None
        return datetime.fromisoformat(text) if text else None

    def position_kind(self, generation: int) -> PositionKind | None:
        """What the sequences of ``generation`` are made of, None when no change of it was applied."""
        kind = self.manifest.position_kinds.get(str(generation)) if self.manifest else None
        return PositionKind(kind) if kind else None


def manifest_path(batch_id: str) -> str:
    """Return the object key of a batch's manifest."""
    return f"{FOLDER}/{batch_id}.json"


def manifest_objects(batch_id: str) -> tuple[str, str]:
    """Return the keys a batch may write: its manifest, and the list of every file applied up to it."""
    return manifest_path(batch_id), f"{FOLDER}/{batch_id}-files.json"


def read_applied(table: Table | None, objects: ObjectStore) -> AppliedRecord:
    """Return the record as of ``table``'s current snapshot. Raises MergeError when a manifest is missing."""
    path = record_path(table) if table is not None else None
    return read_record(table, objects, path) if table is not None and path is not None else AppliedRecord()


def read_record(table: Table, objects: ObjectStore, path: str) -> AppliedRecord:
    """Return the record as of the batch with this manifest. Raises MergeError when one is missing."""
    files: dict[FileIdentity, int] = {}
    replayed: set[str] = set()
    newest: BatchManifest | None = None
    where: str | None = path
    while where is not None:
        manifest = read_manifest(objects, where, table)
        newest = newest or manifest
        for file in manifest.files:
            # walked from the newest batch back: the last application of a file is the one that counts
            files.setdefault((file.key, file.etag), file.generation)
        replayed.update(manifest.replayed)
        if manifest.consolidated is not None:
            whole = _json(objects, manifest.consolidated, table)
            for key, etag, generation in whole["files"]:
                files.setdefault((key, etag), generation)
            replayed.update(whole["replayed"])
            break
        where = manifest.previous
    return AppliedRecord(files, frozenset(replayed), path, newest)


def read_manifest(objects: ObjectStore, path: str, table: Table) -> BatchManifest:
    """Return the manifest at ``path``."""
    fields = _json(objects, path, table)
    try:
        return _MANIFEST.validate_python(fields)
    except ValidationError as e:
        raise _damaged(objects, path, table, first_mistake(e)) from e


def walk_batches(table: Table, objects: ObjectStore) -> Iterator[BatchManifest]:
    """Yield the manifests of the batches in the table's history, newest first, as far as they are kept."""
    path = record_path(table)
    while path is not None and objects.get(path) is not None:
        manifest = read_manifest(objects, path, table)
        yield manifest
        path = manifest.previous


def write_manifest_object(objects: ObjectStore, manifest: BatchManifest, record: AppliedRecord) -> None:
    """Write the manifest, and before it the whole list when it is its turn."""
    if manifest.consolidated is not None:
        files = {**record.files, **{(file.key, file.etag): file.generation for file in manifest.files}}
        listed = sorted([key, etag, generation] for (key, etag), generation in files.items())
        whole = {"files": listed, "replayed": sorted(record.replayed | set(manifest.replayed))}
        objects.put(manifest.consolidated, json.dumps(whole).encode())
    fields = asdict(manifest)
    if manifest.tombstone_floor is not None:
        # A sequence has up to 38 digits: text survives every JSON reader.
        fields["tombstone_floor"] = [str(part) for part in manifest.tombstone_floor]
    fields["tombstone_bounds"] = {
        file: [str(part) for part in bound] for file, bound in manifest.tombstone_bounds.items()
    }
    objects.put(manifest_path(manifest.batch_id), json.dumps(fields, indent=1).encode())


def record_path(table: Table, snapshot: Snapshot | None = None) -> str | None:
    """Return the object key of the newest manifest as of ``snapshot`` (default: the current one)."""
    for path in recorded_paths(table, snapshot or table.current_snapshot()):
        return path
    return table.properties.get(BATCH_MANIFEST) if table.current_snapshot() is not None else None


def recorded_paths(table: Table, snapshot: Snapshot | None) -> Iterator[str | None]:
    """Yield the manifests snapshots up to ``snapshot`` name, newest first; None for an empty beginning."""
    for one in history(table, snapshot):
        path = properties_of(one).get(BATCH_MANIFEST)
        if path is not None or is_empty_beginning(one):
            yield path


def is_empty_beginning(snapshot: Snapshot) -> bool:
    """Whether a snapshot is the first of its table, without a row and without a merge."""
    told = properties_of(snapshot)
    # where the parent is expired none is named either, so only the number tells
    is_first = snapshot.sequence_number == 1
    return is_first and BATCH_MANIFEST not in told and told.get("total-records") == "0"


def _json(objects: ObjectStore, path: str, table: Table) -> Any:
    try:
        return json.loads(_required(objects, path, table))
    except ValueError as e:
        raise _damaged(objects, path, table, str(e)) from e


def _damaged(objects: ObjectStore, path: str, table: Table, told: str) -> MergeError:
    return MergeError(
        f"the table's record of applied files, {objects.url(path)}, is damaged: {told}",
        where=".".join(table.name()),
        mend="restore the object, or go back to a snapshot of before it: cdc rollback",
    )


def _required(objects: ObjectStore, path: str, table: Table) -> bytes:
    data = objects.get(path)
    if data is None:
        raise MergeError(
            f"the table's record of applied files, {objects.url(path)}, is gone",
            where=".".join(table.name()),
            mend="restore the object, or reload the table",
        )
    return data
