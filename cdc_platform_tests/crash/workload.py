"""Table lives to be interrupted: what is delivered round by round, and the table that must come of it.

The oracle is plain Python over dicts and shares nothing with the merge: per key the event with the highest
(generation, position) that was delivered; per file and row what was set aside.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

import pyarrow as pa

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import UnreadableRawFile
from cdc_platform.lake.merge import MergeInput
from cdc_platform.raw.files import FileKind
from cdc_platform_tests.crash.rounds import Round, State
from cdc_platform_tests.crash.shapes import Shape
from cdc_platform_tests.lake.memory_files import Change, MemoryFile, Rejected, accepted, memory_file


@dataclass
class _Faulty:
    """A file of which a row, or all, was set aside, and how it is once mended."""

    name: str
    row: int | None
    mended: MergeInput
    events: list[Change]
    generation: int


def _same(file: MemoryFile) -> MemoryFile:
    return file


class Life:
    """The life of one table: a source that changes, and the files that tell of it."""

    def __init__(self, shape: Shape, seed: int, *, keys: int = 40) -> None:
        self.shape = shape
        self._random = Random(f"{shape.name} {seed}")
        self._keys = keys
        self._start()
        self._number = 0

    def _start(self) -> None:
        self._source: dict[int, dict[str, Any]] = {}
        self._images: dict[int, tuple[tuple[int, int], dict[str, Any]]] = {}
        self._deletes: dict[int, tuple[int, int]] = {}
        self._appended: list[dict[str, Any]] = []
        self._files: set[str] = set()
        self._quarantine: dict[tuple[str, int | None], str] = {}
        self._withheld: list[tuple[MergeInput, list[Change], int]] = []
        self._faulty: list[_Faulty] = []
        self._position = 0
        self._generation = 0
        self._complete = 0
        self._extra = 0
        self._wide = False
        self._is_held = False

    def next(self) -> Round:
        """Return the next round."""
        number = self._number
        self._number += 1
        name = "public.item"
        if self.shape.is_new_each_round:
            self._start()
            name = f"public.item{number}"
        before, was_held = self.state(), self._is_held
        if self.shape.holds:
            self._is_held = self._random.random() < (0.85 if was_held else 0.8)
        publish = "on_match" if self._is_held else "always"
        config = TableConfig(**{"name": name, "publish": publish, **self.shape.options})
        if self.shape.columns and number % self.shape.columns == 1:
            self._extra, self._wide = min(self._extra + 1, 12), number > 8
        completed = None
        inputs = []
        if self.shape.loads and number % self.shape.loads == 0:
            inputs += self._load(number)
            completed = self._generation
        inputs += self._changes(number)
        releases = self._mended(inputs) if self.shape.faults else ()
        if completed is not None:
            self._drop_before(completed)
        inputs += self._random.sample(inputs, len(inputs) // 3)
        self._random.shuffle(inputs)
        columns = tuple(self._columns().names)
        return Round(config, tuple(inputs), completed, releases, columns, before, self.state(), was_held)

    def state(self) -> State:
        """Return what the table must be now."""
        if self.shape.is_append:
            shown = [self._shown(row) for row in self._appended]
        else:
            shown = []
            for key, (at, row) in self._images.items():
                is_deleted = self._deletes.get(key, (-1, -1)) >= at
                if not is_deleted or self.shape.is_soft:
                    shown.append(self._shown(row, is_deleted=is_deleted))
        return State(tuple(sorted(shown, key=repr)), frozenset(self._files), dict(self._quarantine))

    def _shown(self, row: Mapping[str, Any], *, is_deleted: bool = False) -> tuple[Any, ...]:
        values = tuple(sorted((name, value) for name, value in row.items() if value is not None))
        return (*values, ("deleted", is_deleted))

    def _columns(self) -> pa.Schema:
        number = pa.int64() if self._wide else pa.int32()
        fields: list[pa.Field[Any]] = [
            pa.field("id", pa.int64()),
            pa.field("v", number),
            pa.field("w", pa.string()),
            pa.field("region", pa.string()),
        ]
        return pa.schema([*fields, *(pa.field(f"c{n}", pa.string()) for n in range(self._extra))])

    def _row(self, key: int) -> dict[str, Any]:
        pick = self._random
        row: dict[str, Any] = {"id": key, "v": pick.randint(0, 10**6), "w": pick.choice((None, "", "é", "x"))}
        row["region"] = pick.choice(("north", "south", None))
        return {**row, **{f"c{n}": pick.choice((None, f"value {n}")) for n in range(self._extra)}}

    def _change(self) -> Change:
        """Change the source, and return the event."""
        self._position += 1
        key = self._random.randrange(self._keys)
        empty = dict.fromkeys(self._columns().names)
        if self.shape.is_append:
            row = self._row(self._position)
            return Change("I", row, self._position)
        what = self._random.random()
        if key not in self._source or what < 0.4:
            op = "U" if key in self._source else "I"
            self._source[key] = self._row(key)
            return Change(op, self._source[key], self._position, {"id": key})
        old = self._source.pop(key)
        free = [one for one in range(self._keys) if one not in self._source and one != key]
        if what < 0.6 and free and not self.shape.is_soft:
            new = self._random.choice(free)
            self._source[new] = {**old, "id": new, "v": self._position}
            return Change("U", self._source[new], self._position, {"id": key})
        return Change("D", {**empty, "id": key}, self._position, {"id": key})

    def _changes(self, number: int) -> list[MergeInput]:
        """Return this round's change files; one may be kept back, one from before may come late."""
        files: list[MergeInput] = []
        for part in range(self._random.randint(1, 3)):
            events = [self._change() for _ in range(self._random.randint(4, 12))]
            name = f"r{number}-{part}"
            if self.shape.faults and part == 0 and number % self.shape.faults == 0:
                files.append(self._fault(name, events))
                continue
            made = self._file(name, events)
            if self._random.random() < 0.2:
                self._withheld.append((made, events, self._generation))
                continue
            self._deliver(made, events, self._generation)
            files.append(made)
        if self._withheld and self._random.random() < 0.5:
            late = self._withheld.pop(0)
            self._deliver(*late)
            files.append(late[0])
        return files

    def _file(self, name: str, events: list[Change], **options: Any) -> MergeInput:
        file = memory_file(events, generation=self._generation, columns=self._columns(), **options)
        taken = accepted(name, generation=self._generation, minute=self._position, rows=len(events))
        return MergeInput(taken, lambda: file)

    def _load(self, number: int) -> list[MergeInput]:
        """Return the files of a new full load, which take the place of everything before."""
        self._generation += 1
        files = []
        rows = sorted(self._source.items())
        for part, items in enumerate((rows[::2], rows[1::2])):
            events = [Change("L", row, 0) for _, row in items]
            file = memory_file(events, generation=self._generation, columns=self._columns(), before=())
            taken = accepted(
                f"r{number}-load{part}", kind=FileKind.LOAD, generation=self._generation, rows=len(events)
            )
            files.append(MergeInput(taken, partial(_same, file)))
            self._deliver(files[-1], events, self._generation)
        return files

    def _fault(self, name: str, events: list[Change]) -> MergeInput:
        """Return a file of which the last row, or everything, cannot be read."""
        mended = self._file(name, events)
        if self._random.random() < 0.4:

            def refuse() -> Any:
                raise UnreadableRawFile("truncated", where=name, mend="mend it")

            self._faulty.append(_Faulty(name, None, mended, events, self._generation))
            self._quarantine[name, None] = "open"
            return MergeInput(mended.accepted, refuse)
        row = len(events) - 1
        bad = Rejected(row, "v", "not a number", "mend it", {"id": "?"})
        made = self._file(name, events[:-1], rejected=(bad,))
        self._deliver(made, events[:-1], self._generation)
        self._faulty.append(_Faulty(name, row, mended, events[-1:], self._generation))
        self._quarantine[name, row] = "open"
        return made

    def _mended(self, inputs: list[MergeInput]) -> tuple[tuple[str, int | None], ...]:
        """Mend something set aside in an earlier round, to be released."""
        now = {one.identity[0] for one in inputs}
        waiting = [one for one in self._faulty if one.name not in now]
        if not waiting or self._random.random() < 0.3:
            return ()
        faulty = waiting[0]
        self._faulty.remove(faulty)
        inputs.append(faulty.mended)
        self._deliver(faulty.mended, faulty.events, faulty.generation)
        self._quarantine[faulty.name, faulty.row] = "replayed"
        return ((faulty.name, faulty.row),)

    def _deliver(self, file: MergeInput, events: list[Change], generation: int) -> None:
        self._files.add(file.identity[0])
        for event in events if generation >= self._complete else ():
            if self.shape.is_append:
                self._appended.append(dict(event.values))
                continue
            at = (generation, event.position)
            key = event.values["id"]
            before = event.before.get("id", key)
            if event.op == "D" or before != key:
                self._deletes[before] = max(self._deletes.get(before, at), at)
            if event.op != "D" and at >= self._images.get(key, ((-1, -1), {}))[0]:
                self._images[key] = (at, dict(event.values))

    def _drop_before(self, generation: int) -> None:
        self._complete = generation
        self._images = {key: image for key, image in self._images.items() if image[0][0] >= generation}
        self._deletes = {key: at for key, at in self._deletes.items() if at[0] >= generation}
