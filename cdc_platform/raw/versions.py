"""What tells one version of a raw file from another: its content, and for a LOAD file the load that wrote it.

A version's name is the ETag. On S3 that is the object's own; in a folder it is a digest of the bytes, so that
a file found again with the same content (copied back, restored, unpacked) is the version it was, whatever its
times. Two names are different:

* ``<ETag>@<time>``: a LOAD file that a later load wrote again with the very same content;
* ``<mtime>-<size>-<inode>``: a file that could not be read when it was listed, or that was taken in before
  digests were; it is told by its time and size.
"""

from __future__ import annotations

import hashlib
import os
import re
import sqlite3
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from pathlib import Path

from cdc_platform.config.model import PlatformConfig
from cdc_platform.raw.files import RawFile

_BY_TIME = re.compile(r"([0-9a-f]+)-([0-9a-f]+)-[0-9a-f]+")
_CHUNK = 1 << 20
#: A file changed this recently may be changed again without its times telling, so its digest is not kept.
_RACY_NS = 2 * 10**9
_TABLE = (
    "CREATE TABLE IF NOT EXISTS digests (path TEXT PRIMARY KEY, stat TEXT NOT NULL, digest TEXT NOT NULL)"
)


def content_of(etag: str) -> str:
    """Return the part of a version's name that tells its content.

    >>> content_of("9b2cf535f27731c974343645a3985328@18fcd1c7b40")
    '9b2cf535f27731c974343645a3985328'
    """
    return etag.partition("@")[0]


def written_again(file: RawFile) -> str:
    """Return the version of a LOAD file that a later load wrote with the content of an earlier one."""
    return f"{content_of(file.etag)}@{int(file.last_modified.timestamp() * 1000):x}"


def is_version(etag: str, written_at: datetime, listed: RawFile) -> bool:
    """Return whether ``listed`` is, by its content, the version ``etag`` that was first written then."""
    if "@" in listed.etag:
        return etag == listed.etag
    if content_of(etag) == content_of(listed.etag):
        return True
    known, shown = _BY_TIME.fullmatch(etag), _BY_TIME.fullmatch(listed.etag)
    if known is None and shown is None:
        return False
    has_size = known is None or int(known[2], 16) == listed.size
    return has_size and written_at == listed.last_modified


def is_by_time(etag: str) -> bool:
    """Return whether a version is told by its time and size."""
    return _BY_TIME.fullmatch(etag) is not None


def modified_at(stat: os.stat_result) -> datetime:
    """Return when a file was modified, in microseconds."""
    return datetime.fromtimestamp(stat.st_mtime_ns // 1000 / 1_000_000, UTC)


def version_by_time(stat: os.stat_result) -> str:
    """Return the version of a file whose content cannot be read now."""
    return f"{stat.st_mtime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}"


def digests_file(config: PlatformConfig) -> Path | None:
    """Return where the digests of a folder's files are kept, None where there is no place for them yet."""
    warehouse = config.path_of(config.lake.warehouse).removeprefix("file://")
    if config.engine.temp_directory:
        folder = Path(config.path_of(config.engine.temp_directory))
    elif "://" in warehouse:
        folder = Path(tempfile.gettempdir()) / "cdc-spill"
    else:
        folder = Path(warehouse).parent / "spill"
    return folder.with_name(f"{folder.name}-raw-digests.sqlite") if folder.parent.is_dir() else None


class Digests:
    """The digests of files, each read once as long as nothing about the file changes.

    Several threads may ask for different files.

    ``kept_in`` outlives the process. It is a cache: lost or damaged, the files are read again.
    """

    def __init__(self, kept_in: Path | None = None) -> None:
        self._kept_in = kept_in
        self._recalled: list[str] = []
        self._known: dict[str, tuple[str, str]] = {}
        self._new: dict[str, tuple[str, str]] = {}

    def recall(self, below: str) -> None:
        """Read what is kept of the files whose paths begin so."""
        self._read_kept(below)
        self._recalled.append(below)

    def _read_kept(self, below: str) -> None:
        def read(kept: sqlite3.Connection) -> None:
            bounds = (below, f"{below}\U0010ffff")
            for path, stat, digest in kept.execute(
                "SELECT path, stat, digest FROM digests WHERE path >= ? AND path < ?", bounds
            ):
                self._known[path] = (stat, digest)

        self._with_kept(read)

    def is_known(self, path: Path) -> bool:
        """Whether the digest of the file as it is has been computed or recalled. Raises OSError."""
        known = self._known.get(os.path.abspath(path))
        return known is not None and known[0] == _stat(path)

    def of(self, path: Path) -> str:
        """Return the digest of a file's bytes. Raises OSError."""
        name = os.path.abspath(path)
        if name not in self._known and not any(name.startswith(below) for below in self._recalled):
            self._read_kept(name)
        while True:
            stat = _stat(path)
            known = self._known.get(name)
            if known is not None and known[0] == stat:
                return known[1]
            digest = _digest(path)
            if _stat(path) == stat:  # else it was written to meanwhile
                self._known[name] = self._new[name] = (stat, digest)
                return digest

    def keep(self) -> None:
        """Write what was computed to where it is kept."""
        now = time.time_ns()
        settled = [
            (path, stat, digest)
            for path, (stat, digest) in self._new.items()
            if now - int(stat.split("-")[1], 16) > _RACY_NS
        ]
        self._new.clear()
        if not settled:
            return

        def write(kept: sqlite3.Connection) -> None:
            kept.executemany("INSERT OR REPLACE INTO digests VALUES (?, ?, ?)", settled)
            kept.commit()

        self._with_kept(write)

    def _with_kept(self, work: Callable[[sqlite3.Connection], None]) -> None:
        """Work on the cache; whatever is wrong with it, the files themselves are there to be read."""
        if self._kept_in is None:
            return
        with suppress(sqlite3.Error), closing(sqlite3.connect(self._kept_in, timeout=5)) as kept:
            kept.execute(_TABLE)
            work(kept)


def _stat(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_mtime_ns:x}-{stat.st_ctime_ns:x}-{stat.st_size:x}-{stat.st_ino:x}-{stat.st_dev:x}"


def _digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(_CHUNK):
            found.update(chunk)
    return found.hexdigest()[:32]
