"""When a full load counts as complete, so that rows it does not contain may be removed.

Any of three witnesses suffices, and none helps a load with a hole in its counters: a change file written
after it, the statistics of DMS with as many rows as its files hold, or a person.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta
from typing import TYPE_CHECKING

from cdc_platform.errors import CdcError, ConfigError
from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.load_sets import LoadSet
from cdc_platform.raw.manifests import Accepted, confirm_load
from cdc_platform.raw.repairs import is_repair
from cdc_platform.raw_counts import count_files

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

#: A load's end as DMS tells it and the time of its last file come from two clocks.
_CLOCKS = timedelta(minutes=1)


def complete_load(platform: Platform, source: str, table_id: str) -> int:
    """Declare the newest full load of a table complete, and return its generation.

    The next merge removes the rows it does not contain. Raises ConfigError when there is nothing to declare.
    """
    newest = platform.load_sets(source, table_id).newest()
    where = f"{source}/{table_id}"
    if newest is None:
        raise ConfigError(where, [(where, "no full load was taken in", "run a full load, then `cdc apply`")])
    if newest.holes():
        missing = ", ".join(newest.holes())
        raise ConfigError(where, [(where, f"LOAD files are missing: {missing}", "reload the table")])
    confirm_load(platform.objects(source, table_id), newest.generation)
    return newest.generation


def completed_generation(
    platform: Platform,
    source: str,
    table_id: str,
    accepted: Accepted,
    applied: AppliedRecord,
    batch: Collection[AcceptedFile],
) -> int | None:
    """Return the newest generation whose load is complete with all its files applied or in the batch."""
    here = {(one.file.key, one.file.etag) for one in batch}
    sets = accepted.load_sets
    for load_set in reversed(sets.sets):
        generation = load_set.generation
        if not all(f.version in here or applied.files.get(f.version) == generation for f in load_set.files):
            continue
        if generation <= applied.generation_complete:
            return generation
        followed = _is_followed_by_change(accepted, load_set)
        if sets.is_complete(load_set, followed_by_change=followed):
            return generation
        if load_set is sets.newest() and _statistics_agree(
            platform, source, table_id, accepted, load_set, applied
        ):
            confirm_load(platform.objects(source, table_id), generation)
            return generation
    return None


def _is_followed_by_change(accepted: Accepted, load_set: LoadSet) -> bool:
    last = load_set.last_written_at
    return any(
        one.kind is FileKind.CHANGES and one.file_time > last and not is_repair(one.file.key)
        for one in accepted.files
    )


def _statistics_agree(
    platform: Platform,
    source: str,
    table_id: str,
    accepted: Accepted,
    load_set: LoadSet,
    applied: AppliedRecord,
) -> bool:
    """Whether DMS says that this load ended, with as many rows as its files hold.

    Asked only when completion would change something: rows of an older generation are in base.
    """
    if not applied.holds_older(load_set.generation) or load_set.holes():
        return False
    try:
        told = platform.table_statistics(source, table_id)
        if told is None or not told.is_loaded or told.loaded_at is None:
            return False
        if told.loaded_at < load_set.last_written_at - _CLOCKS:
            return False
        return told.full_load_rows == _rows(platform, source, table_id, accepted, load_set)
    except CdcError:
        # without statistics the load stays open until a change follows it or a person confirms it
        return False


def _rows(platform: Platform, source: str, table_id: str, accepted: Accepted, load_set: LoadSet) -> int:
    versions = {file.version for file in load_set.files}
    total = 0
    for manifest in accepted.manifests:
        members = [one for one in manifest.files if (one.file.key, one.file.etag) in versions]
        counts = count_files(platform, source, table_id, manifest.window, members)
        total += sum(counts[one.file.key, one.file.etag].rows for one in members)
    return total
