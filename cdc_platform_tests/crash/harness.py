"""Kill merges and see what is left: one process that forks, for every merge, a child that is killed.

The children are forked from a process that has everything imported and no thread of an engine running.
Run as a module it writes one JSON line when it is done.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import json
import os
import select
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.config.model import EngineConfig, TableConfig
from cdc_platform.lake import direct_load, quarantine
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.merge import merge
from cdc_platform_tests.crash.boundaries import Points, wrap
from cdc_platform_tests.crash.inspection import SOURCE, orphans, rows_of, state_of
from cdc_platform_tests.crash.workload import SHAPES, Life, Round, Shape, State
from cdc_platform_tests.lake.conftest import lake_config

_SET_DEATH_SIGNAL = 1
LEAST_ROWS = direct_load.LEAST_ROWS
DEADLINE_SECONDS = 180.0  # a child that takes longer hangs


@dataclass
class Report:
    """What was done, and what was found at last."""

    kills: int = 0
    random_kills: int = 0
    rounds: int = 0
    points: Counter[str] = field(default_factory=Counter)
    orphans_removed: int = 0
    snapshots_read: int = 0

    def __add__(self, other: Report) -> Report:
        return Report(
            self.kills + other.kills,
            self.random_kills + other.random_kills,
            self.rounds + other.rounds,
            self.points | other.points,
            self.orphans_removed + other.orphans_removed,
            self.snapshots_read + other.snapshots_read,
        )


class Child:
    """A forked process that does one thing with a lake it opens itself."""

    def __init__(self, folder: Path, deed: Callable[[Lake, int], Any]) -> None:
        self._read, told = os.pipe()
        self.started = time.monotonic()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self._read)
            self._do(folder, deed, told)
        os.close(told)

    def _do(self, folder: Path, deed: Callable[[Lake, int], Any], told: int) -> None:
        # should the parent fail, nobody is left to stop this one
        ctypes.CDLL(None).prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        try:
            engine = EngineConfig(threads=1, memory_limit="500MB")
            with open_lake(lake_config(folder).model_copy(update={"engine": engine})) as lake:
                answer = deed(lake, told)
            os.write(told, json.dumps(answer).encode())
            os._exit(0)
        except BaseException:
            os.write(told, traceback.format_exc().encode())
            os._exit(1)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def wait(self, *, kill_after: float | None = None) -> tuple[int, str]:
        """Return (exit code or minus the signal, what it said); kill it after so many seconds."""
        said = b""
        limit = DEADLINE_SECONDS if kill_after is None else kill_after
        while True:
            left = self.started + limit - time.monotonic()
            ready, _, _ = select.select([self._read], [], [], max(left, 0))
            if not ready:
                self.kill()
                limit = DEADLINE_SECONDS
                continue
            part = os.read(self._read, 65_536)
            if not part:
                break
            said += part
        os.close(self._read)
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), said.decode()


class CrashTest:
    """Kills the merges of one shape of table."""

    def __init__(self, shape: Shape, folder: Path, seed: int, points: Counter[str]) -> None:
        self._folder = folder
        self._life = Life(shape, seed)
        self._random = Random(seed)
        self._usual_seconds = 0.5
        #: The points the last whole merge passed, and how often a merge was killed at each.
        self._passed = ["the first"]
        self._points = points
        self.report = Report(points=points)
        #: Every table that was, with the rows it may ever have shown.
        self._seen: dict[str, tuple[TableConfig, set[tuple[Any, ...]]]] = {}

    def run(self, kills: int) -> Report:
        """Kill so many merges, with a restart and a look at everything after each or a few."""
        while self.report.kills < kills:
            step = self._life.next()
            self._remember(step)
            if step.releases:
                self._do(partial(_release, step))
            for _ in range(self._random.choice((1, 2, 3))):
                self._kill(step)
            self._restart(step)
            if self._life.shape.name == "hard" and self._random.random() < 0.3:
                self._compact(step)
            self.report.rounds += 1
        self._look_back()
        return self.report

    def _remember(self, step: Round) -> None:
        _, states = self._seen.setdefault(step.config.id, (step.config, {()}))
        states |= {step.before.rows, step.after.rows}

    def _do(self, deed: Callable[[Lake, int], Any]) -> Any:
        code, said = Child(self._folder, deed).wait()
        assert code == 0, f"a child ended with {code}: {said}"
        return json.loads(said)

    def _kill(self, step: Round) -> None:
        """Kill one merge of the round, at the point that had the fewest so far or at a random time."""
        if self._random.random() < 0.25:
            moment = self._random.uniform(0, 1.1 * self._usual_seconds)
            child = Child(self._folder, lambda lake, _: _merged(lake, step))
            code, said = child.wait(kill_after=moment)
            self.report.random_kills += code == -signal.SIGKILL
            said = "a random moment"
        else:
            point = self._rarest_point()
            child = Child(self._folder, lambda lake, told: _merged_until(lake, step, point, told))
            code, said = child.wait()
        if code == 0:
            return
        assert code == -signal.SIGKILL, f"{self._life.shape.name}: a merge failed: {said}"
        self.report.kills += 1
        self._points[said] += 1

    def _rarest_point(self) -> int:
        """Return the number of a point at which fewest merges were killed, as the last merge passed it."""
        numbers = range(1, len(self._passed) + 1)
        return min(
            numbers, key=lambda number: (self._points[self._passed[number - 1]], self._random.random())
        )

    def _restart(self, step: Round) -> None:
        """Look at the table as the kill left it, merge the same again in a new process, look again."""
        where = f"{self._life.shape.name}, round {self.report.rounds}, after {dict(self.report.points)}"
        self._usual_seconds, self._passed = self._do(lambda lake, _: _restarted(lake, step, where))

    def _compact(self, step: Round) -> None:
        """Kill a compaction at a point of its own, then let one go through: no row may change."""
        point = self._random.randint(1, 20)
        code, said = Child(self._folder, lambda lake, told: _compacted(lake, step, point, told)).wait()
        if code != 0:
            assert code == -signal.SIGKILL, f"{self._life.shape.name}: a compaction failed: {said}"
            self.report.kills += 1
            self._points[f"compaction: {said}"] += 1
        where = f"{self._life.shape.name}, compaction of round {self.report.rounds} killed at {said}"
        self._do(lambda lake, _: _check_after(state_of(lake, step.config), step, where))
        self._do(lambda lake, told: _compacted(lake, step, None, told))
        self._do(lambda lake, _: _check_after(state_of(lake, step.config), step, where))

    def _look_back(self) -> None:
        """Every snapshot there ever was shows a state of the oracle's; without orphans nothing is missing."""
        for config, states in self._seen.values():
            removed, read = self._do(partial(_cleaned, config, states))
            self.report.orphans_removed += removed
            self.report.snapshots_read += read


