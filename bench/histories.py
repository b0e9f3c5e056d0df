"""Thousands of random histories of a table against an oracle in plain Python, in several processes.

    .venv/bin/python -m bench.histories [--histories 10000] [--processes 2] [--minutes 60] [--resume]

Ends with the number of histories that were run and every failure, shrunk to a case to read; both are in
``bench/results/histories.json`` after every hundred histories, and ``--resume`` goes on from there.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.queues import Queue
from queue import Empty
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.results import Results
from cdc_platform_tests.histories.case import (
    Case,
    random_case,
    random_forgetful_case,
    random_indexed_case,
)
from cdc_platform_tests.histories.faults import random_quarantine_case
from cdc_platform_tests.histories.soak import failures
from cdc_platform_tests.histories.upkept import random_upkept_case

_SET_DEATH_SIGNAL = 1

#: What a worker sends: one history done (None), a failure (text), or that it is through (its number).
Message = str | int | None


def main() -> int:
    """Run the histories; return 1 when one failed."""
    options = _options()
    results, what = Results("histories"), {"histories_wanted": options.histories}
    there = [one for one in results.entries if one.get("histories_wanted") == options.histories]
    tally = Tally(0, options.first_seed, [])
    if options.resume and there:
        tally = Tally(there[0]["histories"], there[0]["next_seed"], there[0]["failures"], there[0]["seconds"])
    context = multiprocessing.get_context("spawn")
    queue: Queue[Message] = context.Queue()
    left = options.histories - tally.histories
    seeds = Seeds(context.Value("q", tally.next_seed), tally.next_seed + left)
    stop_at = time.time() + options.minutes * 60
    workers = [
        context.Process(target=work, args=(number, seeds, stop_at, queue))
        for number in range(options.processes)
    ]
    for worker in workers:
        worker.start()

    def save() -> None:
        results.add(what, {"processes": options.processes, **vars(tally)})

    _follow(queue, workers, options.histories, tally, save)
    for worker in workers:
        worker.join()
    tally.next_seed = seeds.counter.value
    save()
    print(f"{tally.histories} histories in {tally.seconds:.0f} s, {len(tally.failures)} failed")
    return 1 if tally.failures or any(worker.exitcode for worker in workers) else 0


@dataclass
class Tally:
    """What was run so far; every seed below the next was, or is under way."""

    histories: int
    next_seed: int
    failures: list[str]
    seconds: float = 0.0


@dataclass(frozen=True)
class Seeds:
    """Seeds that several processes share, each taken by one of them."""

    counter: Any
    stop: int

    def take(self, stop_at: float) -> Iterator[int]:
        """Yield seeds until there are no more, or time is over."""
        while time.time() < stop_at:
            with self.counter.get_lock():
                seed = int(self.counter.value)
                if seed >= self.stop:
                    return
                self.counter.value = seed + 1
            yield seed


def work(number: int, seeds: Seeds, stop_at: float, queue: Queue[Message]) -> None:
    """Run one seed after the other until the time is over."""
    # should the parent be killed, nobody is left to stop this one
    ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
    # what is imported never becomes garbage
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        for failure in failures(seeds.take(stop_at), make=_case, done=lambda: queue.put(None)):
            queue.put(failure)
    finally:
        queue.put(number)


def _case(seed: int) -> Case:
    """Return the case of a seed: any order, quarantine, forgotten deletes, key indexes, upkeep by turns."""
    makers = (
        random_case,
        random_quarantine_case,
        random_forgetful_case,
        random_indexed_case,
        random_upkept_case,
    )
    return makers[seed % len(makers)](seed)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--resume", action="store_true", help="go on from the results that are there")
    return parser.parse_args()


def _follow(
    queue: Queue[Message],
    workers: Sequence[multiprocessing.context.SpawnProcess],
    histories: int,
    tally: Tally,
    save: Callable[[], None],
) -> None:
    """Show progress until every worker is through; count the histories, and keep the failures."""
    running, before, started, first = len(workers), tally.seconds, time.perf_counter(), tally.next_seed
    already = tally.histories
    columns = (TextColumn("histories"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns) as progress:
        bar = progress.add_task("histories", total=histories, completed=tally.histories)
        while running:
            try:
                message = queue.get(timeout=5)
            except Empty:
                # A worker that was killed says nothing any more.
                running = sum(worker.is_alive() for worker in workers)
                continue
            tally.seconds = round(before + time.perf_counter() - started, 1)
            if message is None:
                tally.histories += 1
                progress.update(bar, completed=tally.histories)
                if tally.histories % 100 == 0:
                    tally.next_seed = first + tally.histories - already
                    save()
                    progress.console.print(f"{tally.histories} in {tally.seconds:.0f} s")
            elif isinstance(message, str):
                tally.failures.append(message)
                progress.console.print(message, markup=False, highlight=False)
                save()
            else:
                running -= 1


if __name__ == "__main__":
    sys.exit(main())
