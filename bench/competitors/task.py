"""What a child process is asked to do, and what it answers. Imports nothing that is not everywhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
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
    details: dict[str, Any] = field(default_factory=dict)


def serve(answer: Callable[[Task], Answer]) -> None:
    """Run the task of the command line and print its answer as the last line."""
    task = Task(**json.loads(sys.argv[1]))
    print(ANSWER + json.dumps(asdict(answer(task))), flush=True)


def timed(action: Callable[[], Any]) -> float:
    """Return the seconds ``action`` takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started
