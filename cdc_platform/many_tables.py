"""Applying many tables in one go: each is taken in and merged by itself, several at a time by processes.

Most of a small merge is Python, so threads would take turns. The processes divide the bounds of ``engine``
between them, memory and threads, so that one setting still bounds the whole; a table with much to merge is
left to the caller's process, which gives it all of them once the workers have ended.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, ThreadPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver
from typing import TYPE_CHECKING

from cdc_platform.config.model import LEAST_MEMORY, EngineConfig, PlatformConfig, bytes_of
from cdc_platform.errors import CdcError, ConfigError, MergeError
from cdc_platform.interruption import let_through
from cdc_platform.pipeline import IntakeResult, Platform, prepare_merge, take_in

if TYPE_CHECKING:
    from cdc_platform.lake.result import MergeResult

#: A table with more than this to merge is not merged beside others.
LARGE_BYTES = 256 * 2**20

#: Without a number of workers, they start when this much time would still go by without them.
_WORTH_WORKERS_SECONDS = 8.0
_AHEAD = 4

#: What takes a process seconds to load: a server that has done nothing else is forked into the workers.
_LIBRARIES = (
    "cdc_platform.formats.dms_reader",
    "cdc_platform.lake.maintenance",
    "cdc_platform.lake.merge",
    "cdc_platform.lake.sql_catalog",
)

TableName = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Applied:
    """What taking in and merging one table did."""

    intake: IntakeResult
    merge: MergeResult


@dataclass(frozen=True, slots=True)
class _TooLarge:
    """A table that a worker only took in."""

    intake: IntakeResult


_Outcome = Applied | _TooLarge | CdcError


def apply_tables(
    platform: Platform,
    tables: Sequence[TableName],
    windows: Collection[str] | None = None,
    *,
    workers: int | None = None,
) -> Iterator[tuple[TableName, Applied | CdcError]]:
    """Take in and merge ``tables`` (source, id); yield each as it is done, in whatever order, or its error.

    ``workers`` are that many processes beside this one; None begins without, and takes as many as
    ``engine.threads`` when there is much to do. Raises MergeError when a worker dies, which leaves every
    table whole.
    """
    left = iter(tables)
    if workers is None:
        started = time.monotonic()
        for done, table in enumerate(left):
            yield table, _merged(platform, table, windows)
            if done == 0:
                # the first one loads libraries and opens the catalog, which each worker would do again
                started = time.monotonic()
            elif (len(tables) - done) * (time.monotonic() - started) / done > _WORTH_WORKERS_SECONDS:
                break
        workers = platform.config.engine.threads
    rest = list(left)
    workers = min(workers, len(rest), os.cpu_count() or 1, most_workers(platform.config.engine))
    if workers <= 1:
        yield from ((table, _merged(platform, table, windows)) for table in rest)
        return
    large: list[tuple[TableName, IntakeResult]] = []
    for table, outcome in _by_workers(platform.config, rest, windows, workers):
        if isinstance(outcome, _TooLarge):
            large.append((table, outcome.intake))
        else:
            yield table, outcome
    for table, intake in large:
        yield table, _merged(platform, table, windows, intake)


def most_workers(engine: EngineConfig) -> int:
    """Return beside how many processes one has the memory to merge at all."""
    return bytes_of(engine.memory_limit) // LEAST_MEMORY - 1


def share_of(engine: EngineConfig, workers: int) -> EngineConfig:
    """Return the bounds of one of ``workers`` processes."""
    found = re.fullmatch(r"([\d.]+)\s*(\w+)", engine.memory_limit)
    assert found is not None
    memory = f"{float(found[1]) / workers:.3f}{found[2]}"
    return engine.model_copy(update={"memory_limit": memory, "threads": max(1, engine.threads // workers)})


def _merged(
    platform: Platform,
    table: TableName,
    windows: Collection[str] | None,
    intake: IntakeResult | None = None,
) -> Applied | CdcError:
    source, table_id = table
    chosen = None if windows is None else list(windows)
    try:
        intake = intake if intake is not None else take_in(platform, source, [table_id], chosen)
        return Applied(intake, prepare_merge(platform, source, table_id, chosen).run())
    except Exception as error:
        return _as_told(table, error)


def _as_told(table: TableName, error: Exception) -> CdcError:
    """Return what a table's error is to the caller; one nobody foresaw holds up no other table either."""
    let_through(error)
    if isinstance(error, CdcError):
        return error
    fault = MergeError(
        f"unexpected {type(error).__name__}: {error}",
        where="/".join(table),
        mend="this is a fault of cdc itself; run it again with --debug and report what it shows",
    )
    fault.__cause__ = error
    return fault


