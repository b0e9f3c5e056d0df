"""Random lives of tables, kept up and rolled back, read through every reader at every snapshot that is left.

    .venv/bin/python -m bench.readers [--histories 200] [--first-seed 0] [--minutes 60]

pyiceberg, DuckDB's iceberg_scan, our two readers and one warm Spark session must show the rows and types that
the oracle expects: of the table as each expiry, clean-up and rollback leaves it, and of all its snapshots in
the end. The sum is in ``bench/results/readers.json`` after every ten histories; a failure is shrunk and told.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.results import Results
from cdc_platform.lake.catalog import Lake
from cdc_platform.spark.session import spark_session, stop_session
from cdc_platform_tests.histories.afterwards import OF_THE_PAST
from cdc_platform_tests.histories.case import Case, random_case, random_forgetful_case, random_indexed_case
from cdc_platform_tests.histories.lakes import quick_lake, quick_reader
from cdc_platform_tests.histories.readers import Reader, check_case, readers
from cdc_platform_tests.histories.run import Read
from cdc_platform_tests.histories.show import shown
from cdc_platform_tests.histories.shrink import shrink
from cdc_platform_tests.histories.upkept import random_upkept_case

#: Every other table is rolled back, expired and cleaned between its merges.
_MAKERS = (random_upkept_case, random_case, random_upkept_case, random_forgetful_case) * 2 + (
    random_upkept_case,
    random_indexed_case,
)
_SAVE_EVERY = 10
#: Runs of smaller cases when one fails: each is read through every reader as well.
_TRIES = 60


class ReaderBench:
    """Cases in one lake, read by readers that stay open."""

    def __init__(self, lake: Lake, read: Read, by_name: dict[str, Reader]) -> None:
        self._lake, self._read, self._by_name = lake, read, by_name
        self.histories = 0
        self.snapshots = 0
        self.turns: Counter[str] = Counter()
        self.failures: list[str] = []

    def take(self, seed: int) -> None:
        """Run the case of a seed; keep how it failed."""
        case = _MAKERS[seed % len(_MAKERS)](seed)
        error = self._run(case)
        if error is not None:
            small = shrink(case, lambda smaller: type(self._run(smaller)) is type(error), tries=_TRIES)
            self.failures.append(f"seed {seed}\n{shown(small)}\n{type(error).__name__}: {error}")
        self.histories += 1
        self.turns.update(step.then for step in case.steps if step.then in (*OF_THE_PAST, "compact"))

    def _run(self, case: Case) -> Exception | None:
        try:
            self.snapshots += check_case(self._lake, case, self._read, self._by_name)
        except Exception as e:
            return e
        return None

    def entry(self) -> dict[str, Any]:
        """Return what was done so far."""
        return {
            "histories": self.histories,
            "snapshots_read": self.snapshots,
            "readers": list(self._by_name),
            "turns": dict(self.turns),
            "failures": self.failures,
        }


def main() -> int:
    """Run the histories; return 1 when one failed."""
    options = _options()
    results, what = Results("readers"), {"histories_wanted": options.histories}
    started = time.monotonic()
    seeds = range(options.first_seed, options.first_seed + options.histories)
    with quick_lake() as lake:
        session = spark_session(lake.config)
        with quick_reader(lake) as read, readers(lake, session) as by_name, _progress() as progress:
            bench = ReaderBench(lake, read, by_name)
            bar = progress.add_task("histories", total=len(seeds))
            for seed in seeds:
                if time.monotonic() > started + options.minutes * 60:
                    break
                bench.take(seed)
                progress.advance(bar)
                if bench.histories % _SAVE_EVERY == 0 or bench.histories == len(seeds):
                    seconds = round(time.monotonic() - started)
                    results.add(what, {**bench.entry(), "first_seed": options.first_seed, "seconds": seconds})
        stop_session(session)
    for failure in bench.failures:
        print(failure)
    print(f"{bench.histories} histories, {bench.snapshots} snapshots, {len(bench.failures)} failures")
    return 1 if bench.failures or bench.histories < len(seeds) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=200)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=60, help="start no further history after so long")
    return parser.parse_args()


def _progress() -> Progress:
    return Progress(TextColumn("histories"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())


if __name__ == "__main__":
    sys.exit(main())
