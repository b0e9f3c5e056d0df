"""Lives of tables whose updates carry only the columns they changed, and an oracle in plain Python.

A source changes its rows and logs full images of inserts, keys of deletes, and of updates the changed columns
alone. The log is cut into files that are merged in any order, some again, some copied under another name.
:func:`truth_of` is the oracle: it knows nothing of the order in which events came, nor of tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

Row = dict[str, Any]
COLUMNS = ("a", "b", "c")
#: (generation, position)
Place = tuple[int, int]


@dataclass(frozen=True)
class Event:
    """One line of the log; an update supplies the columns in ``row`` and no others."""

    op: str
    key: int
    position: int
    row: Mapping[str, Any] = field(default_factory=dict)
    before: int | None = None

    @property
    def moves(self) -> bool:
        return self.op == "U" and self.before is not None and self.before != self.key


@dataclass(frozen=True)
class File:
    """Some events of one generation; those of a load are its rows."""

    name: str
    generation: int
    events: tuple[Event, ...]
    is_load: bool = False


@dataclass(frozen=True)
class Story:
    """The files of a life, the order in which they are merged, and the source's rows in the end."""

    files: tuple[File, ...]
    merges: tuple[tuple[str, ...], ...]
    rows: Mapping[int, Row]
    soft: bool
    #: Whether each merge is given the files applied before as well.
    recalls: bool

    @property
    def is_in_order(self) -> bool:
        """Whether no file comes after one that is later."""
        rank = {file.name: number for number, file in enumerate(self.files)}
        came = list(dict.fromkeys(name for names in self.merges for name in names))
        ends = [max(rank[name] for name in names) for names in self.merges]
        first = {name: n for n, names in reversed(list(enumerate(self.merges))) for name in names}
        return all(rank[name] >= max(ends[: first[name]], default=-1) for name in came)

    @property
    def in_doubt(self) -> set[int]:
        """Keys that a partial image moved: neither key can be told from the log."""
        moves = [event for file in self.files for event in file.events if event.moves]
        return {key for event in moves for key in (event.key, event.before) if key is not None}


def random_story(seed: int) -> Story:
    """Return the life of a seed."""
    random = Random(seed)
    rows: dict[int, Row] = {}
    log: list[list[Event]] = [[]]
    files: list[File] = []
    for position in range(1, random.randint(4, 22)):
        if random.random() < 0.05 and len(log) < 3:
            # what no task captured, and the load that makes up for it
            for key in random.sample(range(4), 2):
                rows[key] = _row(random)
            log.append([])
            loaded = tuple(Event("L", key, 0, row) for key, row in sorted(rows.items()))
            files.append(File(f"load{len(log)}", len(log) - 1, loaded, is_load=True))
            continue
        log[-1].extend(_happening(random, rows, position * 10))
    for generation, events in enumerate(log):
        files += _cut(random, generation, events)
    files.sort(key=lambda file: (file.generation, not file.is_load))
    copied = [file for file in files if random.random() < 0.1]
    files += [replace(file, name=f"{file.name}copy") for file in copied]
    return Story(
        tuple(files), _merges(random, files), rows, soft=random.random() < 0.25, recalls=seed % 2 == 0
    )


def _row(random: Random) -> Row:
    return {name: random.randrange(1, 5) for name in COLUMNS}


def _happening(random: Random, rows: dict[int, Row], position: int) -> list[Event]:
    key = random.randrange(4)
    if key not in rows:
        rows[key] = _row(random)
        return [Event("I", key, position, dict(rows[key]))]
    what = random.random()
    if what < 0.6:
        changed = {
            name: random.randrange(1, 5) for name in random.sample(COLUMNS, random.choice((1, 1, 2, 3)))
        }
        rows[key] |= changed
        return [Event("U", key, position, changed, key)]
    free = [other for other in range(4) if other not in rows]
    if what < 0.66 and free:
        row = rows.pop(key)
        changed = {"a": random.randrange(1, 5)}
        rows[free[0]] = row | changed
        return [Event("U", free[0], position, changed, key)]
    del rows[key]
    gone = [Event("D", key, position)]
    if random.random() < 0.5:
        rows[key] = _row(random)
        gone.append(Event("I", key, position + 1, dict(rows[key])))
    return gone


def _cut(random: Random, generation: int, events: Sequence[Event]) -> list[File]:
    files: list[File] = []
    start = 0
    while start < len(events):
        stop = start + random.randint(1, 4)
        files.append(File(f"g{generation}c{start}", generation, tuple(events[start:stop])))
        start = stop
    return files


def _merges(random: Random, files: Sequence[File]) -> tuple[tuple[str, ...], ...]:
    count = random.choice((1, 2, 3, 4))
    order = random.choice(("any", "about", "strict", "strict"))
    groups: list[list[str]] = [[] for _ in range(count)]
    for number, file in enumerate(files):
        place = number * count // len(files)
        if order == "about":
            place = min(count - 1, max(0, place + random.choice((-1, 0, 1))))
        elif order == "any":
            place = random.randrange(count)
        groups[place].append(file.name)
        if random.random() < 0.15:
            groups[random.randrange(count)].append(file.name)
    return tuple(tuple(group) for group in groups if group)


@dataclass(frozen=True)
class Truth:
    """What the events of a key that came in say of it, if they say all."""

    #: Its row, None where it is deleted.
    row: Row | None = None
    #: Its last image, deleted or not.
    image: Row | None = None
    is_known: bool = True
    is_image_known: bool = True


def truth_of(events: Mapping[Place, Event]) -> Truth:
    """Lay the events of one key over each other, in order, whatever order they came in."""
    truth, opened = Truth(), -1
    for (generation, _), event in sorted(events.items(), key=lambda each: each[0]):
        if event.op == "D":
            truth = Truth(None, truth.image, True, truth.is_image_known and truth.image is not None)
        elif event.op != "U" or event.row.keys() == set(COLUMNS):
            row = {**dict.fromkeys(COLUMNS), **event.row}
            truth, opened = Truth(row, row), generation
        elif truth.row is None or opened != generation:
            # what it was laid over at the source did not come in
            truth = Truth(None, None, False, False)
        else:
            row = {**truth.row, **event.row}
            truth = Truth(row, row)
    return truth


def delivered(files: Iterable[File]) -> dict[int, dict[Place, Event]]:
    """Return the events of some files by key and place."""
    found: dict[int, dict[Place, Event]] = {}
    for file in files:
        for event in file.events:
            found.setdefault(event.key, {})[file.generation, event.position] = event
    return found
