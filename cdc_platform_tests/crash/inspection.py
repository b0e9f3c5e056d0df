"""What a lake holds, read without the code that wrote it: by pyiceberg, and from the files themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pyiceberg.table import Table

from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import OBJECTS_FOLDER, Lake
from cdc_platform_tests.crash.rounds import NOTHING, Content, Found

SOURCE = "retail"
#: The branch that merges write while main is held back.
_BRANCH = "cdc_pending"


def state_of(lake: Lake, config: TableConfig) -> Found:
    """Return the table as merges left it, and its main as other programs see it now."""
    table = lake.load(SOURCE, config.id)
    if table is None:
        return Found(quarantine=_quarantine(lake, config))
    branch = content_at(lake, config, table, table.metadata.current_snapshot_id)
    waiting = pending(table)
    main = branch
    if waiting:
        main = content_at(lake, config, table, table.metadata.refs["main"].snapshot_id)
    return Found(*branch, _quarantine(lake, config), main, _BRANCH in table.metadata.refs)


def pending(table: Table) -> list[int]:
    """Return the snapshots of the branch that main has not, newest first; fail when main is not below it."""
    refs = table.metadata.refs
    if _BRANCH not in refs:
        return []
    main, at, found = refs["main"].snapshot_id, refs[_BRANCH].snapshot_id, list[int]()
    while at != main:
        found.append(at)
        snapshot = table.snapshot_by_id(at)
        assert snapshot is not None, f"between main and the branch snapshot {at} is gone"
        assert snapshot.parent_snapshot_id is not None, f"main, {main}, is not in the branch's history"
        at = snapshot.parent_snapshot_id
    return found


def content_at(lake: Lake, config: TableConfig, table: Table, snapshot_id: int | None) -> Content:
    """Return the rows and the applied files as of a snapshot."""
    if snapshot_id is None:
        return NOTHING
    return rows_of(table, snapshot_id), applied_at(lake, config, table, snapshot_id)


def rows_of(table: Table, snapshot_id: int | None = None) -> tuple[tuple[Any, ...], ...]:
    """Return the rows of a snapshot as the oracle shows them."""
    if table.current_snapshot() is None:
        return ()
    shown = []
    for row in table.scan(snapshot_id=snapshot_id).to_arrow().to_pylist():
        values = {k: v for k, v in row.items() if not k.startswith("_cdc_") and v is not None}
        shown.append((*sorted(values.items()), ("deleted", row["_cdc_op"] == "D")))
    return tuple(sorted(shown, key=repr))


def digest_of(table: Table, snapshot_id: int) -> str:
    """Return a digest of the rows of a snapshot."""
    return hashlib.sha256(repr(rows_of(table, snapshot_id)).encode()).hexdigest()


def folders(lake: Lake, config: TableConfig) -> list[Path]:
    """Return the folders of a table: of its files, and of its objects."""
    table = lake.load(SOURCE, config.id)
    if table is None:
        return []
    return [Path(table.location().removeprefix("file://")), _folder(lake, config)]


def _folder(lake: Lake, config: TableConfig) -> Path:
    return Path(lake.warehouse) / OBJECTS_FOLDER / SOURCE / config.id


def applied_at(lake: Lake, config: TableConfig, table: Table, snapshot_id: int | None) -> frozenset[str]:
    """Return the applied files, following the batch manifests from a snapshot."""
    snapshot = table.snapshot_by_id(snapshot_id) if snapshot_id is not None else None
    path = None
    while snapshot is not None and path is None:
        path = snapshot.summary.additional_properties.get("cdc.batch-manifest") if snapshot.summary else None
        snapshot = table.snapshot_by_id(snapshot.parent_snapshot_id) if snapshot.parent_snapshot_id else None
    found: list[str] = []
    again: set[str] = set()
    while path is not None:
        manifest = json.loads((_folder(lake, config) / path).read_bytes())
        files = [file["key"] for file in manifest["files"]]
        # a row that is released later comes with its file once more
        again |= {key for key in files if manifest["replayed"]}
        found += files
        path = manifest["previous"]
        if manifest["consolidated"] is not None:
            whole = json.loads((_folder(lake, config) / manifest["consolidated"]).read_bytes())
            earlier = {key for key, _, _ in whole["files"]}
            assert set(files) <= earlier, "a consolidated list without the files of its own batch"
            return frozenset({*found, *earlier})
    twice = {key for key in found if found.count(key) > 1} - again
    assert not twice, f"applied twice: {twice}"
    return frozenset(found)


def _quarantine(lake: Lake, config: TableConfig) -> dict[tuple[str, int | None], str]:
    folder = _folder(lake, config) / "quarantine"
    items = [json.loads(file.read_bytes()) for file in sorted(folder.glob("[!.]*.json"))]
    states = {(item["key"], item["row"]): item["state"] for item in items}
    assert len(states) == len(items), "something is in quarantine twice"
    return states


def orphans(lake: Lake, config: TableConfig) -> list[Path]:
    """Return the files below the table that no snapshot, metadata file or batch manifest names."""
    named, objects = _all_named(lake, config), _folder(lake, config)
    there = [path for place in folders(lake, config) for path in place.rglob("*") if path.is_file()]
    return [path for path in there if path not in named and not _is_kept(path, objects)]


def missing(lake: Lake, config: TableConfig) -> list[Path]:
    """Return the files that a snapshot or a batch manifest names and that are gone."""
    return [path for path in sorted(_all_named(lake, config)) if not path.exists()]


def _all_named(lake: Lake, config: TableConfig) -> set[Path]:
    table = lake.load(SOURCE, config.id)
    if table is None:
        return set()
    objects = _folder(lake, config)
    named = {Path(path.removeprefix("file://")) for path in _named(table)}
    return named | {objects / path for path in _named_objects(objects, table)}


def _is_kept(path: Path, objects: Path) -> bool:
    """Whether a file is one that no snapshot needs to name: a lock, or an object of intake and quarantine."""
    if path.name.startswith("."):
        # at most one of each a folder
        return path.name == ".lock" or path.name.startswith(".writing-")
    folder = path.relative_to(objects).parts[0] if path.is_relative_to(objects) else ""
    return folder in ("quarantine", "windows", "loads.json")


def _named(table: Table) -> Iterator[str]:
    yield table.metadata_location
    yield from (entry.metadata_file for entry in table.metadata.metadata_log)
    for snapshot in table.metadata.snapshots:
        yield snapshot.manifest_list
        for manifest in snapshot.manifests(table.io):
            yield manifest.manifest_path
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=True):
                yield entry.data_file.file_path


def _named_objects(objects: Path, table: Table) -> Iterator[str]:
    for snapshot in table.metadata.snapshots:
        path = snapshot.summary.additional_properties.get("cdc.batch-manifest") if snapshot.summary else None
        while path is not None:
            yield path
            manifest = json.loads((objects / path).read_bytes())
            yield from filter(None, [manifest["consolidated"], *manifest["tombstones"]])
            # the whole list up to here: nothing needs the batches before it
            path = None if manifest["consolidated"] else manifest["previous"]
