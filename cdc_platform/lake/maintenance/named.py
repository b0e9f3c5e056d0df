"""What the snapshots of a table name: its files, and the small objects of its applied-files record."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from cdc_platform.lake import summary
from cdc_platform.lake.applied import manifest_objects, read_manifest, record_path
from cdc_platform.raw.objects import ObjectStore

_READERS = 8


@dataclass(slots=True)
class NamedFiles:
    """Files that snapshots name, by location: manifest lists, manifests, and data and delete files."""

    lists: set[str] = field(default_factory=set)
    manifests: set[str] = field(default_factory=set)
    files: set[str] = field(default_factory=set)

    @property
    def all(self) -> set[str]:
        """All of them."""
        return self.lists | self.manifests | self.files


def named_files(io: FileIO, snapshots: Iterable[Snapshot], *, but: Collection[str] = ()) -> NamedFiles:
    """Return what ``snapshots`` name; manifests in ``but`` are left out, unread."""
    found = NamedFiles()
    chosen = list(snapshots)
    with ThreadPoolExecutor(_READERS) as pool:
        unread: dict[str, ManifestFile] = {}
        for manifests in pool.map(lambda each: each.manifests(io), chosen):
            unread.update({each.manifest_path: each for each in manifests if each.manifest_path not in but})
        found.lists.update(snapshot.manifest_list for snapshot in chosen)
        found.manifests.update(unread)
        for paths in pool.map(lambda each: _live_in(each, io), unread.values()):
            found.files.update(paths)
    return found


def _live_in(manifest: ManifestFile, io: FileIO) -> list[str]:
    entries = manifest.fetch_manifest_entry(io, discard_deleted=True)
    return [entry.data_file.file_path for entry in entries]


def roots(kept: Sequence[Snapshot], expired: Sequence[Snapshot]) -> list[Snapshot]:
    """Return those of ``kept`` that name all that both ``kept`` and ``expired`` name.

    What a snapshot names comes from its ancestors or is new in it. So while no expired snapshot descends from
    a kept one, whatever they share is named by the oldest kept snapshot of each line.
    """
    there = {snapshot.snapshot_id for snapshot in kept}
    if any(snapshot.parent_snapshot_id in there for snapshot in expired):
        return list(kept)
    return [snapshot for snapshot in kept if snapshot.parent_snapshot_id not in there]


def named_objects(table: Table, snapshots: Iterable[Snapshot], objects: ObjectStore) -> set[str]:
    """Return the objects a roll-back to any of ``snapshots`` needs: manifests of batches, and tombstones.

    A batch manifest that is gone ends the walk: an earlier expiry took it.
    """
    found: set[str] = set()
    paths = {record_path(table, snapshot) for snapshot in snapshots}
    for start in sorted(filter(None, paths)):
        path: str | None = start
        while path is not None and path not in found and objects.get(path) is not None:
            manifest = read_manifest(objects, path, table)
            found.update((path, *manifest.tombstones))
            if manifest.consolidated is not None:
                found.add(manifest.consolidated)
                break
            path = manifest.previous
    return found


def own_objects(snapshots: Iterable[Snapshot]) -> set[str]:
    """Return the objects each of ``snapshots`` may have of its own, by the names alone."""
    found: set[str] = set()
    for snapshot in snapshots:
        properties = summary.properties_of(snapshot)
        if summary.BATCH_ID in properties:
            found.update(manifest_objects(properties[summary.BATCH_ID]))
        if summary.BATCH_MANIFEST in properties:
            found.add(properties[summary.BATCH_MANIFEST])
    return found
