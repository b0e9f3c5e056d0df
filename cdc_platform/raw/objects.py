"""Small objects kept beside the data (manifests, batch records, quarantine), in a folder or on S3.

An :class:`ObjectStore` is a flat map from key to bytes. Keys are ``a/b/c``: no empty segment, none that
starts with a dot. Every write is atomic: a reader sees all of the old bytes or all of the new. ``replace``
and ``put_if_absent`` are compare-and-swap, across threads, processes and (on S3) machines; nothing here
relies on clocks. A version is an opaque text that changes whenever the bytes do.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from cdc_platform.errors import StateError, StorageUnavailable
from cdc_platform.raw.folders import walk_sorted


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object's bytes and the version they had when read."""

    data: bytes
    version: str


class ObjectStore(Protocol):
    """What both kinds of store can do. Raises StorageUnavailable when the place cannot be reached."""

    def get(self, key: str) -> bytes | None:
        """Return the bytes of ``key``, or None when there is no such object."""
        ...

    def read(self, key: str) -> StoredObject | None:
        """Return the bytes of ``key`` with their version, for a later ``replace``."""
        ...

    def put(self, key: str, data: bytes) -> None:
        """Write ``key``, whatever is there."""
        ...

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """Write ``key`` unless it exists; return whether it was written."""
        ...

    def replace(self, key: str, data: bytes, expected_version: str | None) -> bool:
        """Write ``key`` only while its version is ``expected_version`` (None: absent); return whether."""
        ...

    def list(self, prefix: str = "") -> Iterator[str]:
        """Yield the keys that start with ``prefix``, ascending."""
        ...

    def delete(self, key: str) -> None:
        """Remove ``key``; nothing happens when it is not there."""
        ...

    def url(self, key: str) -> str:
        """Return the absolute path or ``s3://`` URL of ``key``, for DuckDB and Arrow to read."""
        ...

    def below(self, prefix: str) -> ObjectStore:
        """Return the store whose keys are those of this one below ``prefix``."""
        ...


def open_object_store(location: str) -> ObjectStore:
    """Return the store at ``location``: a folder (made on the first write) or ``s3://bucket/prefix``."""
    if location.startswith("s3://"):
        from cdc_platform.raw.s3_objects import S3Objects

        return S3Objects(location)
    return FolderObjects(location.removeprefix("file://"))


def checked_key(key: str) -> str:
    """Return ``key``, or raise ValueError when no store could keep it."""
    if not key or any(not part or part.startswith(".") for part in key.split("/")):
        raise ValueError(f"{key!r} is not an object key: no empty segments, none that starts with a dot")
    return key


@contextmanager
def undamaged(
    objects: ObjectStore, key: str, *, mend: str = "restore the object as it was"
) -> Iterator[None]:
    """Raise StateError with the mend where what is read of the object ``key`` cannot be made sense of."""
    try:
        yield
    except (ValueError, LookupError, TypeError, AttributeError) as e:
        told = first_mistake(e) if isinstance(e, ValidationError) else e
        raise StateError(
            f"the record is damaged ({type(e).__name__}: {told})",
            where=objects.url(key),
            mend=mend,
        ) from e


def first_mistake(error: ValidationError) -> str:
    """Return where the first mistake of an object's form is, and what."""
    first = error.errors(include_url=False, include_input=False)[0]
    return ": ".join([*filter(None, [".".join(map(str, first["loc"]))]), first["msg"]])


class FolderObjects:
    """An ObjectStore in a folder. Writers of one sub-folder take turns by a lock on its ``.lock`` file."""

    def __init__(self, folder: str | Path) -> None:
        self._root = Path(folder)

    def __repr__(self) -> str:
        return f"FolderObjects({str(self._root)!r})"

    def get(self, key: str) -> bytes | None:
        path = self._path(key)
        with _storage_errors(path):
            try:
                return path.read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                return None

    def read(self, key: str) -> StoredObject | None:
        data = self.get(key)
        return None if data is None else StoredObject(data, _version(data))

    def put(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with _storage_errors(path), _locked(path.parent):
            _write(path, data)

    def put_if_absent(self, key: str, data: bytes) -> bool:
        return self.replace(key, data, None)

    def replace(self, key: str, data: bytes, expected_version: str | None) -> bool:
        path = self._path(key)
        with _storage_errors(path), _locked(path.parent):
            now = self.read(key)
            if (now.version if now else None) != expected_version:
                return False
            _write(path, data)
        return True

    def list(self, prefix: str = "") -> Iterator[str]:
        with _storage_errors(self._root):
            for key, _ in walk_sorted(self._root, prefix):
                if not any(part.startswith(".") for part in key.split("/")):
                    yield key

    def delete(self, key: str) -> None:
        path = self._path(key)
        with _storage_errors(path):
            path.unlink(missing_ok=True)

    def url(self, key: str) -> str:
        return str(self._path(key).absolute())

    def below(self, prefix: str) -> FolderObjects:
        return FolderObjects(self._path(prefix.rstrip("/")))

    def _path(self, key: str) -> Path:
        return self._root / checked_key(key)


def _version(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)  # closing releases the lock, also when the process dies


def _write(path: Path, data: bytes) -> None:
    # Writers of the folder take turns, so one name does: what a killed one left is written over by the next.
    temporary = path.parent / f".writing-{platform.node()}.tmp"
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, must outlast a crash
    finally:
        os.close(folder)


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageUnavailable(
            f"cannot read or write here: {error.strerror or error}",
            where=str(path),
            mend="check that the folder exists, has space, and may be written by this user",
        ) from error
