"""Background processes by their identity: a pid alone may by now belong to a stranger."""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

#: The start time a process tells may move by the clock's corrections, never by this much.
_DRIFT_SECONDS = 5.0

#: Children of this process, kept so that they are reaped when they end.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True, slots=True)
class ServiceProcess:
    """A service as its file tells: which process it is, and where it answers."""

    pid: int
    started_at: float
    url: str

    def is_alive(self) -> bool:
        """Return whether this very process still runs: same pid and same start."""
        import psutil  # type: ignore[import-untyped]

        with suppress(psutil.Error):
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.started_at) < _DRIFT_SECONDS
            return bool(is_same and process.status() != psutil.STATUS_ZOMBIE)
        return False

    def end(self, timeout_seconds: float) -> bool:
        """Ask it to end, in the end force it; return whether it was alive. A stranger is left alone."""
        import psutil

        if not self.is_alive():
            return False
        with suppress(psutil.NoSuchProcess):
            process = psutil.Process(self.pid)
            process.terminate()
            try:
                _wait(process, timeout_seconds)
            except psutil.TimeoutExpired:
                process.kill()
                _wait(process, timeout_seconds)
        return True


def _wait(process: Any, timeout_seconds: float) -> None:
    import psutil

    child = _children.pop(process.pid, None)
    if child is None:
        process.wait(timeout_seconds)
        return
    try:
        child.wait(timeout_seconds)
    except subprocess.TimeoutExpired as fault:
        _children[process.pid] = child
        raise psutil.TimeoutExpired(timeout_seconds, process.pid) from fault


def this_process(url: str) -> ServiceProcess:
    """Return the identity of the calling process."""
    import psutil

    return ServiceProcess(os.getpid(), psutil.Process().create_time(), url)


def spawn(arguments: list[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that outlives this one, with its output appended to ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    with os.fdopen(descriptor, "ab") as output:
        child = subprocess.Popen(
            arguments, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    _children[child.pid] = child
    return child


def write_process_file(file: Path, process: ServiceProcess) -> None:
    """Write the file that tells of the process."""
    write_private(file, json.dumps(asdict(process)))


def write_private(file: Path, text: str) -> None:
    """Write a file whole or not at all, readable by the owner only."""
    draft = file.with_name(f"{file.name}.new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        output.write(text)
    draft.replace(file)


def read_process_file(file: Path) -> ServiceProcess | None:
    """Return what the file tells; None when there is none, or it was torn by a crash."""
    try:
        told = json.loads(file.read_text())
        return ServiceProcess(int(told["pid"]), float(told["started_at"]), str(told["url"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
