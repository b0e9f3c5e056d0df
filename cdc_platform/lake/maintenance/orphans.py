"""Orphan clean-up: files beside a table that no snapshot of it names, and that are old enough.

Crashed merges leave them. A merge writes its files before the snapshot that names them, so a file's age
decides whether it may still be on its way; below an hour only on demand. The objects of batches and
tombstones are cleaned the same way, and what killed writers of any object left half-written.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from pyiceberg.table import Table

from cdc_platform.config.maintenance import SHORTEST_ORPHAN_AGE_HOURS, OrphanOptions
from cdc_platform.errors import MergeError
from cdc_platform.lake import applied, tombstones
from cdc_platform.lake.branch import reloaded
from cdc_platform.lake.maintenance.listing import ListedFile, Listing
from cdc_platform.lake.maintenance.named import named_files, named_objects, own_objects
from cdc_platform.raw.objects import ObjectStore

#: What Iceberg keeps below a table's location.
_FOLDERS = ("data", "metadata")
#: What writers of a folder of objects take turns by.
_LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class OrphanPlan:
    """The orphans of one table."""

    table: Table
    files: tuple[ListedFile, ...]

    @property
    def bytes(self) -> int:
        """Their size."""
        return sum(file.bytes for file in self.files)


@dataclass(frozen=True, slots=True)
class OrphanResult:
    """What a clean-up removed, or would."""

    files: int
    bytes: int


def plan_orphans(
    table: Table,
    objects: ObjectStore,
    options: OrphanOptions,
    *,
    now: datetime | None = None,
    force: bool = False,
) -> OrphanPlan:
    """Find the orphans of ``table``; nothing is removed.

    Raises MergeError for an age below an hour unless ``force``: a merge under way may need such a file.
    """
    where = ".".join(table.name())
    if options.min_age_hours < SHORTEST_ORPHAN_AGE_HOURS and not force:
        raise MergeError(
            f"orphans of {options.min_age_hours:g} h may be files of a merge that has not committed yet",
            where=where,
            mend="raise `maintenance.orphans.min_age_hours` to 1 or more, or force it while nothing writes",
        )
    before = (now or datetime.now(UTC)) - timedelta(hours=options.min_age_hours)
    listing = Listing(table)
    # Listed first: what a merge writes after this is not looked at, what it commits after is named below.
    listed = [file for file in _listed(listing, table, objects) if file.modified_at < before]
    named = _named(listing, reloaded(table), objects) if listed else frozenset()
    return OrphanPlan(table, tuple(file for file in listed if file.location not in named))


def remove_orphans(plan: OrphanPlan) -> OrphanResult:
    """Remove the files of ``plan``."""
    listing = Listing(plan.table)
    for file in plan.files:
        with suppress(FileNotFoundError):
            listing.remove(file.location)
    return OrphanResult(len(plan.files), plan.bytes)


def _listed(listing: Listing, table: Table, objects: ObjectStore) -> Iterator[ListedFile]:
    for folder in _FOLDERS:
        yield from listing.below(f"{table.location()}/{folder}")
    root = objects.url(_LOCK.removeprefix(".")).rpartition("/")[0]
    ours = tuple(
        f"{listing.normalised(objects.url(folder))}/" for folder in (applied.FOLDER, tombstones.FOLDER)
    )
    for file in listing.below(root):
        name = file.location.rpartition("/")[2]
        # a hidden object is what a killed writer left; the lock is held by those that live
        if name != _LOCK and (name.startswith(".") or file.location.startswith(ours)):
            yield file


def _named(listing: Listing, table: Table, objects: ObjectStore) -> frozenset[str]:
    """Return every location that something of the table names."""
    metadata = table.metadata
    snapshots = metadata.snapshots
    names = named_files(table.io, snapshots).all
    names |= {entry.metadata_file for entry in metadata.metadata_log} | {table.metadata_location}
    names |= {each.statistics_path for each in (*metadata.statistics, *metadata.partition_statistics)}
    current = table.current_snapshot()
    keys = named_objects(table, [*snapshots, *([current] if current else [])], objects) | own_objects(
        snapshots
    )
    return frozenset(map(listing.normalised, (*names, *(objects.url(key) for key in keys))))
