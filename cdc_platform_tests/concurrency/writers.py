"""Four processes that merge overlapping sets of files into one table, with others beside.

Those compact and expire, read, and move main of a table that holds it back.

Time goes by in epochs: in each, files come into being, every file is given to two writers or more, in another
order and other groups to each, and at its end the table must equal the oracle. Run as a module it goes on for
``--seconds`` and prints one JSON line; its children are forked, so they start at once.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from pyiceberg.exceptions import CommitFailedException

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.errors import CdcError, StaleCommit
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.merge import merge
from cdc_platform.lake.publishing import publish_up_to, unpublished
from cdc_platform_tests.crash.harness import Child
from cdc_platform_tests.crash.inspection import SOURCE, pending, rows_of, state_of
from cdc_platform_tests.crash.rounds import Round
from cdc_platform_tests.crash.shapes import KEY, Shape
from cdc_platform_tests.crash.workload import Life

SHAPES = (
    Shape("hard", KEY),
    Shape("partitioned", {**KEY, "partition_by": ("region",)}),
    Shape("appended", {"merge_key": (), "no_key": "append"}),
    Shape("soft", {**KEY, "delete_mode": "soft"}),
    Shape("held", {**KEY, "publish": "on_match"}),
)
WRITERS = 4
#: Rounds of files an epoch.
ROUNDS = 4
_KEPT_SNAPSHOTS = 12
#: Between two rounds of maintenance, and between two reads: the machine is for the writers.
_PAUSE_SECONDS = 0.3


@dataclass
class Tally:
    """What the processes did."""

    epochs: int = 0
    files: int = 0
    merges: int = 0
    #: How many merges took so many attempts.
    attempts: Counter[int] = field(default_factory=Counter)
    #: Merges that gave up with a retryable error, by its class; they were run again.
    given_up: Counter[str] = field(default_factory=Counter)
    compactions: int = 0
    compactions_skipped: int = 0
    expiries: int = 0
    reads: int = 0
    publications: int = 0
    #: Those that met another writer and moved nothing.
    publications_refused: int = 0

    def add(self, other: dict[str, Any]) -> None:
        """Add what a process said of itself."""
        for name, value in other.items():
            mine = getattr(self, name)
            if isinstance(mine, Counter):
                mine.update({int(k) if k.isdigit() else k: count for k, count in value.items()})
            else:
                setattr(self, name, mine + value)


def write(steps: Sequence[Round], mine: Sequence[int], seed: int, lake: Lake, _: int) -> dict[str, Any]:
    """Merge the files ``mine``, in an order and in groups of this writer's own."""
    random = Random(seed)
    inputs = [each for step in steps for each in step.inputs]
    order = list(mine)
    random.shuffle(order)
    tally = Tally()
    while order:
        size = random.randint(1, 4)
        group, order = order[:size], order[size:]
        while True:
            try:
                result = merge(lake, SOURCE, steps[0].config, [inputs[index] for index in group])
            except CdcError as error:
                if not error.retryable:
                    raise
                tally.given_up[type(error).__name__] += 1
                continue
            break
        tally.merges += 1
        tally.attempts[result.attempts] += 1
    return {name: value for name, value in vars(tally).items() if value}


def maintain(step: Round, stop: Path, lake: Lake, _: int) -> dict[str, Any]:
    """Compact and expire until told to stop."""
    options = CompactionOptions(min_files=4, min_deleted_rows=1, delete_debt=0.05, small_file_share=0.9)
    tally = Tally()
    while not stop.exists():
        table = lake.load(SOURCE, step.config.id)
        if table is None or table.current_snapshot() is None:
            time.sleep(0.02)
            continue
        for group in commit_compaction(lake, plan_compaction(table, options), attempts=5):
            tally.compactions += group.skipped is None
            tally.compactions_skipped += group.skipped is not None
        tally.expiries += _expired(lake, step)
        time.sleep(_PAUSE_SECONDS)
    return {name: value for name, value in vars(tally).items() if value}


def _expired(lake: Lake, step: Round) -> bool:
    table = lake.load(SOURCE, step.config.id)
    assert table is not None
    snapshots = sorted(table.metadata.snapshots, key=lambda each: each.sequence_number or 0)
    # another program knows branches, and not what lies between them
    needed = pending(table)
    old = [each.snapshot_id for each in snapshots[:-_KEPT_SNAPSHOTS] if each.snapshot_id not in needed]
    if not old:
        return False
    try:
        table.maintenance.expire_snapshots().by_ids(old).commit()
    except CommitFailedException:
        return False
    return True


