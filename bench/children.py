"""Running one measurement in a process of its own, and how much memory it came to.

Peak memory is told twice: what the kernel counted as resident (``VmHWM`` of the process that answers; shared
libraries and pages of mapped files included), and the anonymous part alone (``RssAnon``), which is what the
program asked for, summed over the process and its children (Spark's JVM), sampled 20 times a second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil  # type: ignore[import-untyped]

from bench.competitors.task import ANSWER, Answer, Task

ROOT = Path(__file__).resolve().parents[1]
#: The environment of competitors that are no dependency of the product, see ``make bench-env``.
OTHER_PYTHON = Path(os.environ.get("CDC_BENCH_PYTHON", ROOT / ".venv-bench" / "bin" / "python"))
_SAMPLE_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a child: its answer, or why there is none."""

    answer: Answer | None
    failure: str | None
    wall_seconds: float
    peak_anonymous: int


def run_child(module: str, task: Task, *, python: Path | None = None, timeout: float = 3600) -> Outcome:
    """Run ``python -m module`` on ``task``; its own errors are told, not raised."""
    program = python or Path(sys.executable)
    if not program.exists():
        return Outcome(None, "not installed: run `make bench-env`", 0, 0)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TZ": "UTC"}
    started = time.perf_counter()
    with subprocess.Popen(
        [str(program), "-m", module, task.to_json()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=environment,
        start_new_session=True,
    ) as child:
        watch = _Watch(child.pid, timeout)
        assert child.stdout is not None
        assert child.stderr is not None
        errors = _Drain(child.stderr)
        output = child.stdout.read()
        child.wait()
        watch.end()
        failure = _failure(child.returncode, errors.text(), watch.has_killed, timeout)
    lines = [line for line in output.splitlines() if line.startswith(ANSWER)]
    answer = Answer(**json.loads(lines[-1].removeprefix(ANSWER))) if lines and not failure else None
    wall = time.perf_counter() - started
    return Outcome(answer, failure, wall, watch.peak)


def _failure(code: int, errors: str, is_late: bool, timeout: float) -> str | None:
    if is_late:
        return f"not finished after {timeout:.0f} s"
    if code:
        last = [line for line in errors.strip().splitlines() if line.strip()] or [f"exit code {code}"]
        how = f"ended by signal {-code}: " if code < 0 else ""
        return f"{how}{last[-1].strip()}"[:500]
    return None


class _Drain(threading.Thread):
    """Reads a pipe to its end, so that the writer never waits."""

    def __init__(self, stream: IO[str]) -> None:
        super().__init__(daemon=True)
        self._stream, self._text = stream, ""
        self.start()

    def run(self) -> None:
        self._text = self._stream.read()

    def text(self) -> str:
        """Return all that was read."""
        self.join()
        return self._text


class _Watch(threading.Thread):
    """Samples the anonymous memory of a process and its children, and kills them when they take too long."""

    def __init__(self, pid: int, timeout: float) -> None:
        super().__init__(daemon=True)
        self._pid, self._timeout = pid, timeout
        self._ended = threading.Event()
        self.peak = 0
        self.has_killed = False
        self.start()

    def run(self) -> None:
        deadline = time.monotonic() + self._timeout
        while not self._ended.wait(_SAMPLE_SECONDS):
            self.peak = max(self.peak, _anonymous(self._pid))
            if time.monotonic() > deadline:
                self.has_killed = True
                os.killpg(self._pid, signal.SIGKILL)
                return

    def end(self) -> None:
        """Stop sampling."""
        self._ended.set()
        self.join()


def _anonymous(pid: int) -> int:
    try:
        members = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0
    return sum(map(_anonymous_of, members))


def _anonymous_of(pid: int) -> int:
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
    except OSError:
        return 0
    return 0
