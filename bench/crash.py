"""Kill merges, maintenance, rollbacks and publications thousands of times and count what was lost.

    .venv/bin/python -m bench.crash [--kills 2000] [--processes 2] [--minutes 60] [--resume] [--folder …]
                                  [--shapes held,held-new]

Each process works in lakes of its own; every few kills are followed by a look at the table, a restart that
merges the same again, and another look. The sums are in ``bench/results/crash.json`` after every hundred
kills; ``--resume`` goes on from there. A failure is kept with its seed, and the rest goes on.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.results import Results
from cdc_platform_tests.crash.shapes import SHAPES

_A_TIME = 100
ALL = ",".join(shape.name for shape in SHAPES)
_COUNTS = ("kills", "random_kills", "rounds", "orphans_removed", "snapshots_read")


@dataclass
class Sums:
    """What all runs together did."""

    counts: Counter[str] = field(default_factory=Counter)
    maintenance: Counter[str] = field(default_factory=Counter)
    points: Counter[str] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0
    next_seed: int = 1

    @classmethod
    def of(cls, entry: dict[str, Any]) -> Sums:
        """Return the sums an entry of the results tells."""
        counts = Counter({name: entry[name] for name in _COUNTS})
        kinds = Counter(entry["maintenance"]), Counter(entry["points"])
        return cls(counts, *kinds, entry["failures"], entry["seconds"], entry["next_seed"])

    def take(self, seed: int, report: dict[str, Any] | str) -> None:
        """Add what one run reported, or how it failed."""
        self.next_seed = max(self.next_seed, seed + 1)
        if isinstance(report, str):
            self.failures.append(f"seed {seed}: {report}")
            return
        self.counts.update({name: report[name] for name in _COUNTS})
        self.maintenance.update(report["maintenance"])
        self.points.update(report["points"])

    def entry(self) -> dict[str, Any]:
        """Return them as an entry's values."""
        return {
            **{name: self.counts[name] for name in _COUNTS},
            "maintenance": dict(self.maintenance),
            "seconds": round(self.seconds),
            "next_seed": self.next_seed,
            "failures": self.failures,
            "points": dict(self.points.most_common()),
        }


def main() -> int:
    """Run it; return 1 when a run failed."""
    options = _options()
    results = Results("crash")
    # the kinds of tables are told where they are not all
    what = {"kills_wanted": options.kills} | ({} if options.shapes == ALL else {"shapes": options.shapes})
    there = [one for one in results.entries if what.items() <= one.items()]
    sums = Sums.of(there[0]) if options.resume and there else Sums()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cdc-crash-"))
    started, before = time.monotonic(), sums.seconds
    try:
        for seed, report in _reports(folder, options, sums):
            sums.take(seed, report)
            sums.seconds = before + time.monotonic() - started
            results.add(what, {"processes": options.processes, **sums.entry()})
            print(
                f"{sums.seconds / 60:.1f} min: {sums.counts['kills']} of {options.kills} kills, "
                f"{sum(sums.maintenance.values())} in upkeep, {sums.counts['rounds']} restarts, "
                f"{len(sums.failures)} failures",
                flush=True,
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    for failure in sums.failures:
        print(failure)
    return 1 if sums.failures else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=2_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--minutes", type=float, default=120, help="start no further run after so long")
    parser.add_argument("--resume", action="store_true", help="go on from the results that are there")
    parser.add_argument(
        "--shapes", default=ALL, help="the kinds of tables, see cdc_platform_tests/crash/shapes.py"
    )
    parser.add_argument(
        "--folder", type=Path, default=None, help="default: a temporary one, removed at the end"
    )
    return parser.parse_args()


def _reports(folder: Path, options: argparse.Namespace, sums: Sums) -> Any:
    """Yield (seed, report or failure) of run after run, until there are kills enough or time is over."""
    stop_at = time.monotonic() + options.minutes * 60
    seeds = itertools.count(sums.next_seed)
    running: dict[Future[dict[str, Any] | str], tuple[int, int]] = {}
    with ThreadPoolExecutor(options.processes) as pool:
        while True:
            planned = sums.counts["kills"] + sum(kills for _, kills in running.values())
            while len(running) < options.processes and planned < options.kills and time.monotonic() < stop_at:
                seed, kills = next(seeds), min(_A_TIME, options.kills - planned)
                running[pool.submit(_run, folder / str(seed), seed, kills, options.shapes)] = seed, kills
                planned += kills
            if not running or len(sums.failures) > 10:
                return
            for done in wait(running, return_when=FIRST_COMPLETED).done:
                yield running.pop(done)[0], done.result()


def _run(folder: Path, seed: int, kills: int, shapes: str) -> dict[str, Any] | str:
    """Return the report of one run of the harness, or what it ended with."""
    command = [sys.executable, "-m", "cdc_platform_tests.crash.harness", str(folder), "--seed", str(seed)]
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, "--kills", str(kills), "--shapes", shapes],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    shutil.rmtree(folder, ignore_errors=True)
    if done.returncode:
        return done.stderr[-6_000:]
    report: dict[str, Any] = json.loads(done.stdout)
    return report


if __name__ == "__main__":
    sys.exit(main())
