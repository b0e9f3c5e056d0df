"""LOAD files that were set aside when first seen, and then written again: mended, or of the next load.

An upload that was cut off and made up for, or a damaged file that was put back, is a part of the load it
belongs to, and no sign of a new one, which would remove the rows of all its other files.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cdc_platform.raw.load_sets import LoadFile, LoadSets

#: How far the clocks of DMS, which stamps the rows, and of the store may differ.
_CLOCKS = timedelta(minutes=1)


def versions_by_key(sets: LoadSets) -> dict[str, list[LoadFile]]:
    """Return the versions of each LOAD file that are known, by its key."""
    versions: dict[str, list[LoadFile]] = defaultdict(list)
    for load_set in sets.sets:
        for one in load_set.files:
            versions[one.key].append(one)
    return versions


def in_place_of_set_aside(
    file: LoadFile,
    before: Sequence[LoadFile],
    *,
    never_applied: Callable[[str, str], bool],
    transferred_at: Callable[[], datetime | None],
) -> LoadFile:
    """Return a new version of a LOAD file, in the place of the one before where that was never applied.

    ``before`` are the versions that are known.
    Not so when its rows say that they were transferred after that one was written.
    """
    if not before or any(one.etag == file.etag for one in before):
        return file
    former = max(before)
    if file.written_at < former.written_at or not never_applied(former.key, former.etag):
        return file
    told = transferred_at()
    if told is not None and told > former.written_at + _CLOCKS:
        return file
    return replace(file, replaces=former.versions)


def moved_to_reloads(
    cut: Iterable[tuple[list[LoadFile], bool]],
) -> list[tuple[list[LoadFile], bool]]:
    """Return load sets, with what looked like mended files in the next set where they belong to it.

    That is so when the next load has files of higher counters, which are written later, but lacks theirs,
    and they were written after everything else of their own set.
    """
    sets = list(cut)
    for (members, _), (following, _) in pairwise(sets):
        last = max((file.written_at for file in members if not file.replaces), default=None)
        for file in [file for file in members if file.replaces]:
            counters = {one.counter for one in following if one.segment == file.segment}
            is_lacking = file.counter not in counters and file.counter < max(counters, default=0)
            if is_lacking and last is not None and file.written_at > last:
                members.remove(file)
                following.append(file)
        following.sort()
    return sets
