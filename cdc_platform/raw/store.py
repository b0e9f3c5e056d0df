"""The raw location of a source: listing what DMS left there and opening one file of it.

A listing is in ascending order of keys, recursive, all pages, and leaves out what is not a raw file: hidden
and temporary names (``.…``, ``_tmp…``, also of folders), folder markers, and DMS's own control folders
(``awsdms_…``, ``s3_validation_failures``). A file is opened as the version that was listed: when it has gone
or was replaced since, RawFileVanished is raised and nothing is read. Files are never written here.
What a version is, :mod:`cdc_platform.raw.versions` says.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import pyarrow as pa

from cdc_platform.config.model import PlatformConfig, RawOptions
from cdc_platform.errors import RawFileVanished, StorageUnavailable, UnreadableRawFile
from cdc_platform.raw.files import RawFile
from cdc_platform.raw.folders import sorted_entries, walk_sorted
from cdc_platform.raw.versions import (
    Digests,
    content_of,
    digests_file,
    is_by_time,
    is_version,
    modified_at,
    version_by_time,
)

_CONTROL_FOLDERS = ("awsdms_", "s3_validation_failures")


#: Files that are read at once while they are listed, and how many bytes make that worth while.
_READERS = 4
_LARGE = 4 << 20

#: Returns a file as it is listed, None when it has gone meanwhile.
_Look = Callable[[], RawFile | None]


@dataclass(frozen=True, slots=True)
class Children:
    """What lies directly below a prefix: names of folders (no slash) and the files."""

    folders: tuple[str, ...]
    files: tuple[RawFile, ...]


class RawStore(Protocol):
    """Read access to a raw location. Raises StorageUnavailable when it cannot be reached."""

    @property
    def location(self) -> str:
        """The folder or ``s3://`` URL."""
        ...

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[RawFile]:
        """Yield the files whose keys start with ``prefix``, ascending, after ``start_after``.

        ``list("public/orders/")`` reads no other table's folder.
        """
        ...

    def children(self, prefix: str = "") -> Children:
        """Return what lies directly below ``prefix`` ('' or ending with ``/``), without going deeper."""
        ...

    def open(self, file: RawFile) -> pa.NativeFile:
        """Open ``file`` as it was listed. Raises RawFileVanished, or UnreadableRawFile when refused."""
        ...

    def is_there(self, file: RawFile) -> bool:
        """Return whether this version of ``file`` is what is there now."""
        ...


def open_raw_store(config: PlatformConfig, raw: RawOptions) -> RawStore:
    """Return the store of ``raw.location``; a relative folder starts at the configuration's folder."""
    location = config.path_of(raw.location)
    if location.startswith("s3://"):
        from cdc_platform.raw.s3_store import S3RawStore

        return S3RawStore(location)
    return FolderRawStore(location.removeprefix("file://"), digests_file(config))


def is_raw_object(key: str) -> bool:
    """Return whether ``key`` can be a raw file: no marker, nothing hidden, temporary or of DMS's control."""
    if key.endswith(("/", "_$folder$")):
        return False
    return not any(part.startswith((".", "_tmp", *_CONTROL_FOLDERS)) for part in key.split("/"))


def _in_turn(looks: Iterable[_Look]) -> Iterator[RawFile | None]:
    """Yield what ``looks`` return, in their order, taking some of them ahead."""
    ahead: deque[_Look] = deque()
    for look in looks:
        ahead.append(look)
        if len(ahead) > _READERS:
            yield ahead.popleft()()
    while ahead:
        yield ahead.popleft()()


#: What is said of a version that is not there; such a file may come back.
GONE = "the file was listed and has gone or was replaced since"


def vanished(file: RawFile, location: str) -> RawFileVanished:
    """Return the error for a file that is not there any more as it was listed."""
    return RawFileVanished(
        GONE,
        where=f"{location.rstrip('/')}/{file.key}",
        mend="take in again, which finds it if it is put back; if it was deleted before it was merged (a "
        "truncated or reloaded table does that), reload the table",
    )


