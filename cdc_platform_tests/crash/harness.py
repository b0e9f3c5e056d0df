"""Kill merges, maintenance, rollbacks and publications: a process that forks children, looks what is left.

The children are forked from a process that has everything imported and no thread of an engine running.
Run as a module it writes one JSON line when it is done.
"""

from __future__ import annotations

import argparse
import gc
import json
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform_tests.crash.child import Child
from cdc_platform_tests.crash.children import (
    cleaned,
    done_after,
    done_until,
    merged,
    merged_until,
    release,
    restarted,
)
from cdc_platform_tests.crash.publication import PUBLICATION, Main, published_after, published_until
from cdc_platform_tests.crash.rollback import ROLLBACK, rolled_back_after, rolled_back_until
from cdc_platform_tests.crash.rounds import Round
from cdc_platform_tests.crash.shapes import SHAPES, Shape
from cdc_platform_tests.crash.upkeep import DEEDS, Past, grow_old
from cdc_platform_tests.crash.workload import Life
from cdc_platform_tests.histories.afterwards import tuned

_MOST_ROUNDS = 200  # a shape that has not been killed at what it is to be killed at by then never will


@dataclass
class Report:
    """What was done, and what was found at last."""

    kills: int = 0
    random_kills: int = 0
    rounds: int = 0
    points: Counter[str] = field(default_factory=Counter)
    #: Kills by kind of maintenance, of rollbacks and of publications.
    maintenance: Counter[str] = field(default_factory=Counter)
    orphans_removed: int = 0
    snapshots_read: int = 0

    def __add__(self, other: Report) -> Report:
        return Report(
            self.kills + other.kills,
            self.random_kills + other.random_kills,
            self.rounds + other.rounds,
            self.points | other.points,
            self.maintenance + other.maintenance,
            self.orphans_removed + other.orphans_removed,
            self.snapshots_read + other.snapshots_read,
        )


