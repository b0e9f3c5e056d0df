"""Results as committed JSON: the machine, and one entry per measurement, replaced when measured again.

Each entry says in which run it was measured. Ratios are told only between entries of one run.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]

FOLDER = Path(__file__).resolve().parent / "results"
_MADE_HERE = (":!bench/results", ":!docs/performance.md")
_PACKAGES = ("cdc-platform", "duckdb", "pyarrow", "pyiceberg", "pyspark")

Entry = dict[str, Any]


class Results:
    """The entries of one script, kept in ``folder/<name>.json`` and written after each."""

    def __init__(self, name: str, *, folder: Path = FOLDER, run: str | None = None) -> None:
        self.path = folder / f"{name}.json"
        there = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.entries: list[Entry] = there.get("entries", [])
        self.run = run or f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"

    def last_run(self) -> str | None:
        """Return the name of the newest run that has entries."""
        return max((entry["run"] for entry in self.entries), default=None)

    def has(self, **what: Any) -> bool:
        """Whether this run measured ``what`` already, without a failure."""
        return any(
            entry["run"] == self.run
            and "failure" not in entry
            and all(entry.get(name) == value for name, value in what.items())
            for entry in self.entries
        )

    def add(self, what: Mapping[str, Any], measured: Mapping[str, Any]) -> Entry:
        """Put an entry in the place of the last one of ``what``, and write the file."""
        entry = {
            **what,
            **measured,
            "run": self.run,
            "commit": commit(),
            "measured_at": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
            "load_average": round(os.getloadavg()[0], 2),
        }
        kept = [one for one in self.entries if any(one.get(name) != value for name, value in what.items())]
        self.entries = [*kept, entry]
        self.write()
        return entry

    def write(self) -> None:
        """Write the file whole."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps({"machine": machine(), "entries": self.entries}, indent=1) + "\n")
        partial.replace(self.path)


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that decide its speed."""
    models = {
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    }
    return {
        "cpu": ", ".join(sorted(models)) or platform.processor(),
        "cores": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "kernel": platform.release(),
        "python": platform.python_version(),
        **{name: version for name in _PACKAGES if (version := _version(name))},
    }


def commit() -> str:
    """Return the commit that is measured, marked when tracked files other than results differ from it."""
    changed = _git("status", "--porcelain", "--untracked-files=no", "--", ".", *_MADE_HERE)
    return f"{_git('rev-parse', '--short', 'HEAD') or 'unknown'}{'-dirty' if changed else ''}"


def _git(*arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=FOLDER.parents[1], capture_output=True, text=True, check=False
    )
    return done.stdout.strip()


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
