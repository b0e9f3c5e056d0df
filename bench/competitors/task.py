"""What a child process is asked to do, and what it answers. Imports nothing that is not everywhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

ANSWER = "ANSWER "


@dataclass(frozen=True, slots=True)
class Task:
    """One measurement: bring ``changes`` of ``kind`` into the table ``key``-``rows`` below ``workdir``."""

    workdir: str
    key: str
    rows: int
    changes: int = 0
    kind: str = "random"
    #: How many times it is timed, each time from the table as loaded.
    repeat: int = 1
    options: dict[str, Any] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return the task as the argument of a child."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Answer:
    """The seconds of each repetition; ``cold`` is the first of a fresh process where that was timed too.

    ``relation`` is SQL for DuckDB that reads the table a child left, when it is not the lake's base table.
    """

    seconds: list[float]
    cold: float | None = None
    relation: str | None = None
    #: The most that was resident, in bytes: shared libraries and pages of mapped files included.
    peak_rss: int = 0
    details: dict[str, Any] = field(default_factory=dict)


def serve(answer: Callable[[Task], Answer]) -> None:
    """Run the task of the command line and print its answer as the last line."""
    task = Task(**json.loads(sys.argv[1]))
    found = replace(answer(task), peak_rss=_peak_rss())
    print(ANSWER + json.dumps(asdict(found)), flush=True)


def timed(action: Callable[[], Any]) -> float:
    """Return the seconds ``action`` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _peak_rss() -> int:
    # not ru_maxrss: that starts from what the process which started this one had
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0
