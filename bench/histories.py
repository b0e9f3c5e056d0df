"""Thousands of random histories of a table against an oracle in plain Python, in several processes.

    .venv/bin/python bench/histories.py [--histories 10000] [--processes 2] [--first-seed 0] [--minutes 25]

Ends with the number of histories that were run and every failure, shrunk to a case to read.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Sequence
from multiprocessing.queues import Queue
from queue import Empty

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from cdc_platform_tests.histories.case import (
    Case,
    random_case,
    random_forgetful_case,
    random_indexed_case,
)
from cdc_platform_tests.histories.faults import random_quarantine_case
from cdc_platform_tests.histories.soak import failures

#: What a worker sends: one history done (None), a failure (text), or that it is through (its number).
Message = str | int | None


def main() -> int:
    """Run the histories; return 1 when one failed."""
    options = _options()
    context = multiprocessing.get_context("spawn")
    queue: Queue[Message] = context.Queue()
    stop_at = time.time() + options.minutes * 60
    workers = [
        context.Process(target=work, args=(number, options.processes, _seeds(options), stop_at, queue))
        for number in range(options.processes)
    ]
    started = time.perf_counter()
    for worker in workers:
        worker.start()
    done, told = _follow(queue, workers, options.histories)
    for worker in workers:
        worker.join()
    took = time.perf_counter() - started
    print(f"{done} histories in {took:.0f} s with {options.processes} processes, {len(told)} failed")
    return 1 if told or any(worker.exitcode for worker in workers) else 0


def work(number: int, processes: int, seeds: range, stop_at: float, queue: Queue[Message]) -> None:
    """Run every ``processes``-th seed until the time is over."""
    mine = (seed for seed in seeds[number::processes] if time.time() < stop_at)
    try:
        for failure in failures(mine, make=_case, done=lambda: queue.put(None)):
            queue.put(failure)
    finally:
        queue.put(number)


def _case(seed: int) -> Case:
    """Return the case of a seed: any order, quarantine, forgotten deletes and key indexes by turns."""
    makers = (random_case, random_quarantine_case, random_forgetful_case, random_indexed_case)
    return makers[seed % 4](seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=120)
    return parser.parse_args()


def _seeds(options: argparse.Namespace) -> range:
    return range(options.first_seed, options.first_seed + options.histories)


def _follow(
    queue: Queue[Message], workers: Sequence[multiprocessing.context.SpawnProcess], histories: int
) -> tuple[int, list[str]]:
    """Show progress until every worker is through; return how many histories ran, and the failures."""
    done, told, running = 0, list[str](), len(workers)
    columns = (TextColumn("histories"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("histories", total=histories)
        while running:
            try:
                message = queue.get(timeout=5)
            except Empty:
                # A worker that was killed says nothing any more.
                running = sum(worker.is_alive() for worker in workers)
                continue
            if message is None:
                done += 1
                progress.update(bar, completed=done)
            elif isinstance(message, str):
                told.append(message)
                progress.console.print(message, markup=False, highlight=False)
            else:
                running -= 1
    return done, told


if __name__ == "__main__":
    sys.exit(main())
