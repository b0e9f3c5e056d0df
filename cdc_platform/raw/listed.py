"""Listed files as the versions they are: a LOAD file may have been found again, or written again."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from cdc_platform.raw.files import RawFile, RawFileName
from cdc_platform.raw.load_sets import LoadFile, LoadSets, belongs_to_newest
from cdc_platform.raw.versions import is_version, written_again


@dataclass(frozen=True, slots=True)
class Listed:
    """A listed file and what its name says."""

    file: RawFile
    name: RawFileName
    #: The version of a LOAD file that was taken in before with this content.
    known: LoadFile | None = None

    @property
    def file_time(self) -> datetime:
        """The time that tells its window."""
        return self.name.file_time or self.file.last_modified


def by_known_versions(named: Iterable[Listed], sets: LoadSets) -> Iterator[Listed]:
    """Yield the files, a LOAD file that is known by its content as the version that it is, times and all."""
    versions: dict[str, list[LoadFile]] = {}
    for one in sets.sets:
        for file in one.files:
            versions.setdefault(file.key, []).append(file)
    for listed in named:
        known = [
            file
            for file in versions.get(listed.file.key, ())
            if is_version(file.etag, file.written_at, listed.file)
        ]
        if not known:
            yield listed
            continue
        same = max(known, key=lambda file: (file.written_at == listed.file.last_modified, file.written_at))
        yield replace(
            listed, file=replace(listed.file, etag=same.etag, last_modified=same.written_at), known=same
        )


def with_written_again(
    named: Iterable[Listed], listed: Iterable[RawFile], sets: LoadSets
) -> tuple[list[Listed], bool]:
    """Return the files, and whether some turn out to be of a load that wrote the same content again.

    Not so in a folder that was copied as a whole, where files of the newest load, too, look younger.
    """
    files = list(named)
    times = {file.key: file.last_modified for file in listed}
    newest = sets.newest()
    ours = {file.version for file in newest.files} if newest else set()
    younger = [one for one in files if one.known and times[one.file.key] > one.known.written_at]
    if any(one.known and one.known.version in ours for one in younger):
        return files, False
    again: dict[str, Listed] = {}
    for one in younger:
        at = times[one.file.key]
        if one.known and belongs_to_newest(sets, one.known, at):
            file = replace(one.file, last_modified=at)
            again[one.file.key] = replace(one, file=replace(file, etag=written_again(file)), known=None)
    return [again.get(one.file.key, one) for one in files], bool(again)