def refused(file: RawFile, location: str, reason: str) -> UnreadableRawFile:
    """Return the error for one object that may not be read."""
    return UnreadableRawFile(
        f"reading the file is refused: {reason}",
        where=f"{location.rstrip('/')}/{file.key}",
        mend="grant read access to the object (and use of its KMS key), then release it from quarantine",
    )


class FolderRawStore:
    """Raw files in a folder. A version is the file's content, read once."""

    def __init__(self, folder: str | Path, digests: Path | None = None) -> None:
        """``digests`` keeps what was computed of the files; None: as long as this store lives."""
        self._root = Path(folder)
        self._digests = Digests(digests)

    def __repr__(self) -> str:
        return f"FolderRawStore({str(self._root)!r})"

    @property
    def location(self) -> str:
        return str(self._root)

    def list(self, prefix: str = "", *, start_after: str | None = None) -> Iterator[RawFile]:
        self._check_root()
        self._digests.recall(os.path.abspath(self._root / prefix))
        with self._storage_errors(), ThreadPoolExecutor(_READERS) as readers:
            try:
                entries = walk_sorted(self._root, prefix, start_after or "")
                looks = (self._look(key, entry, readers) for key, entry in entries if is_raw_object(key))
                yield from filter(None, _in_turn(looks))
            finally:
                self._digests.keep()

    def children(self, prefix: str = "") -> Children:
        self._check_root()
        with self._storage_errors():
            entries = sorted_entries(self._root / prefix, prefix)
            folders = [key.removesuffix("/") for key, _ in entries if key.endswith("/")]
            found = [self._listed(key, entry) for key, entry in entries if is_raw_object(key)]
        return Children(
            tuple(key.removeprefix(prefix) for key in folders if is_raw_object(key)),
            tuple(file for file in found if file is not None),
        )

    def open(self, file: RawFile) -> pa.NativeFile:
        path = self._root / file.key
        try:
            stream = pa.OSFile(str(path), "rb")
            if self._is(path, file):
                return stream
            stream.close()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except PermissionError as error:
            raise refused(file, self.location, "permission denied") from error
        except OSError as error:
            raise StorageUnavailable(
                f"the file cannot be opened: {error.strerror or error}",
                where=str(path),
                mend="see that the disk or share answers and files may be opened, then run again",
            ) from error
        raise vanished(file, self.location)

    def is_there(self, file: RawFile) -> bool:
        with self._storage_errors():
            try:
                return self._is(self._root / file.key, file)
            except (FileNotFoundError, NotADirectoryError):
                return False

    def _is(self, path: Path, file: RawFile) -> bool:
        stat = path.stat()
        if is_by_time(file.etag):
            now = RawFile(file.key, stat.st_size, version_by_time(stat), modified_at(stat))
            return is_version(file.etag, file.last_modified, now)
        return stat.st_size == file.size and self._digests.of(path) == content_of(file.etag)

    def _look(self, key: str, entry: os.DirEntry[str], readers: ThreadPoolExecutor) -> _Look:
        """Return what lists a file; one that has to be read for it, and is large, is read from now on."""
        with suppress(OSError):
            if entry.stat().st_size >= _LARGE and not self._digests.is_known(Path(entry.path)):
                return readers.submit(self._listed, key, entry).result
        return partial(self._listed, key, entry)

    def _listed(self, key: str, entry: os.DirEntry[str]) -> RawFile | None:
        try:
            stat = entry.stat()
            try:
                etag = self._digests.of(Path(entry.path))
            except OSError as error:
                if isinstance(error, FileNotFoundError):
                    raise
                etag = version_by_time(stat)  # reading it in earnest tells what is wrong with it
        except FileNotFoundError:
            return None  # gone between the listing and the look: as if it had not been listed
        return RawFile(key, stat.st_size, etag, modified_at(stat))

    def _check_root(self) -> None:
        if not self._root.is_dir():
            raise StorageUnavailable(
                "the raw folder does not exist",
                where=str(self._root),
                mend="correct `raw.location` in cdc.yaml, mount the folder, or create it empty",
            )

    @contextmanager
    def _storage_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StorageUnavailable(
                f"the raw folder cannot be listed: {error.strerror or error}",
                where=str(error.filename or self._root),
                mend="let this user read the folder and everything below it",
            ) from error