class CrashTest:
    """Kills the merges of one shape of table."""

    def __init__(
        self, shape: Shape, folder: Path, seed: int, points: Counter[str], passed: dict[str, list[str]]
    ) -> None:
        self._folder = folder
        self._life = Life(shape, seed)
        self._random = Random(seed)
        self._usual_seconds = 0.5
        #: The points the last whole merge, or maintenance of a kind, passed; kills at each.
        self._passed = passed
        self._points = points
        self._tried: Counter[str] = Counter()
        self.report = Report(points=points)
        #: Every table that was, with the rows it may ever have shown.
        self._seen: dict[str, tuple[TableConfig, set[tuple[Any, ...]]]] = {}
        self._mains: dict[str, Main] = {}
        #: What the snapshots of each showed when they were last looked at.
        self._past: dict[str, Past] = {}

    def run(self, kills: int) -> Report:
        """Kill so many merges, with a restart and a look at everything after each or a few."""
        while self.report.kills < kills or self._not_yet_killed_at():
            assert self.report.rounds < _MOST_ROUNDS, f"never passed: {self._not_yet_killed_at()}"
            step = self._life.next()
            main = self._mains.setdefault(step.config.id, Main())
            step = replace(step, held_at=main.shown)
            self._remember(step)
            if step.releases:
                self._do(partial(release, step))
            for _ in range(self._random.choice((2, 3, 4))):
                self._kill(step)
            self._restart(step)
            main.merged(step)
            if main.waiting and self._random.random() < 0.4:
                self._publish(step, main)
            step = replace(step, held_at=main.shown)
            if self._random.random() < 0.4:
                self._maintain(step)
            if self._random.random() < 0.3:
                self._roll_back(step, main)
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
            child = Child(self._folder, lambda lake, _: merged(lake, step))
            code, said = child.wait(kill_after=moment)
            self.report.random_kills += code == -signal.SIGKILL
            said = "a random moment"
        else:
            point = self._rare_point(step) or self._rarest("merge")
            child = Child(self._folder, lambda lake, told: merged_until(lake, step, point, told))
            code, said = child.wait()
        if code == 0:
            return
        assert code == -signal.SIGKILL, f"{self._life.shape.name}: a merge failed: {said}"
        self.report.kills += 1
        self._points[said] += 1

    def _not_yet_killed_at(self) -> list[str]:
        """Return the points of what only this shape writes at which no merge was killed so far."""
        return [label for label in self._life.shape.rare if not self._points[label]]

    def _rare_point(self, step: Round) -> str | None:
        """Return a point few merges pass, when this one may."""
        labels = [label for label in self._not_yet_killed_at() if step.may_pass(label)]
        return self._random.choice(labels) if labels else None

    def _rarest(self, what: str, prefix: str = "") -> int:
        """Return the number of a point, as ``what`` passed it last, at which there were fewest kills."""
        passed = self._passed[what]
        return min(
            range(1, len(passed) + 1),
            key=lambda number: (self._points[prefix + passed[number - 1]], self._random.random()),
        )

    def _restart(self, step: Round) -> None:
        """Look at the table as the kill left it, merge the same again in a new process, look again."""
        where = f"{self._life.shape.name}, round {self.report.rounds}, after {dict(self.report.points)}"
        self._usual_seconds, passed = self._do(lambda lake, _: restarted(lake, step, where))
        self._passed["merge"] = passed or self._passed["merge"]

    def _maintain(self, step: Round) -> None:
        """Kill one kind of maintenance, look at everything, let it go through, look again."""
        deed = min(DEEDS, key=lambda name: (self._tried[name], self._random.random()))
        self._tried[deed] += 1
        ages = deed == "clean-up"
        if ages:
            self._do(lambda lake, _: grow_old(lake, step.config) and None)
        point = self._rarest(deed, f"{deed}: ")
        code, said = Child(self._folder, lambda lake, told: done_until(lake, step, deed, point, told)).wait()
        self._killed_at(deed, code, said)
        where = f"{self._life.shape.name}, {deed} of round {self.report.rounds} killed at {said}"
        past = self._past.setdefault(step.config.id, {})
        passed, after = self._do(lambda lake, _: done_after(lake, step, deed, past, where))
        self._passed[deed] = passed or self._passed[deed]
        self._past[step.config.id] = _by_id(after)

    def _publish(self, step: Round, main: Main) -> None:
        """Kill the publication of a state that waits, look, let it go through, look again."""
        target = self._random.choice(main.waiting)
        point = self._rarest(PUBLICATION, f"{PUBLICATION}: ")
        code, said = Child(
            self._folder, lambda lake, told: published_until(lake, step, target, point, told)
        ).wait()
        self._killed_at(PUBLICATION, code, said)
        where = f"{self._life.shape.name}, publication after round {self.report.rounds} killed at {said}"
        passed = self._do(lambda lake, _: published_after(lake, step, target, where))
        self._passed[PUBLICATION] = passed or self._passed[PUBLICATION]
        main.published(target)

    def _killed_at(self, deed: str, code: int, said: str) -> None:
        """Count a kill of maintenance, a rollback or a publication, if it was one."""
        if code == 0:
            return
        assert code == -signal.SIGKILL, f"{self._life.shape.name}: a {deed} failed: {said}"
        self.report.kills += 1
        self.report.maintenance[deed] += 1
        self._points[f"{deed}: {said}"] += 1

    def _roll_back(self, step: Round, main: Main) -> None:
        """Kill the rollback of a round, look, let it or the next merge make it good, look again."""
        point = self._rarest(ROLLBACK, f"{ROLLBACK}: ")
        code, said = Child(self._folder, lambda lake, told: rolled_back_until(lake, step, point, told)).wait()
        self._killed_at(ROLLBACK, code, said)
        where = f"{self._life.shape.name}, rollback of round {self.report.rounds} killed at {said}"
        again = self._random.random() < 0.6
        passed, is_back = self._do(lambda lake, _: rolled_back_after(lake, step, where, again=again))
        self._passed[ROLLBACK] = passed or self._passed[ROLLBACK]
        if is_back:
            main.rolled_back(step)

    def _look_back(self) -> None:
        """Every snapshot that is left shows a state of the oracle's; without orphans nothing is missing."""
        for config, states in self._seen.values():
            past = self._past.get(config.id, {})
            removed, read = self._do(partial(cleaned, config, states, past))
            self.report.orphans_removed += removed
            self.report.snapshots_read += read


def _by_id(past: Mapping[Any, str]) -> Past:
    """Return what came through JSON, whose keys are text."""
    return {int(snapshot_id): digest for snapshot_id, digest in past.items()}


def run(folder: Path, shapes: Sequence[Shape], kills: int, seed: int) -> Iterator[tuple[Shape, Report]]:
    """Kill ``kills`` merges, divided among the shapes; yield what each gave."""
    points: Counter[str] = Counter()
    passed = {what: ["the first"] for what in ("merge", ROLLBACK, PUBLICATION, *DEEDS)}
    for number, shape in enumerate(shapes):
        mine = kills // len(shapes) + (number < kills % len(shapes))
        with tuned(shape.tuned):
            report = CrashTest(shape, folder / shape.name, seed, points, passed).run(mine)
        yield shape, report


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
