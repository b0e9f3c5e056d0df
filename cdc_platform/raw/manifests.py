"""Window manifests: which raw files were accepted into a window of a table.

A manifest is one JSON object, ``windows/<window>.json`` in the table's object store; ``loads.json`` beside it
holds the table's load sets. Both only ever grow, and are written by compare-and-swap, so any number of
sensors and backfills may take in at once. The generation of a file is not stored: it follows from the load
sets, which may learn of an older file later.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache

from cdc_platform.raw.files import AcceptedFile, FileKind, RawFile
from cdc_platform.raw.load_sets import LoadFile, LoadSets, assign_generations
from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.raw.versions import is_version

WINDOWS = "windows/"
LOADS = "loads.json"

#: Manifests up to this size are parsed once: most windows do not change any more. Larger ones take memory.
_REMEMBERED_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class WindowManifest:
    """The files accepted into one window of a table, in the order of their keys.

    Two versions of a key may be there; ``replaced`` holds the (key, etag) of those that a newer one of the
    same key has overwritten and that can no longer be read.
    """

    source: str
    table_id: str
    window: str
    files: tuple[AcceptedFile, ...] = ()
    replaced: frozenset[tuple[str, str]] = frozenset()

    @property
    def readable(self) -> tuple[AcceptedFile, ...]:
        """The files that were not overwritten since."""
        return tuple(f for f in self.files if (f.file.key, f.file.etag) not in self.replaced)


@dataclass(frozen=True, slots=True)
class Accepted:
    """Everything accepted of a table, read once: its load sets, and its windows' manifests, oldest first."""

    load_sets: LoadSets
    manifests: tuple[WindowManifest, ...]

    @property
    def files(self) -> Iterator[AcceptedFile]:
        """Every accepted file, overwritten versions included, window by window."""
        return (one for manifest in self.manifests for one in manifest.files)

    @property
    def readable(self) -> Iterator[AcceptedFile]:
        """The files that were not overwritten since, window by window."""
        return (one for manifest in self.manifests for one in manifest.readable)


def window_key(window: str) -> str:
    """Return the object key of a window's manifest (a partition key may hold ``:``)."""
    return f"{WINDOWS}{window.replace(':', '_')}.json"


def read_load_sets(objects: ObjectStore) -> LoadSets:
    """Return the load sets of a table; none before its first LOAD file."""
    return _sets_of(objects, objects.get(LOADS))


def add_load_files(objects: ObjectStore, files: Iterable[LoadFile]) -> LoadSets:
    """Record LOAD file versions and return the load sets that result."""
    new = tuple(files)
    return _change_load_sets(objects, lambda sets: assign_generations(new, sets))


def confirm_load(objects: ObjectStore, generation: int) -> LoadSets:
    """Record that the load of ``generation`` is complete, as DMS's statistics or a person said."""
    return _change_load_sets(objects, lambda sets: sets.confirmed(generation))


def _change_load_sets(objects: ObjectStore, change: Callable[[LoadSets], LoadSets]) -> LoadSets:
    while True:
        stored = objects.read(LOADS)
        before = _sets_of(objects, stored.data if stored else None)
        after = change(before)
        if after == before:
            return after
        if objects.replace(LOADS, after.to_json(), stored.version if stored else None):
            return after


def windows_of(objects: ObjectStore) -> Iterator[str]:
    """Yield the windows that have a manifest, oldest first."""
    for key in objects.list(WINDOWS):
        yield key.removeprefix(WINDOWS).removesuffix(".json").replace("_", ":")


def read_manifest(
    objects: ObjectStore, source: str, table_id: str, window: str, load_sets: LoadSets | None = None
) -> WindowManifest:
    """Return the manifest of a window; an empty one when nothing was accepted yet."""
    data = objects.get(window_key(window))
    if data is None:
        return WindowManifest(source, table_id, window)
    sets = load_sets if load_sets is not None else read_load_sets(objects)
    with undamaged(objects, window_key(window)):
        return _parse(data, sets)


def read_accepted(objects: ObjectStore) -> Accepted:
    """Return everything accepted of the table that ``objects`` belongs to."""
    stored = objects.get(LOADS)
    sets = _sets_of(objects, stored)
    loads = sets.generations()
    manifests: list[WindowManifest] = []
    for window in windows_of(objects):
        data = objects.get(window_key(window))
        if data is not None:
            with undamaged(objects, window_key(window)):
                is_large = len(data) > _REMEMBERED_BYTES
                manifests.append(_parse(data, sets, loads) if is_large else _parsed(data, stored))
    return Accepted(sets, tuple(manifests))


