"""What is applied and what waits in quarantine, in plain Python: the other half of the oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cdc_platform_tests.histories.case import Case, Decision, File
from cdc_platform_tests.histories.oracle import Expected, expected
from cdc_platform_tests.histories.records import Record, kind_of, records_of
from cdc_platform_tests.histories.source import Life

#: A file, or a row of it, in quarantine.
Item = tuple[str, int | None]

#: States in which a file or row is not applied.
_HELD = ("open", "discarded")


@dataclass(frozen=True)
class Memory:
    """What was applied at some time, with the items that were replayed by then."""

    applied: Mapping[str, int]
    kinds: Mapping[int, str]
    complete: int
    deliveries: int
    replayed: frozenset[Item]


class Ward:
    """The files of one case, as merges take them in."""

    def __init__(self, case: Case, life: Life) -> None:
        self._case = case
        self._life = life
        self.items: dict[Item, str] = {}
        self.mended: set[str] = set()
        self.complete = 0
        self._applied: dict[str, int] = {}
        #: What positions are made of by generation: of the files applied, and of those a merge looked at.
        self._kinds: dict[int, str] = {}
        self._admitted: dict[int, str] = {}
        self._deliveries: list[tuple[list[Record], int]] = []

    def expected(self) -> Expected:
        """Return what the table shows now."""
        return expected(self._deliveries, self.complete, soft=self._case.shape.soft)

    def memory(self) -> Memory:
        """Return what ``go_back`` needs to return to now."""
        replayed = frozenset(item for item, state in self.items.items() if state == "replayed")
        return Memory(dict(self._applied), dict(self._kinds), self.complete, len(self._deliveries), replayed)

    def go_back(self, memory: Memory) -> None:
        """Forget what was applied since; what waits goes on waiting, replays since then are made again."""
        self._applied, self._kinds = dict(memory.applied), dict(memory.kinds)
        self.complete = memory.complete
        del self._deliveries[memory.deliveries :]
        for item, state in self.items.items():
            if state == "replayed" and item not in memory.replayed:
                self.items[item] = "released"

    def is_applied(self, file: File, generation: int) -> bool:
        return self._applied.get(file.name) == generation

    def holds_back(self) -> bool:
        """Return whether something of the source is not in the table, and what is not can be told."""
        rows = {item for item, state in self.items.items() if state not in ("replayed", "released")}
        return bool(rows - self._without_key())

    def _without_key(self) -> set[Item]:
        return {
            (file.name, row)
            for file in self._case.files
            if file.has_null_key
            for row in [len(records_of(self._case, self._life, file)) - 1]
        }

    def decide(self, decision: Decision) -> list[Item]:
        """Take a decision; return the items it is about."""
        if decision.what == "mend":
            self.mended.add(decision.file)
            return []
        about = [
            item
            for item, state in self.items.items()
            if item[0] == decision.file
            and (decision.row is None or item[1] == decision.row)
            and state in (("open",) if decision.what == "discard" else ("open", "released", "discarded"))
        ]
        for item in about:
            self.items[item] = "released" if decision.what == "release" else "discarded"
        return about

    def merge(self, given: Sequence[tuple[File, int]], wish: int | None) -> None:
        """Take files in; ``wish`` is the generation that is said to be complete."""
        missing: set[int] = set()
        self._admitted = dict(self._kinds)
        for file, generation in sorted(given, key=_order):
            if self.is_applied(file, generation):
                self._replay(file, generation)
            elif self.items.get((file.name, None)) in _HELD:
                if file.load is not None and self.items[file.name, None] == "open":
                    missing.add(generation)
            elif generation < self.complete:
                self._take(file, generation)
            elif not self._read(file, generation) and file.load is not None:
                missing.add(generation)
        if wish is not None and wish > self.complete and wish not in missing:
            self.complete = wish

    def _take(self, file: File, generation: int) -> None:
        self._applied[file.name] = generation
        if self.items.get((file.name, None)) == "released":
            self.items[file.name, None] = "replayed"

    def _read(self, file: File, generation: int) -> bool:
        """Read a whole file; return whether it was applied."""
        records = records_of(self._case, self._life, file)
        is_mended = file.name in self.mended
        if not self._fits(file, generation, is_mended):
            self._set_aside(file.name, None)
            return False
        bad = self._bad(file, records, is_mended)
        if len(bad) > len(records) / 2:
            self._set_aside(file.name, None)
            return False
        held = {row for name, row in self.items if name == file.name and self.items[name, row] in _HELD}
        for row in bad:
            self._set_aside(file.name, row)
        self._deliver(records, generation, [r for r in range(len(records)) if r not in bad and r not in held])
        self._take(file, generation)
        if file.load is None:
            self._kinds[generation] = kind_of(self._case, file)
        return True

    def _fits(self, file: File, generation: int, is_mended: bool) -> bool:
        if file.load is None:
            kind = kind_of(self._case, file)
            if self._admitted.get(generation, kind) != kind:
                return False
            if file.fault == "type" and not is_mended:
                return False
            self._admitted[generation] = kind
        return is_mended or file.fault not in ("torn", "type")

    def _bad(self, file: File, records: list[Record], is_mended: bool) -> set[int]:
        bad = {row for row, record in enumerate(records) if record.key is None}
        return bad if is_mended else bad | {row for row in file.bad_rows if row < len(records)}

    def _replay(self, file: File, generation: int) -> None:
        """Try released rows of an applied file again."""
        records = records_of(self._case, self._life, file)
        bad = self._bad(file, records, file.name in self.mended)
        rows = [
            row
            for (name, row), state in self.items.items()
            if name == file.name and row is not None and state == "released"
        ]
        for row in rows:
            self.items[file.name, row] = "open" if row in bad else "replayed"
        self._deliver(records, generation, sorted(set(rows) - bad))

    def _deliver(self, records: list[Record], generation: int, rows: list[int]) -> None:
        self._deliveries.append(([records[row] for row in rows], generation))

    def _set_aside(self, name: str, row: int | None) -> None:
        if self.items.get((name, row)) not in _HELD:
            self.items[name, row] = "open"


def _order(given: tuple[File, int]) -> tuple[object, ...]:
    file, generation = given
    return generation, file.load is None, file.minute, file.name