def _merged(lake: Lake, step: Round) -> None:
    merge(lake, SOURCE, step.config, step.inputs, completed_generation=step.completed)


def _restarted(lake: Lake, step: Round, where: str) -> tuple[float, list[str]]:
    """Look, merge, look again; return how long the merge took and the points it passed."""
    _check_between(state_of(lake, step.config), step, where)
    points = Points(None, sys.stderr.fileno())
    wrap(points)
    started = time.monotonic()
    _merged(lake, step)
    seconds = time.monotonic() - started
    _check_after(state_of(lake, step.config), step, where)
    return seconds, points.passed or ["the first"]


def _merged_until(lake: Lake, step: Round, point: int, told: int) -> None:
    wrap(Points(point, told))
    _merged(lake, step)


def _compacted(lake: Lake, step: Round, point: int | None, told: int) -> None:
    table = lake.load(SOURCE, step.config.id)
    if table is None or table.current_snapshot() is None:
        return
    wrap(Points(point, told))
    options = CompactionOptions(min_files=2, min_deleted_rows=1, delete_debt=0.01, small_file_share=0.9)
    commit_compaction(lake, plan_compaction(table, options), attempts=2)


def _release(step: Round, lake: Lake, _: int) -> None:
    for item in quarantine.list_items(lake, SOURCE, step.config.id):
        if (item.key, item.row) in step.releases:
            quarantine.release(lake, SOURCE, step.config.id, item.id)


def _check_between(found: State, step: Round, where: str) -> None:
    """Readers see before or after; what was set aside is there, and nothing that will not be."""
    assert (found.rows, found.files) in (
        (step.before.rows, step.before.files),
        (step.after.rows, step.after.files),
    ), f"{where}: neither the table before nor after, but {found}, not {step.before} or {step.after}"
    assert step.before.quarantine.keys() <= found.quarantine.keys() <= step.after.quarantine.keys(), where


def _check_after(found: State, step: Round, where: str) -> None:
    assert step.after.rows == found.rows, f"{where}: {set(step.after.rows) ^ set(found.rows)}"
    assert step.after.files == found.files, f"{where}: {step.after.files ^ found.files}"
    assert step.after.quarantine == found.quarantine, f"{where}: {step.after.quarantine}, {found.quarantine}"


def _cleaned(config: TableConfig, states: set[tuple[Any, ...]], lake: Lake, _: int) -> tuple[int, int]:
    """Remove what nothing names and read every snapshot; return how many of each."""
    removed = orphans(lake, config)
    for path in removed:
        path.unlink()
    table = lake.load(SOURCE, config.id)
    if table is None:
        return len(removed), 0
    for snapshot in table.metadata.snapshots:
        rows = rows_of(table, snapshot.snapshot_id)
        assert rows in states, f"{config.id}: snapshot {snapshot.snapshot_id} shows rows that never were"
    assert [] == orphans(lake, config)
    return len(removed), len(table.metadata.snapshots)


def run(folder: Path, shapes: Sequence[Shape], kills: int, seed: int) -> Iterator[tuple[Shape, Report]]:
    """Kill ``kills`` merges, divided among the shapes; yield what each gave."""
    points: Counter[str] = Counter()
    for number, shape in enumerate(shapes):
        direct_load.LEAST_ROWS = 4 if shape.name == "direct" else LEAST_ROWS
        mine = kills // len(shapes) + (number < kills % len(shapes))
        yield shape, CrashTest(shape, folder / shape.name, seed, points).run(mine)


def main() -> None:
    """Run from the command line; progress goes to standard error, the sum to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shapes", default=",".join(shape.name for shape in SHAPES))
    options = parser.parse_args()
    shapes = [shape for shape in SHAPES if shape.name in options.shapes.split(",")]
    total = Report()
    # what is imported never becomes garbage, and stays shared with the children
    gc.disable()
    gc.freeze()
    for shape, report in run(options.folder, shapes, options.kills, options.seed):
        print(f"{shape.name}: {report.kills} kills, {report.rounds} rounds", file=sys.stderr, flush=True)
        total += report
    print(json.dumps(vars(total)))


if __name__ == "__main__":
    main()