def accept(
    objects: ObjectStore,
    source: str,
    table_id: str,
    window: str,
    files: Iterable[AcceptedFile],
    load_sets: LoadSets,
    is_there: Callable[[RawFile], bool] = lambda _: False,
) -> tuple[AcceptedFile, ...]:
    """Add listed ``files`` to the window's manifest; return those it did not hold, or held as overwritten.

    A version that was written after those known overwrites them. An older one, or one known as overwritten,
    was listed by someone slow or put back: ``is_there`` tells, asked after the manifest was read.
    """
    offered = tuple(files)
    while True:
        stored = objects.read(window_key(window))
        empty = WindowManifest(source, table_id, window)
        with undamaged(objects, window_key(window)):
            before = _parse(stored.data, load_sets) if stored else empty
        after, new = _with(before, offered, is_there)
        if after == before:
            return ()
        if objects.replace(window_key(window), _bytes(after), stored.version if stored else None):
            return new


def _with(
    before: WindowManifest, offered: Iterable[AcceptedFile], is_there: Callable[[RawFile], bool]
) -> tuple[WindowManifest, tuple[AcceptedFile, ...]]:
    """Return the manifest with ``offered`` in it, and those that are new or come back."""
    versions: dict[str, list[AcceptedFile]] = {}
    for one in before.files:
        versions.setdefault(one.file.key, []).append(one)
    replaced, new = set(before.replaced), []
    for listed in offered:
        mine = versions.setdefault(listed.file.key, [])
        known = [f for f in mine if is_version(f.file.etag, f.file.last_modified, listed.file)]
        exact = [f for f in known if f.file.etag == listed.file.etag]
        one = (exact or known or [listed])[-1]
        version = (one.file.key, one.file.etag)
        current = [f.file for f in mine if f is not one and (f.file.key, f.file.etag) not in before.replaced]
        if known and version not in before.replaced:
            continue
        if not known:
            mine.append(one)
        is_newest = not known and all(listed.file.last_modified > file.last_modified for file in current)
        if is_newest or is_there(listed.file):
            replaced.discard(version)
            replaced.update((file.key, file.etag) for file in current)
            new.append(one)
        else:
            replaced.add(version)
            new += [] if known else [one]
    files = sorted(
        (one for same in versions.values() for one in same), key=lambda f: (f.file.key, f.file.last_modified)
    )
    return replace(before, files=tuple(files), replaced=frozenset(replaced)), tuple(new)


def mark_replaced(
    objects: ObjectStore, source: str, table_id: str, window: str, versions: set[tuple[str, str]]
) -> None:
    """Record that versions of this window were overwritten by a file of another window."""
    while True:
        stored = objects.read(window_key(window))
        if stored is None:
            return
        with undamaged(objects, window_key(window)):
            before = _parse(stored.data, LoadSets())
        after = replace(before, replaced=before.replaced | versions)
        if after == before or objects.replace(window_key(window), _bytes(after), stored.version):
            return


def _sets_of(objects: ObjectStore, stored: bytes | None) -> LoadSets:
    with undamaged(objects, LOADS):
        return _load_sets(stored)


@lru_cache(maxsize=16)
def _load_sets(stored: bytes | None) -> LoadSets:
    return LoadSets() if stored is None else LoadSets.from_json(stored)


@lru_cache(maxsize=128)
def _parsed(data: bytes, load_sets: bytes | None) -> WindowManifest:
    """Return a manifest as it reads with these load sets: a function of what is stored, so remembered."""
    return _parse(data, _load_sets(load_sets))


def _bytes(manifest: WindowManifest) -> bytes:
    files = [
        {
            "key": one.file.key,
            "size": one.file.size,
            "etag": one.file.etag,
            "last_modified": one.file.last_modified.isoformat(),
            "kind": one.kind.value,
            "file_time": one.file_time.isoformat(),
            "replaced": (one.file.key, one.file.etag) in manifest.replaced,
        }
        for one in manifest.files
    ]
    head = {"version": 1, "source": manifest.source, "table": manifest.table_id, "window": manifest.window}
    return json.dumps({**head, "files": files}, indent=1).encode()


def _parse(
    data: bytes, load_sets: LoadSets, loads: Mapping[tuple[str, str], int] | None = None
) -> WindowManifest:
    stored = json.loads(data)
    files: list[AcceptedFile] = []
    replaced: set[tuple[str, str]] = set()
    loads = load_sets.generations() if loads is None else loads
    for one in stored["files"]:
        modified = datetime.fromisoformat(one["last_modified"])
        file = RawFile(one["key"], one["size"], one["etag"], modified)
        kind = FileKind(one["kind"])
        file_time = datetime.fromisoformat(one["file_time"])
        generation = loads.get((file.key, file.etag))
        if generation is None:
            generation = load_sets.generation_of(file_time)
        files.append(AcceptedFile(file, kind, file_time, stored["window"], generation))
        if one["replaced"]:
            replaced.add((file.key, file.etag))
    return WindowManifest(
        stored["source"], stored["table"], stored["window"], tuple(files), frozenset(replaced)
    )
