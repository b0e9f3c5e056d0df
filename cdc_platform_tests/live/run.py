"""One live run: writers never rest, faults are injected, and every verdict is held against what is known."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.live.injector import Injector
from cdc_platform_tests.live.source import HOT, HotWriter, Log, SlowWriter, Writer, create
from cdc_platform_tests.live.stage import Stage, staged

#: Every kind of fault that loses or changes a row, and every kind that must not matter.
LOSING = ("lost-update", "lost-insert", "lost-delete", "masked-loss", "dropped-file", "tampered-row")
HARMLESS = ("duplicate-file", "delayed-file", "read-again", "split-transaction", "stuck-slot")

#: Where the fault of a loss must be located.
LOCATED = {
    "lost-update": {Fault.CAPTURE_LOST},
    "lost-insert": {Fault.CAPTURE_LOST},
    "lost-delete": {Fault.DELETE_NOT_CAPTURED},
    "masked-loss": {Fault.CAPTURE_LOST},
    "tampered-row": {Fault.WRITTEN_OUT_OF_BAND},
}
#: In so many rounds under load a loss is found.
FOUND_WITHIN = 8
WAIT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Options:
    """How long (``rounds`` at least, ``seconds`` at least), and how much."""

    seed: int
    seconds: float = 0.0
    rounds: int = 6
    rows: int = 2_000
    writers: int = 3
    pause: float = 0.03
    faults: Sequence[str] = (*LOSING, *HARMLESS)
    #: A whole comparison every so many rounds.
    full_every: int = 2
    tell: Callable[[str], None] = lambda _: None


@dataclass(slots=True)
class Report:
    """A key called different, and when the round that said so was over."""

    key: int
    ended: float
    round: int
    mode: str


@dataclass(slots=True)
class Outcome:
    """What was seen. ``false`` and ``missed`` must be empty, ``wrongly_located``, too."""

    rounds: int = 0
    seconds: float = 0.0
    changes: int = 0
    runs: Counter[str] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    in_flight_seen: int = 0
    settled_equal: int = 0
    most_queued: int = 0
    oldest_age_seconds: float = 0.0
    injected: Counter[str] = field(default_factory=Counter)
    losses: int = 0
    wrong_at_the_end: int = 0
    found_at_the_end: int = 0
    found_live: int = 0
    rounds_to_find: Counter[int] = field(default_factory=Counter)
    found_late: list[str] = field(default_factory=list)
    missed: list[int] = field(default_factory=list)
    false: list[str] = field(default_factory=list)
    located: Counter[str] = field(default_factory=Counter)
    wrongly_located: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not (self.false or self.missed or self.wrongly_located or self.errors or self.found_late)


def live_run(folder: Path, dsn: str, options: Options) -> Outcome:
    """Run, rest, compare once more, and hold everything against the truth."""
    create(dsn, options.rows)
    with staged(folder, dsn) as stage:
        stage.load()
        run = LiveRun(stage, options)
        run.under_load()
        run.at_rest()
        return run.outcome


class LiveRun:
    """The rounds of a run, and what came of them."""

    def __init__(self, stage: Stage, options: Options) -> None:
        self.stage, self.options, self.outcome = stage, options, Outcome()
        self.log, self.reports = Log(), list[Report]()
        self.injector = Injector(stage, self.log, Random(options.seed))
        shared: Any = (stage.dsn, self.log)
        numbers = range(options.writers)
        kinds = [Writer] * (options.writers - 1) + [SlowWriter]
        self.writers: list[Writer] = [
            kind(*shared, n, options.writers, options.rows, options.seed, options.pause)
            for n, kind in zip(numbers, kinds, strict=True)
        ]
        self.writers.append(HotWriter(*shared, 99, 100, HOT, options.seed, 0.1))

    def under_load(self) -> None:
        """Rounds of merging, settling and comparing, a fault before each, until time and rounds are up."""
        started = time.monotonic()
        for writer in self.writers:
            writer.start()
        try:
            faults = self._faults()
            while (
                self.outcome.rounds < self.options.rounds or time.monotonic() - started < self.options.seconds
            ):
                self.outcome.rounds += 1
                # the last rounds find what was lost before
                if time.monotonic() - started < self.options.seconds * 0.9 or self.options.seconds == 0:
                    self.injector.inject(next(faults), self.outcome.rounds)
                self._round()
        finally:
            for writer in self.writers:
                writer.ended.set()
            for writer in self.writers:
                writer.join(60)
        self.outcome.errors += [f"{one.name}: {one.failure}" for one in self.writers if one.failure]
        self.outcome.seconds = round(time.monotonic() - started, 1)

    def _faults(self) -> Any:
        while True:
            kinds = list(self.options.faults)
            self.injector.random.shuffle(kinds)
            for kind in kinds:
                # one dropped file says what it can say; more would only keep the table wrong
                if kind != "dropped-file" or not self.injector.injected[kind]:
                    yield kind

    def _round(self) -> None:
        stage, number = self.stage, self.outcome.rounds
        begun = time.monotonic()
        stage.merge()
        settled = stage.settle()
        runs = ([settled] if settled is not None else []) + stage.windows()
        if number % self.options.full_every == 0:
            runs.append(stage.full())
        for run in runs:
            self._take(run)
        queue = stage.queue
        self.outcome.most_queued = max(self.outcome.most_queued, len(queue.entries))
        self._found()
        self.options.tell(
            f"round {number}: {len(self.log.changes):,} changes, {queue.in_flight} queued, "
            f"{self.outcome.found_live} of {len(self.injector.losses)} losses found, "
            f"{time.monotonic() - begun:.1f} s"
        )

    def _take(self, run: Reconciliation) -> None:
        mode = run.window if run.window in ("settling", "full") else "window"
        self.outcome.runs[mode] += 1
        self.outcome.verdicts[f"{mode}: {run.verdict.value}"] += 1
        if run.verdict is Verdict.ERROR:
            self.outcome.errors.append(run.sentence)
        self.options.tell(f"  {mode} {run.sentence[:400]}")
        told = run.certificate.get("settling")
        if told is not None:
            self.outcome.settled_equal += told["settled_equal"]
            age = told["oldest_age_seconds"] or 0.0
            self.outcome.oldest_age_seconds = max(self.outcome.oldest_age_seconds, age)
        for comparison in run.comparisons:
            self.outcome.in_flight_seen += comparison.tally.in_flight
            self.reports += [
                Report(one.key["id"], time.monotonic(), self.outcome.rounds, mode)
                for one in comparison.discrepancies
                if one.verdict is Verdict.DIFFERENT
            ]

    def _found(self) -> None:
        """Note which losses were reported by now; some of them are written anew at the source."""
        reported = {one.key: one.round for one in self.reports}
        for loss in self.injector.losses:
            if loss.found_in is None and loss.key in reported and reported[loss.key] >= loss.round:
                loss.found_in = self.outcome.rounds
                self.outcome.found_live += 1
                self.outcome.rounds_to_find[loss.found_in - loss.round + 1] += 1
                if loss.key % 2:
                    self.injector.mend(loss)

    def at_rest(self) -> None:
        """With the writers at rest, compare all again and judge the whole run."""
        self.stage.drain()
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            settled, final = self.stage.settle(), self.stage.full()
            runs = ([settled] if settled is not None else []) + [final, *self.stage.windows()]
            for run in runs:
                self._take(run)
            # the source's log goes on by itself at times, and capture follows
            if all(run.verdict in (Verdict.MATCH, Verdict.DIFFERENT) for run in runs):
                break
            assert time.monotonic() < deadline, final.sentence
        self._judge(final)
        left = self.stage.queue
        if left.in_flight:
            self.outcome.errors.append(f"{left.in_flight} keys are in flight at rest")

    def _judge(self, final: Reconciliation) -> None:
        outcome, injector = self.outcome, self.injector
        outcome.changes, outcome.injected = len(self.log.changes), injector.injected
        outcome.losses = len(injector.losses)
        wrong, found = self.stage.wrong_keys(), self.stage.confirmed_keys(final)
        outcome.wrong_at_the_end, outcome.found_at_the_end = len(wrong), len(wrong & found)
        outcome.missed = sorted(wrong - found)
        outcome.false = [f"final: {key}" for key in sorted(found - wrong)]
        lost = self._lost_since()
        outcome.false += [
            f"{one.mode} in round {one.round}: {one.key}"
            for one in self.reports
            if one.key not in lost or lost[one.key] > one.ended
        ]
        kinds = {one.key: one.kind for one in injector.losses if not one.is_mended}
        outcome.found_late = [
            f"{one.key}: {one.kind} of round {one.round}, found in {one.found_in}"
            for one in injector.losses
            if (one.found_in or outcome.rounds) - one.round + 1 > FOUND_WITHIN
        ]
        self._judge_places(final, kinds)

    def _judge_places(self, final: Reconciliation, kinds: dict[int, str]) -> None:
        captured = {Fault.CAPTURE_LOST, Fault.DELETE_NOT_CAPTURED}
        for one in final.comparisons[0].discrepancies:
            fault = one.located.fault if one.located is not None else Fault.UNKNOWN
            self.outcome.located[fault.value] += 1
            if fault not in LOCATED.get(kinds.get(one.key["id"], ""), captured):
                self.outcome.wrongly_located.append(f"{one.key}: {fault.value}")

    def _lost_since(self) -> dict[int, float]:
        """Return when each key first lost a change: those injected by name, and those of dropped files."""
        lost: dict[int, float] = {}

        def lose(key: int, at: float) -> None:
            lost[key] = min(at, lost.get(key, at))

        for one in self.injector.losses:
            lose(one.key, one.at)
        values, gone = self.stage.raw_changes()
        taken: Counter[int] = Counter()
        for change in self.log.changes:
            if change.value is None:
                taken[change.key] += 1
            elif change.key > HOT and change.value not in values:
                lose(change.key, change.at)
        since = self.injector.dropped_file_at
        if since is not None:
            for key, times in taken.items():
                if times > gone.get(key, 0):
                    lose(key, since)
            for key in range(1, HOT + 1):
                lose(key, since)
        return lost
