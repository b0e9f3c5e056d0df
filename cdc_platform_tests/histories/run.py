"""Runs a case: merges its files step by step and compares the table with the oracle after each."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from cdc_platform.config.model import DeleteMode, Publish, TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.merge import MergeInput, merge
from cdc_platform.lake.quarantine import (
    QuarantineItem,
    QuarantineState,
    discard,
    list_items,
    quarantine_id,
    release,
)
from cdc_platform_tests.histories.afterwards import OF_THE_PAST, SOURCE, TURNS, tuned
from cdc_platform_tests.histories.case import Case, Decision, File, Step
from cdc_platform_tests.histories.comparison import Mismatch, compare, filled
from cdc_platform_tests.histories.main_branch import MainBranch
from cdc_platform_tests.histories.oracle import Expected
from cdc_platform_tests.histories.records import generation_of, input_of, records_of
from cdc_platform_tests.histories.ward import Memory, Ward

_names = itertools.count()

#: Reads a table: (table id, snapshot id or None) → its rows.
Read = Callable[[str, int | None], list[dict[str, Any]]]


@dataclass
class Seen:
    """What the table must hold as of one snapshot."""

    snapshot_id: int
    expected: Expected
    #: What was applied then.
    memory: Memory
    in_doubt: frozenset[int] = frozenset()


@dataclass
class Run:
    """One case in one lake."""

    lake: Lake
    case: Case
    read: Read
    #: What each snapshot must read as, for time travel.
    seen: list[Seen] = field(default_factory=list)
    #: Called after each expiry, clean-up and rollback.
    on_upkeep: Callable[[], object] | None = None

    def __post_init__(self) -> None:
        shape = self.case.shape
        self.table = TableConfig(
            name="public.item",
            id=f"item{next(_names)}",
            merge_key=shape.key_names,
            partition_by=shape.partition_by,
            delete_mode=DeleteMode.SOFT if shape.soft else DeleteMode.HARD,
            tombstone_horizon_days=2 if self.case.forgets else 30,
        )
        self.life = self.case.life()
        self._files = {file.name: file for file in self.case.files}
        self._given: dict[str, int] = {}
        self._known_loads: set[int] = {0}
        self._ward = Ward(self.case, self.life)
        self._main = MainBranch(self.lake, self.table)
        self._state = partial(Seen, expected=self._ward.expected(), memory=self._ward.memory())
        #: The snapshot that was read last, and its rows: a snapshot never changes.
        self._last: tuple[int | None, list[dict[str, Any]]] = None, []

    def go(self) -> None:
        """Merge every step, then everything that is left; raise Mismatch when a table is wrong."""
        with tuned(self.case.tuned):
            for step in self.case.steps:
                self._step(step)
            self._step(Step(tuple(self._files)))
            if self.case.forgets:
                self._settle()
        if any(step.then in OF_THE_PAST for step in self.case.steps):
            self.check_past()
        self._check_source()
        self._check_quarantine()

    def _step(self, step: Step) -> None:
        for decision in step.decisions:
            self._decide(decision)
        files = [file for name in step.files if (file := self._files.get(name)) is not None]
        files = [file for file in files if generation_of(self.life, file) is not None]
        given = self._with_generations(files)
        wish = self._completed() if step.completes else None
        self._ward.merge(given, wish)
        inputs = [self._input(file, generation) for file, generation in given]
        publish = Publish.ON_MATCH if step.held else Publish.ALWAYS
        self.table = self.table.model_copy(update={"publish": publish})
        merge(self.lake, SOURCE, self.table, inputs, completed_generation=wish)
        self._main.merged(self.table)
        self._check()
        if step.then == "expire":
            # read at the last moment a snapshot shows what harmed it before; those left are read at the end
            self.check_past()
        if step.then:
            target = TURNS[step.then](self.lake, self.table)
            self._main.turned(step.then, target)
            if target is not None:
                self._go_back(target)
            self._check()
        if self.on_upkeep is not None and step.then in OF_THE_PAST:
            self.on_upkeep()

    def _go_back(self, target: int) -> None:
        """Let the oracle go back to what was applied as of a snapshot."""
        table = self.lake.load(SOURCE, self.table.id)
        if table is None or table.metadata.current_snapshot_id != target:
            raise Mismatch(f"the table was set back to snapshot {target} and does not show it")
        (seen,) = (each for each in self.seen if each.snapshot_id == target)
        self._ward.go_back(seen.memory)

    def check_past(self) -> None:
        """Read every snapshot that is left; raise Mismatch when one shows other rows than it must."""
        table = self.lake.load(SOURCE, self.table.id)
        there = {each.snapshot_id for each in table.metadata.snapshots} if table is not None else set()
        for seen in self.seen:
            if seen.snapshot_id in there:
                rows = self.read(self.table.id, seen.snapshot_id)
                try:
                    compare(self.case, seen.expected, rows, in_doubt=seen.in_doubt)
                except Mismatch as e:
                    raise Mismatch(f"snapshot {seen.snapshot_id}: {e}") from e

    def _input(self, file: File, generation: int) -> MergeInput:
        return input_of(self.case, self.life, file, generation, mended=file.name in self._ward.mended)

    def _decide(self, decision: Decision) -> None:
        act = release if decision.what == "release" else discard
        for name, row in self._ward.decide(decision):
            act(self.lake, SOURCE, self.table.id, quarantine_id(name, f"etag-{name}", row))

    def _with_generations(self, files: list[File]) -> list[tuple[File, int]]:
        """Return the files with the generations they count to now, and those that move to another one.

        Files of a load that wait in quarantine come with every merge: a load is not complete without them.
        """
        self._known_loads |= {self._generation(file) for file in files if file.load is not None}
        names = {file.name for file in files}
        again = [self._files[name] for name in self._given if name not in names]
        moved = [
            file
            for file in again
            if self._given[file.name] != self._generation(file)
            or (file.load is not None and not self._ward.is_applied(file, self._given[file.name]))
        ]
        unique = {file.name: file for file in (*files, *moved)}
        found = [(file, self._generation(file)) for file in unique.values()]
        self._given |= {file.name: generation for file, generation in found}
        return found

    def _generation(self, file: File) -> int:
        own = generation_of(self.life, file)
        assert own is not None
        if file.load is not None or not self.case.late_loads:
            return own
        return max(generation for generation in self._known_loads if generation <= own)

    def _completed(self) -> int | None:
        """Return the newest generation all load files of which have come."""
        missing: dict[int, bool] = {}
        for file in self.case.files:
            if file.load is not None and (own := generation_of(self.life, file)) is not None:
                missing[own] = missing.get(own, False) or file.name not in self._given
        return max((generation for generation, lacks in missing.items() if not lacks), default=None)

    def _check(self) -> None:
        wanted = self._ward.expected()
        table = self.lake.load(SOURCE, self.table.id)
        in_doubt = frozenset(key for _, key in self._in_doubt()) if self.case.forgets else frozenset()
        before = self._state
        self._state = partial(Seen, expected=wanted, memory=self._ward.memory(), in_doubt=in_doubt)
        if table is None:
            if wanted.rows:
                raise Mismatch("there is no table")
            return
        known = {each.snapshot_id for each in self.seen}
        made = [each.snapshot_id for each in table.metadata.snapshots if each.snapshot_id not in known]
        # what holding main back adds to a new table comes before the merge
        self.seen += [(before if one != made[-1] else self._state)(one) for one in made]
        current = table.metadata.current_snapshot_id
        if current is None or current != self._last[0]:
            self._last = current, self.read(self.table.id, None)
        compare(self.case, wanted, self._last[1], in_doubt=in_doubt)

    def _in_doubt(self) -> list[tuple[QuarantineItem, int]]:
        """Return the items that wait because a delete may have been forgotten, with the keys they are of."""
        items = list_items(self.lake, SOURCE, self.table.id)
        found = []
        for item in items:
            if "tombstone_horizon_days" in item.reason and item.row is not None:
                key = records_of(self.case, self.life, self._files[item.key])[item.row].key
                assert key is not None
                found.append((item, key))
        return found

    def _settle(self) -> None:
        """Decide what is in doubt as an operator who looks at the source does; nothing is in doubt then."""
        if self.lake.load(SOURCE, self.table.id) is None:
            return
        rows = self._ward.expected().rows
        for item, key in self._in_doubt():
            if item.state == QuarantineState.OPEN:
                act = release if key in rows and rows[key].op != "D" else discard
                act(self.lake, SOURCE, self.table.id, item.id)
        self._step(Step(tuple(self._files)))
        compare(
            self.case,
            self._ward.expected(),
            self.read(self.table.id, None),
            in_doubt={key for _, key in self._in_doubt() if key not in rows or rows[key].op == "D"},
        )

    def _check_source(self) -> None:
        """Compare the oracle itself with the source: both say what the table must be."""
        covered = {
            (number, place)
            for file in self.case.files
            for number, start, stop in file.parts
            if number in self.life.transactions
            for place in range(start, stop or len(self.life.transactions[number].events))
        }
        whole = {
            (number, place)
            for number, transaction in self.life.transactions.items()
            for place in range(len(transaction.events))
        }
        loaded = {(file.load, key) for file in self.case.files if file.load is not None for key in file.keys}
        lacking = {(number, key) for number, load in self.life.loads.items() for key in load.rows} - loaded
        last = max((load.generation for load in self.life.loads.values()), default=0)
        if not whole <= covered or lacking or self._ward.complete != last or self._ward.holds_back():
            return
        wanted = self._ward.expected().rows
        live = {key: filled(self.case, shown.row) for key, shown in wanted.items() if shown.op != "D"}
        if live != {key: filled(self.case, row) for key, row in self.life.rows.items()}:
            raise Mismatch(f"the source has {self.life.rows}, the oracle {live}")

    def _check_quarantine(self) -> None:
        items = list_items(self.lake, SOURCE, self.table.id)
        found = {
            (item.key, item.row): item.state.value
            for item in items
            if "tombstone_horizon_days" not in item.reason
        }
        if found != self._ward.items:
            raise Mismatch(f"quarantine holds {found}, not {self._ward.items}")