def _by_workers(
    config: PlatformConfig, tables: Sequence[TableName], windows: Collection[str] | None, workers: int
) -> Iterator[tuple[TableName, _Outcome]]:
    mine = config.model_copy(update={"engine": share_of(config.engine, workers + 1)})
    # not forked from here: Arrow and DuckDB have threads, which a fork would leave behind
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(_LIBRARIES))
    _start_server()
    executor = ProcessPoolExecutor(workers, context, initializer=_begin, initargs=(mine, windows))
    own, left = _Worker(mine, windows), iter(tables)
    try:
        with ThreadPoolExecutor(1) as starter:
            # returns when the libraries are loaded
            started = starter.submit(executor.submit, int)
            while not started.done() and (table := next(left, None)) is not None:
                yield table, own.work(table)
            started.result()
        yield from _in_turn(executor, own, left, workers * _AHEAD)
    except (BrokenProcessPool, EOFError, ConnectionError) as error:
        raise MergeError(
            "a worker process ended before its work was done, most likely for want of memory",
            where="cdc apply",
            mend="run it again, with fewer --workers or a lower engine.memory_limit; what was merged stays",
        ) from error
    finally:
        # what is at work ends: a merge is one commit, and leaves nothing behind when it is let finish
        executor.shutdown(wait=True, cancel_futures=True)


def _start_server() -> None:
    """Start the process that workers are forked from, where an interruption does not reach it.

    It is the parent's to act on, and would meet the server amid the loading of libraries.
    """
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)


def _in_turn(
    executor: ProcessPoolExecutor, own: _Worker, tables: Iterator[TableName], ahead: int
) -> Iterator[tuple[TableName, _Outcome]]:
    """Give the workers tables ahead, and do others here: each process waits for the disk at times."""
    at_work: dict[Future[_Outcome], TableName] = {}
    while True:
        for table in islice(tables, ahead - len(at_work)):
            at_work[executor.submit(_work, table)] = table
        mine = next(tables, None)
        if mine is not None:
            yield mine, own.work(mine)
        elif not at_work:
            return
        for future in wait(at_work, 0 if mine else None, FIRST_COMPLETED).done:
            yield at_work.pop(future), future.result()


class _Worker:
    """What merges in one process: it has one platform for all its tables."""

    def __init__(self, config: PlatformConfig, windows: Collection[str] | None) -> None:
        self._platform = Platform(config)
        self._windows = None if windows is None else list(windows)

    def work(self, table: TableName) -> _Outcome:
        """Take a table in and merge it, unless there is much to merge."""
        source, table_id = table
        try:
            intake = take_in(self._platform, source, [table_id], self._windows)
            merge = prepare_merge(self._platform, source, table_id, self._windows)
            return _TooLarge(intake) if merge.bytes > LARGE_BYTES else Applied(intake, merge.run())
        except ConfigError as error:
            # the others travel between processes as they are
            return CdcError(str(error))
        except Exception as error:
            return _as_told(table, error)


# What follows runs in the other processes.

_worker: _Worker | None = None


def _begin(config: PlatformConfig, windows: Collection[str] | None) -> None:
    global _worker
    # an interruption is the parent's to act on: it lets the tables at work be finished
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = _Worker(config, windows)


def _work(table: TableName) -> _Outcome:
    assert _worker is not None
    return _worker.work(table)