def read(step: Round, stop: Path, lake: Lake, _: int) -> dict[str, Any]:
    """Read until told to stop: every read is whole, and shows no key twice."""
    reads = 0
    while not stop.exists():
        table = lake.load(SOURCE, step.config.id)
        if table is not None:
            for end in {reference.snapshot_id for reference in table.metadata.refs.values()}:
                keys = [dict(row)["id"] for row in rows_of(table, end)]
                assert len(keys) == len(set(keys)), f"a key twice: {sorted(keys)}"
            pending(table)
            reads += 1
        time.sleep(_PAUSE_SECONDS)
    return {"reads": reads}


def publish(step: Round, stop: Path, lake: Lake, _: int) -> dict[str, Any]:
    """Move main over half of what it has not until told to stop, then over the rest."""
    tally = Tally()
    while not stop.exists():
        _publish(lake, step, tally)
        time.sleep(_PAUSE_SECONDS / 3)
    while _publish(lake, step, tally):
        continue
    return {name: value for name, value in vars(tally).items() if value}


def _publish(lake: Lake, step: Round, tally: Tally) -> bool:
    table = lake.load(SOURCE, step.config.id)
    waiting = unpublished(table) if table is not None else ()
    if table is None or not waiting:
        return False
    try:
        publish_up_to(table, waiting[len(waiting) // 2].snapshot_id)
    except StaleCommit:
        tally.publications_refused += 1
    else:
        tally.publications += 1
    return True


class Concurrency:
    """One table and its epochs."""

    def __init__(self, shape: Shape, folder: Path, seed: int) -> None:
        self.name = shape.name
        self._folder = folder / shape.name
        self._folder.mkdir(parents=True)
        self._life = Life(shape, seed, keys=200)
        self._random = Random(seed)
        self.tally = Tally()

    def epoch(self) -> None:
        """Let everybody work on the files of some rounds, then compare."""
        steps = [self._life.next() for _ in range(ROUNDS)]
        count = sum(len(step.inputs) for step in steps)
        shares: list[list[int]] = [[] for _ in range(WRITERS)]
        for index in range(count):
            for share in self._random.sample(shares, self._random.randint(2, WRITERS)):
                share.append(index)
        stop = self._folder / "stop"
        stop.unlink(missing_ok=True)
        writers = [self._start(write, steps, share, self._random.random()) for share in shares]
        others = (maintain, read, publish) if steps[0].is_held else (maintain, read)
        beside = [self._start(other, steps[0], stop) for other in others]
        said = [_answer(writer) for writer in writers]
        stop.touch()
        for answer in (*said, *map(_answer, beside)):
            self.tally.add(answer)
        self.tally.add({"epochs": 1, "files": count})
        _answer(self._start(_compared, steps[-1], self.tally.epochs))

    def _start(self, deed: Callable[..., Any], *args: Any) -> Child:
        return Child(self._folder, lambda lake, told: deed(*args, lake, told))


def _answer(child: Child) -> dict[str, Any]:
    code, said = child.wait()
    assert code == 0, f"a process ended with {code}: {said}"
    answer: dict[str, Any] = json.loads(said)
    return answer


def _compared(step: Round, epoch: int, lake: Lake, _: int) -> dict[str, Any]:
    found = state_of(lake, step.config)
    wrong = set(found.rows) ^ set(step.after.rows)
    assert found.rows == step.after.rows, f"after epoch {epoch} these rows are wrong: {wrong}"
    assert found.files == step.after.files, f"{epoch}: {found.files ^ step.after.files}"
    assert step.after.quarantine == found.quarantine
    assert step.after.content == found.main, f"after epoch {epoch} main shows {found.main}"
    return {}


def main() -> None:
    """Run from the command line; progress goes to standard error, the sum to standard output."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--shapes", default=",".join(shape.name for shape in SHAPES))
    options = parser.parse_args()
    gc.disable()
    gc.freeze()
    runs = [
        Concurrency(shape, options.folder, options.seed)
        for shape in SHAPES
        if shape.name in options.shapes.split(",")
    ]
    started = time.monotonic()
    number = 0
    while number < len(runs) or time.monotonic() - started < options.seconds:
        run = runs[number % len(runs)]
        run.epoch()
        number += 1
        tally, seconds = run.tally, round(time.monotonic() - started)
        name = run._life.shape.name
        print(
            f"{seconds} s, {name}: {tally.merges} merges of {tally.files} files", file=sys.stderr, flush=True
        )
    total = Tally()
    for run in runs:
        total.add(json.loads(json.dumps(vars(run.tally))))
    print(json.dumps({**vars(total), "seconds": round(time.monotonic() - started)}))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
