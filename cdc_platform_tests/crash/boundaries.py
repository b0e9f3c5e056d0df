"""Every point at which a process that merges can die, counted, and a way to die at the n-th.

The boundaries are wrapped from outside, in the process that is to die: pyiceberg's files (before, half
written, after), renames, unlinks and the flushes of the object store, and the catalog's calls. A file that is
half written when the process dies really is half on the disk.
"""

from __future__ import annotations

import os
import re
import signal
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from sqlalchemy import Engine, event

from cdc_platform.lake import publishing, schema
from cdc_platform_tests.crash.shapes import HOLD_BACK, LET_GO


class Points:
    """Counts the points passed; kills this process at number ``fatal``, or at the first of that label.

    None kills at none.
    """

    def __init__(self, fatal: int | str | None, told: int) -> None:
        self._fatal = fatal
        self._told = told
        self._within = ""
        self.passed: list[str] = []

    def reach(self, label: str, last_deed: Callable[[], object] | None = None) -> None:
        """Pass a point; when it is the fatal one, do ``last_deed`` and die."""
        label = f"{self._within}{label}"
        self.passed.append(label)
        if self._fatal in (len(self.passed), label):
            if last_deed is not None:
                last_deed()
            self._die(label)

    @contextmanager
    def within(self, what: str) -> Iterator[None]:
        """Let the points passed meanwhile say what they are a part of."""
        self._within = f"{what}: "
        try:
            yield
        finally:
            self._within = ""

    def _die(self, label: str) -> NoReturn:
        os.write(self._told, label.encode())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("unreachable")


def kind_of(path: str) -> str:
    """Return what a file of a lake is, by its name."""
    name = path.rpartition("/")[2]
    for folder in ("quarantine", "batches", "tombstones"):
        if f"/{folder}/" in path:
            return f"{folder} object"
    if name.endswith(".metadata.json"):
        return "table metadata"
    if name.startswith("snap-"):
        return "manifest list"
    if re.search(r"-m\d+\.avro$", name):
        return "manifest"
    if ".keys" in name:
        return "key index"
    if name.endswith("-deletes.parquet"):
        return "delete file"
    return "data file" if name.endswith(".parquet") else "other file"


def wrap(points: Points) -> None:
    """Wrap every boundary of this process. Not undone: the process is to die or to end."""
    _wrap_files(points)
    _wrap_system_calls(points)
    event.listen(Engine, "commit", lambda connection: points.reach("before commit of the catalog's database"))
    for name in ("create_namespace", "create_table", "commit_table"):
        _around(points, SqlCatalog, name, lambda *a, name=name: f"catalog {name}")
    _wrap_part(points, publishing, "hold_back", HOLD_BACK)
    _wrap_part(points, publishing, "let_go", LET_GO)
    # of a table that is made
    _wrap_part(points, schema, "hold_back", HOLD_BACK)


def _wrap_part(points: Points, module: ModuleType, name: str, what: str) -> None:
    """Let the points of a function of ours be told from the others."""
    real = getattr(module, name)

    def wrapped(*args: Any) -> Any:
        with points.within(what):
            return real(*args)

    setattr(module, name, wrapped)


def _around(points: Points, owner: Any, name: str, label: Callable[..., str]) -> None:
    real = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        what = label(*args)
        points.reach(f"before {what}")
        result = real(*args, **kwargs)
        points.reach(f"after {what}")
        return result

    setattr(owner, name, wrapped)


class _Stream:
    """A file that is written when it is closed, so that a half of it can be."""

    def __init__(self, points: Points, file: PyArrowFile, create: Callable[..., Any]) -> None:
        self._points = points
        self._file = file
        self._create = create
        self._data = bytearray()
        self.closed = False

    def write(self, data: Any) -> int:
        view = memoryview(data)
        self._data += view
        return view.nbytes

    def tell(self) -> int:
        return len(self._data)

    def flush(self) -> None:
        """Nothing is on the disk before the end."""

    def close(self) -> None:
        if self.closed:
            return
        self.closed = True
        what = kind_of(self._file.location)
        self._points.reach(f"half of {what}", lambda: self._write(len(self._data) // 2))
        self._write(len(self._data))
        self._points.reach(f"after {what}")

    def _write(self, size: int) -> None:
        with self._create(self._file, overwrite=True) as real:
            real.write(bytes(self._data[:size]))

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def _wrap_files(points: Points) -> None:
    create = PyArrowFile.create

    def wrapped(self: PyArrowFile, overwrite: bool = False) -> Any:
        points.reach(f"before {kind_of(self.location)}")
        return _Stream(points, self, create)

    PyArrowFile.create = wrapped  # type: ignore[method-assign]
    _around(points, PyArrowFileIO, "delete", lambda io, at: f"deletion of a {kind_of(str(at))}")


def _wrap_system_calls(points: Points) -> None:
    flush = os.fsync

    def wrapped(descriptor: Any) -> None:
        status = os.fstat(descriptor)
        if stat.S_ISREG(status.st_mode):
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            points.reach(
                f"half of {kind_of(str(path))}", lambda: os.ftruncate(descriptor, status.st_size // 2)
            )
        flush(descriptor)

    os.fsync = wrapped  # type: ignore[assignment]
    _wrap_unflushed(points)
    for name in ("replace", "rename", "unlink"):
        _around(points, os, name, lambda at, *a, name=name: f"{name} of a {kind_of(str(at))}")


def _wrap_unflushed(points: Points) -> None:
    """Let key indexes, which are written without a flush, be half written as well."""
    replace = os.replace

    def wrapped(path: Any, *args: Any, **kwargs: Any) -> None:
        if kind_of(str(path)) == "key index":
            points.reach("half of key index", lambda: os.truncate(path, os.path.getsize(path) // 2))
        replace(path, *args, **kwargs)

    os.replace = wrapped  # type: ignore[assignment]
