"""What happens at a source, and the change events and loads that tell of it.

A timeline is plain data that can be cut anywhere: acts that make no sense any more (an update of a key that
is not there) do nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from cdc_platform_tests.histories.shape import KEYS, Shape

Row = dict[str, Any]

#: The key that swaps go through.
TEMPORARY = KEYS - 1
_ACTS = (
    "insert",
    "insert",
    "update",
    "update",
    "update",
    "delete",
    "reinsert",
    "move",
    "swap",
    "direct swap",
)


@dataclass(frozen=True)
class Act:
    """One deed on keys ``a`` and ``b``; ``values`` choose the row."""

    what: str
    a: int
    b: int
    values: tuple[int, ...]


@dataclass(frozen=True)
class Happening:
    """A transaction, the start of a load (its acts are those that no task captured), or a schema change."""

    id: int
    what: str
    acts: tuple[Act, ...] = ()
    #: How many transactions after the start of a load each key is read.
    lags: tuple[int, ...] = ()


@dataclass(frozen=True)
class Event:
    """A change as the log tells it; both updates of a direct swap carry the same ``pair``."""

    op: str
    key: int
    row: Row | None
    before: int | None = None
    pair: int | None = None


@dataclass
class Transaction:
    """Events committed together; ``moment`` counts commits."""

    id: int
    generation: int
    era: int
    moment: int
    events: list[Event] = field(default_factory=list)


@dataclass
class Load:
    """The rows of a full load, in the columns of its era."""

    generation: int
    era: int
    rows: dict[int, Row] = field(default_factory=dict)


@dataclass
class Life:
    """Everything that happened, and the rows a right copy has in the end."""

    transactions: dict[int, Transaction] = field(default_factory=dict)
    #: By the id of the happening that began them.
    loads: dict[int, Load] = field(default_factory=dict)
    rows: dict[int, Row] = field(default_factory=dict)


def random_timeline(random: Random, shape: Shape) -> tuple[Happening, ...]:
    """Return what happens to a table: about a dozen transactions, some loads, some schema changes."""
    timeline: list[Happening] = []
    if random.random() < 0.5:
        timeline.append(_random_load(random, 0, rows=True))
    eras = 0
    for number in range(1, random.randint(2, 14) + 1):
        chance = random.random()
        if chance < 0.1:
            timeline.append(_random_load(random, number))
        elif chance < 0.2 and eras < 2:
            eras += 1
            timeline.append(Happening(number, "schema"))
        else:
            acts = tuple(_random_act(random) for _ in range(random.choice((1, 1, 1, 2, 3))))
            timeline.append(Happening(number, "transaction", acts))
    return tuple(timeline)


def _random_load(random: Random, number: int, *, rows: bool = False) -> Happening:
    acts = [_random_act(random) for _ in range(random.choice((0, 0, 1, 3)))]
    if rows:
        acts = [Act("insert", key, key, _values(random)) for key in range(KEYS - 1) if random.random() < 0.7]
    return Happening(number, "load", tuple(acts), tuple(random.choice((0, 0, 1, 3)) for _ in range(KEYS)))


def _random_act(random: Random) -> Act:
    return Act(random.choice(_ACTS), random.randrange(KEYS), random.randrange(KEYS), _values(random))


def _values(random: Random) -> tuple[int, ...]:
    return tuple(random.randrange(8) for _ in range(4))


def play(shape: Shape, timeline: tuple[Happening, ...]) -> Life:
    """Let a timeline happen."""
    return _Player(shape).play(timeline)


class _Player:
    def __init__(self, shape: Shape) -> None:
        self._shape = shape
        self._life = Life()
        self._truth: dict[int, Row] = {}
        self._era = 0
        self._load: Load | None = None
        self._unread: dict[int, int] = {}

    def play(self, timeline: tuple[Happening, ...]) -> Life:
        for moment, happening in enumerate(timeline, start=1):
            if happening.what == "transaction":
                self._transact(happening, moment)
            elif happening.what == "schema":
                self._read(everything=True)
                self._era += 1
                self._truth = {key: self._projected(row) for key, row in self._truth.items()}
            else:
                self._start_load(happening)
        self._read(everything=True)
        return self._life

    def _transact(self, happening: Happening, moment: int) -> None:
        generation = self._load.generation if self._load else 0
        transaction = Transaction(happening.id, generation, self._era, moment)
        for act in happening.acts:
            if not any(event.pair is not None for event in transaction.events):
                # Nothing may follow a direct swap: a later move could be taken for a part of it.
                self._act(act, transaction.events)
        for event in transaction.events:
            self._capture(event)
        if transaction.events:
            self._life.transactions[happening.id] = transaction
        self._read()

    def _start_load(self, happening: Happening) -> None:
        self._read(everything=True)
        for act in happening.acts:
            self._act(act, [])
        self._load = Load(self._load.generation + 1 if self._load else 1, self._era)
        self._life.loads[happening.id] = self._load
        self._life.rows = {}
        self._unread = dict(enumerate(happening.lags))
        self._read()

    def _read(self, *, everything: bool = False) -> None:
        """Read the rows whose turn it is into the load that is under way."""
        for key, lag in list(self._unread.items()):
            self._unread[key] = lag - 1
            if everything or lag <= 0:
                del self._unread[key]
                if key in self._truth and self._load is not None:
                    self._load.rows[key] = dict(self._truth[key])
                    self._life.rows[key] = dict(self._truth[key])

    def _capture(self, event: Event) -> None:
        """Tell the copy what an event says."""
        rows = self._life.rows
        if event.before is not None and event.before != event.key and event.pair is None:
            rows.pop(event.before, None)
        if event.row is None:
            rows.pop(event.key, None)
        else:
            rows[event.key] = event.row

    def _projected(self, row: Row) -> Row:
        return {name: row.get(name) for name in self._shape.columns_in(self._era)}

    def _row(self, act: Act) -> Row:
        row = {}
        for number, column in enumerate(self._shape.columns):
            if column.type_in(self._era) is not None:
                values = column.values_in(self._era)
                row[column.name] = values[act.values[number % len(act.values)] % len(values)]
        return row

    def _act(self, act: Act, events: list[Event]) -> None:
        """Do something to the source, and log it."""
        rows, (a, b) = self._truth, (act.a, act.b)
        if act.what == "insert" and a not in rows:
            rows[a] = self._row(act)
            events.append(Event("I", a, rows[a]))
        elif act.what == "update" and a in rows:
            rows[a] = self._row(act)
            events.append(Event("U", a, rows[a], a))
        elif act.what in ("delete", "reinsert") and a in rows:
            del rows[a]
            events.append(Event("D", a, None))
            if act.what == "reinsert":
                rows[a] = self._row(act)
                events.append(Event("I", a, rows[a]))
        elif act.what == "move" and a in rows and b not in rows:
            self._move(act, events, a, b)
        elif act.what == "swap" and a in rows and b in rows and len({a, b, TEMPORARY}) == 3:
            if TEMPORARY not in rows:
                self._move(act, events, a, TEMPORARY)
                self._move(act, events, b, a)
                self._move(act, events, TEMPORARY, b)
        elif act.what == "direct swap" and a != b and a in rows and b in rows and not events:
            self._swap(events, a, b)

    def _move(self, act: Act, events: list[Event], old: int, new: int) -> None:
        row = self._truth.pop(old)
        # A row that moves straight back with other values cannot be told from two rows that swapped keys.
        last = events[-1] if events else None
        moves_back = last is not None and last.op == "U" and (last.key, last.before) == (old, new)
        self._truth[new] = row if moves_back or act.values[-1] % 2 else self._row(act)
        events.append(Event("U", new, self._truth[new], old))

    def _swap(self, events: list[Event], a: int, b: int) -> None:
        rows = self._truth
        # Without a commit time two updates cannot be known to be of one transaction.
        if rows[a] != rows[b] and self._shape.kind != "file-time":
            rows[a], rows[b] = rows[b], rows[a]
            events += [Event("U", b, rows[b], a, pair=0), Event("U", a, rows[a], b, pair=0)]
