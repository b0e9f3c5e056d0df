"""Where the engine spills to: a folder of each workspace's own, below one of this process.

DuckDB names its spill files alike in every process, so two that share a folder overwrite each other's pages
and crash. What a killed process left behind is removed by the next one that starts to work there: each holds
a lock on its folder for as long as it lives, and the system lets go of it whatever ends the process.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import secrets
import shutil
import threading
from pathlib import Path

_PREFIX = "process-"
_LOCK = ".lock"

#: (process, base folder) → the process's folder and the descriptor that holds its lock.
_mine: dict[tuple[int, Path], tuple[Path, int]] = {}
_guard = threading.Lock()
_numbers = itertools.count(1)


def workspace_folder(base: Path) -> Path:
    """Return the path of a new spill folder below ``base``, which nobody else uses.

    The engine makes it when it spills first and removes it with the workspace.
    """
    with _guard:
        key = (os.getpid(), base.absolute())
        folder = _mine.get(key)
        if folder is None or not folder[0].is_dir():
            _remove_left_over(base)
            folder = _mine[key] = _claim(base)
        return folder[0] / str(next(_numbers))


def _claim(base: Path) -> tuple[Path, int]:
    """Make this process's folder below ``base``, locked."""
    while True:
        folder = base / f"{_PREFIX}{secrets.token_hex(6)}"
        lock = base / f"{folder.name}{_LOCK}"
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        # one that cleaned up may have taken the new, not yet locked file for a left-over
        if lock.exists() and os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
            folder.mkdir()
            return folder, descriptor
        os.close(descriptor)


def _remove_left_over(base: Path) -> None:
    """Remove the folders of processes that are gone."""
    for lock in base.glob(f"{_PREFIX}*{_LOCK}"):
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(lock.with_name(lock.name.removesuffix(_LOCK)), ignore_errors=True)
            lock.unlink(missing_ok=True)
        except BlockingIOError:
            continue
        finally:
            os.close(descriptor)
