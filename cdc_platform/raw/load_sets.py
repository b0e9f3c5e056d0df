"""Which full load a raw file belongs to: load sets open generations, change files follow them.

A *load set* is the LOAD files of a table written by one load. Its *generation* is the time its first file was
written, in milliseconds since the epoch; later changes belong to it until the next load set opens.

The assignment is a function of every version of every LOAD file ever seen, in any order: versions are put in
the order they were written (time, counter, key) and a new set opens

* for certain, when the current set already holds that counter of that segment in another version: DMS wrote
  the name again;
* by inference, when a file of the segment with a higher counter was written more than :data:`REORDERING`
  earlier: a load counts upwards, so that file is left over from an older, longer load. Uploads of one load
  overtake each other and copies of a folder lose its times, which can look the same, so nothing is ever
  removed on account of an inferred boundary until DMS's statistics or a person confirm the load.

A LOAD file that was set aside and then written again, without ever having been applied, takes the place of
the version before it, unless its rows say that they were transferred later: then, or when other files of that
load that were applied are written again after it, it is of a load of its own (``raw/mended_loads.py``).

The first load set opens when its own rows say they were transferred (``TimestampColumnName``): a copied
folder, whose LOAD files are as young as the copy, must not lose its changes, nor may changes of before a load
be taken for later ones. Where the rows do not say, change files older than the first load set belong to it as
well, for a task that loads and then captures writes none before. Once a set has a generation it keeps it,
whatever is found later.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from cdc_platform.raw.mended_loads import moved_to_reloads

#: The generation of changes of a table that was never loaded.
NEVER_LOADED = 0

#: How far the files of one load may be written out of the order of their counters.
REORDERING = timedelta(minutes=10)


@dataclass(frozen=True, slots=True, order=True)
class LoadFile:
    """One version of a LOAD file, in the order versions were written."""

    written_at: datetime
    counter: int
    key: str
    segment: str
    etag: str
    #: The earliest transfer time in the file's rows, where it was looked for and found.
    transferred_at: datetime | None = field(default=None, compare=False)
    #: ETags and times of the versions it takes the place of, the newest first.
    replaces: tuple[tuple[str, datetime], ...] = field(default=(), compare=False)

    @property
    def versions(self) -> tuple[tuple[str, datetime], ...]:
        """ETags and times of this version and those it takes the place of."""
        return ((self.etag, self.written_at), *self.replaces)

    @property
    def placed_at(self) -> datetime:
        """Where it belongs among the files of its load."""
        return self.versions[-1][1]

    @property
    def version(self) -> tuple[str, str]:
        """What tells this version from any other: (key, etag)."""
        return self.key, self.etag


@dataclass(frozen=True, slots=True)
class LoadSet:
    """The files of one load. ``inferred``: its boundary to the set before is a guess, see the module."""

    generation: int
    files: tuple[LoadFile, ...]
    inferred: bool = False
    #: DMS's statistics or a person said that the load is complete.
    confirmed: bool = False

    @property
    def last_written_at(self) -> datetime:
        """When the last file of the set was written."""
        return max(file.written_at for file in self.files)

    def holes(self) -> tuple[str, ...]:
        """Return what is missing by the counters, as ``segment:counter`` in hexadecimal."""
        by_segment = groupby(sorted(self.files, key=lambda f: f.segment), key=lambda f: f.segment)
        found: list[str] = []
        for segment, files in by_segment:
            counters = {file.counter for file in files}
            missing = set(range(1, max(counters))) - counters
            found.extend(f"{segment}:{counter:08X}" for counter in sorted(missing))
        return tuple(found)


@dataclass(frozen=True, slots=True)
class LoadSets:
    """The load sets of a table, oldest first."""

    sets: tuple[LoadSet, ...] = ()

    def generation_of(self, file_time: datetime) -> int:
        """Return the generation of a change file written at ``file_time``."""
        if not self.sets:
            return NEVER_LOADED
        moment = milliseconds(file_time)
        opened = [one.generation for one, at in zip(self.sets, self.openings(), strict=True) if at <= moment]
        return opened[-1] if opened else NEVER_LOADED

    def openings(self) -> tuple[int, ...]:
        """Return, for each set, the time (ms) from which on change files belong to it."""
        if not self.sets:
            return ()
        told = [one.transferred_at for one in self.sets[0].files if one.transferred_at is not None]
        first = milliseconds(min(told)) if told else NEVER_LOADED
        return (min(first, self.sets[0].generation), *(one.generation for one in self.sets[1:]))

    def generations(self) -> dict[tuple[str, str], int]:
        """Return (key, ETag) → generation of every known version of a LOAD file."""
        return {file.version: one.generation for one in self.sets for file in one.files}

    def newest(self) -> LoadSet | None:
        """Return the newest load set."""
        return self.sets[-1] if self.sets else None

    def is_complete(self, load_set: LoadSet, *, followed_by_change: bool) -> bool:
        """Return whether every file of ``load_set`` is known to be there.

        A load is complete when it was confirmed, or when a change file was written after its last file
        (changes of a table are only written after its load) and neither a counter is missing nor its
        boundary a guess.
        """
        if load_set.holes():
            return False
        return load_set.confirmed or (followed_by_change and not load_set.inferred)

    def confirmed(self, generation: int) -> LoadSets:
        """Return these sets with the one of ``generation`` confirmed as complete."""
        sets = (replace(s, confirmed=s.confirmed or s.generation == generation) for s in self.sets)
        return LoadSets(tuple(sets))

    def to_json(self) -> bytes:
        """Return the stored form."""
        sets = [
            {
                "generation": one.generation,
                "inferred": one.inferred,
                "confirmed": one.confirmed,
                "files": [
                    {
                        "key": file.key,
                        "etag": file.etag,
                        "segment": file.segment,
                        "counter": file.counter,
                        "written_at": file.written_at.isoformat(),
                        "transferred_at": file.transferred_at and file.transferred_at.isoformat(),
                        "replaces": [(etag, at.isoformat()) for etag, at in file.replaces],
                    }
                    for file in one.files
                ],
            }
            for one in self.sets
        ]
        return json.dumps({"version": 1, "sets": sets}, indent=1).encode()

    @staticmethod
    def from_json(data: bytes) -> LoadSets:
        """Return the sets that :meth:`to_json` wrote."""
        return LoadSets(
            tuple(
                LoadSet(
                    one["generation"],
                    tuple(
                        LoadFile(
                            datetime.fromisoformat(file["written_at"]),
                            file["counter"],
                            file["key"],
                            file["segment"],
                            file["etag"],
                            _moment(file["transferred_at"]),
                            tuple(
                                (etag, datetime.fromisoformat(at)) for etag, at in file.get("replaces", ())
                            ),
                        )
                        for file in one["files"]
                    ),
                    one["inferred"],
                    one["confirmed"],
                )
                for one in json.loads(data)["sets"]
            )
        )


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def milliseconds(moment: datetime) -> int:
    """Return ``moment`` in whole milliseconds since the epoch."""
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1000 + 1e-6)


def assign_generations(files: Iterable[LoadFile], known: LoadSets = LoadSets()) -> LoadSets:
    """Group every known and given version of a table's LOAD files into load sets.

    ``known`` are the sets assigned before; their generations and confirmations are kept.
    """
    versions: dict[tuple[str, str], LoadFile] = {}
    for file in (*(f for one in known.sets for f in one.files), *files):
        versions.setdefault(file.version, file)
    kept = {file.version: one for one in known.sets for file in one.files}
    replaced = {(file.key, etag) for file in versions.values() for etag, _ in file.replaces}
    there = (file for version, file in versions.items() if version not in replaced)
    sets: list[LoadSet] = []
    for members, inferred in moved_to_reloads(_cut(sorted(there, key=lambda f: (f.placed_at, f)))):
        sets.append(_numbered(members, inferred, kept, taken={one.generation for one in sets}))
    return LoadSets(tuple(sorted(sets, key=lambda one: one.generation)))


def belongs_to_newest(sets: LoadSets, known: LoadFile, again_at: datetime) -> bool:
    """Return whether a later load wrote ``known`` again, at ``again_at``, with the very same content.

    ``sets`` hold what is new in the listing. That load is told by its other files: the newest set must be
    certain, of after ``known``, without a file of this counter, and have one of a higher counter (which is
    written later) or have been written at about that time. A copied folder has no file of other content.
    """
    newest = sets.newest()
    if newest is None or newest.inferred or any(file.version == known.version for file in newest.files):
        return False
    others = [file for file in newest.files if file.segment == known.segment]
    if not others or any(file.counter == known.counter for file in others):
        return False
    first, last = min(file.written_at for file in others), newest.last_written_at
    if known.written_at >= first:
        return False
    leads = known.counter < max(file.counter for file in others) and again_at <= last
    return leads or first - REORDERING <= again_at <= last + REORDERING


def _cut(ordered: list[LoadFile]) -> list[tuple[list[LoadFile], bool]]:
    """Cut files in the order of writing into sets, each with whether its boundary is a guess."""
    cut: list[tuple[list[LoadFile], bool]] = []
    segments: dict[str, _Segment] = {}
    for file in ordered:
        segment = segments.get(file.segment, _Segment())
        again = file.counter in segment.counters
        left_over = segment.highest_before(file.placed_at - REORDERING) > file.counter
        if not cut or again or left_over:
            cut.append(([], bool(cut) and not again))
            segments = {}
        cut[-1][0].append(file)
        segments.setdefault(file.segment, _Segment()).add(file)
    return cut


class _Segment:
    """The files of one segment in the set that is being filled, added in the order of writing."""

    def __init__(self) -> None:
        self.counters: set[int] = set()
        self._recent: deque[LoadFile] = deque()
        self._highest = 0

    def add(self, file: LoadFile) -> None:
        self.counters.add(file.counter)
        self._recent.append(file)

    def highest_before(self, moment: datetime) -> int:
        """Return the highest counter written before ``moment``, which never goes back."""
        while self._recent and self._recent[0].placed_at < moment:
            self._highest = max(self._highest, self._recent.popleft().counter)
        return self._highest


def _numbered(
    members: list[LoadFile], inferred: bool, kept: Mapping[tuple[str, str], LoadSet], taken: set[int]
) -> LoadSet:
    """Give a set the generation one of its files already had, else the time of its first file."""
    versions = [(file.key, etag) for file in members for etag, _ in file.versions]
    before = [kept[version] for version in versions if version in kept]
    free = [one for one in before if one.generation not in taken]
    generation = free[0].generation if free else milliseconds(members[0].written_at)
    while generation in taken:
        generation += 1
    confirmed = any(one.confirmed for one in free if one.generation == generation)
    return LoadSet(generation, tuple(members), inferred, confirmed)
