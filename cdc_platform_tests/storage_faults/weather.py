"""Faults of catalog, files and objects, as S3 and its like have them: before an effect, after it, half of it.

:func:`storm` makes every call fail with a probability until it is over; what is called stays the real thing.
"""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, ServiceUnavailableError
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from sqlalchemy.exc import OperationalError

from cdc_platform.errors import StorageUnavailable
from cdc_platform.raw.objects import FolderObjects

Raise = Callable[[], Exception]

CATALOG_FAULTS: tuple[Raise, ...] = (
    lambda: TimeoutError("read timed out"),
    lambda: ServiceUnavailableError("503 SlowDown"),
    lambda: OperationalError("UPDATE", {}, Exception("database is locked")),
)
FILE_FAULTS: tuple[Raise, ...] = (
    lambda: OSError(errno.EIO, "Input/output error"),
    lambda: OSError("AWS Error SLOW_DOWN: please reduce your request rate"),
    lambda: TimeoutError("read timed out"),
)


def _unavailable() -> Exception:
    return StorageUnavailable("S3 refused the call: SlowDown", where="s3://lake", mend="run again")


class Storm:
    """Decides which call fails how, and counts what it did."""

    def __init__(self, random: Random, share: float) -> None:
        self.random = random
        self.share = share
        self.faults: list[str] = []

    def strikes(self, what: str) -> bool:
        """Return whether this call fails."""
        if self.random.random() >= self.share:
            return False
        self.faults.append(what)
        return True

    def around(self, what: str, faults: tuple[Raise, ...], call: Callable[[], Any]) -> Any:
        """Call, or fail before it, or after it."""
        if self.strikes(f"before {what}"):
            raise self.random.choice(faults)()
        result = call()
        if self.strikes(f"after {what}"):
            raise self.random.choice(faults)()
        if self.random.random() < self.share:
            threading.Event().wait(self.random.uniform(0, 0.005))
        return result


@contextmanager
def storm(random: Random, share: float) -> Iterator[Storm]:
    """Let catalog, files and objects fail with the probability ``share`` a call."""
    weather = Storm(random, share)
    with pytest.MonkeyPatch.context() as patch:
        _catalog(weather, patch)
        _files(weather, patch)
        _objects(weather, patch)
        yield weather


def _catalog(weather: Storm, patch: pytest.MonkeyPatch) -> None:
    for name in ("load_table", "create_namespace", "create_table"):
        _fail(weather, patch, SqlCatalog, name, CATALOG_FAULTS)
    commit = SqlCatalog.commit_table

    def committed(self: SqlCatalog, *args: Any) -> Any:
        answer = weather.around("commit", CATALOG_FAULTS, lambda: commit(self, *args))
        if weather.strikes("conflict told of a commit that landed"):
            # a client that repeats a call whose answer was lost conflicts with its own first try
            raise CommitFailedException("the version is not the current one")
        return answer

    patch.setattr(SqlCatalog, "commit_table", committed)


def _fail(
    weather: Storm, patch: pytest.MonkeyPatch, owner: Any, name: str, faults: tuple[Raise, ...]
) -> None:
    real = getattr(owner, name)

    def failing(*args: Any, **kwargs: Any) -> Any:
        return weather.around(name, faults, lambda: real(*args, **kwargs))

    patch.setattr(owner, name, failing)


def _files(weather: Storm, patch: pytest.MonkeyPatch) -> None:
    _fail(weather, patch, PyArrowFile, "open", FILE_FAULTS)
    _fail(weather, patch, PyArrowFileIO, "delete", FILE_FAULTS)
    create = PyArrowFile.create

    def created(self: PyArrowFile, overwrite: bool = False) -> Any:
        if weather.strikes("half of a file"):
            with create(self, overwrite=True) as stream:
                stream.write(b"PAR1 and then nothing")
            raise weather.random.choice(FILE_FAULTS)()
        return weather.around("create", FILE_FAULTS, lambda: create(self, overwrite=overwrite))

    patch.setattr(PyArrowFile, "create", created)


def _objects(weather: Storm, patch: pytest.MonkeyPatch) -> None:
    # what is read with its version goes through get
    for name in ("get", "put", "delete"):
        _fail(weather, patch, FolderObjects, name, (_unavailable,))
    replace, listed = FolderObjects.replace, FolderObjects.list

    def replaced(self: FolderObjects, key: str, data: bytes, expected_version: str | None) -> bool:
        if weather.strikes("conditional write refused"):
            return False
        return bool(
            weather.around("replace", (_unavailable,), lambda: replace(self, key, data, expected_version))
        )

    def stale(self: FolderObjects, prefix: str = "") -> Iterator[str]:
        if weather.strikes("listing refused"):
            raise _unavailable()
        for key in listed(self, prefix):
            if not weather.strikes("key missing in a listing"):
                yield key

    patch.setattr(FolderObjects, "replace", replaced)
    patch.setattr(FolderObjects, "list", stale)
