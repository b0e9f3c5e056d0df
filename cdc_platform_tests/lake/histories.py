"""Random histories of a keyed table, to be written as raw files of every format.

The oracle is the source's own dict at the end. ``cdc_platform_tests/histories`` has wider ones, in memory.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random
from typing import Any

from cdc_platform.lake.merge import MergeInput

Row = tuple[int, str | None]

#: Keys outside the ordinary range, for swaps through a temporary key.
_TEMPORARY = 900


@dataclass
class Transaction:
    """Events committed together; ``moment`` counts commits."""

    generation: int
    moment: int
    events: list[tuple[str, int, Row | None, int | None]] = field(default_factory=list)
    #: Nothing may follow a direct swap: a later move could be taken for a part of it.
    is_closed: bool = False


@dataclass
class History:
    """The transactions and loads of a table's life, and its rows in the end."""

    transactions: list[Transaction]
    loads: dict[int, dict[int, Row]]
    rows: dict[int, Row]

    @property
    def generation(self) -> int:
        """The last generation there was."""
        return max(self.loads, default=0)


def random_history(random: Random, *, keys: int = 6, length: int = 25) -> History:
    """Return a history of about ``length`` transactions over a few keys."""
    rows: dict[int, Row] = {}
    loads: dict[int, dict[int, Row]] = {}
    transactions: list[Transaction] = []
    generation = 0
    pending: int | None = None
    if random.random() < 0.6:
        generation, rows = 1, {key: _row(random) for key in range(keys) if random.random() < 0.7}
        loads[1] = dict(rows)
    for moment in range(1, random.randint(1, length) + 1):
        if random.random() < 0.08:
            # Changes are captured from the start of a load on; its rows are read a little later.
            generation += 1
            pending = random.randint(0, 3)
            loads[generation] = dict(rows)
        if pending is not None:
            loads[generation] = dict(rows)
            pending = pending - 1 if pending else None
        transaction = Transaction(generation, moment)
        for _ in range(random.choice((1, 1, 1, 2, 3))):
            if not transaction.is_closed:
                _act(random, rows, keys, transaction)
        if transaction.events:
            transactions.append(transaction)
    return History(transactions, loads, rows)


def _row(random: Random) -> Row:
    return random.randint(0, 2), random.choice((None, "", "x", "y", "é"))


def _act(random: Random, rows: dict[int, Row], keys: int, transaction: Transaction) -> None:
    """Do something to the source, and log it."""
    events = transaction.events
    free = [key for key in range(keys) if key not in rows]
    taken = sorted(rows)
    what = random.choice(("insert", "update", "update", "delete", "reinsert", "move", "swap", "direct swap"))
    if what == "insert" and free:
        key = random.choice(free)
        rows[key] = _row(random)
        events.append(("I", key, rows[key], None))
    elif what == "update" and taken:
        key = random.choice(taken)
        rows[key] = _row(random)
        events.append(("U", key, rows[key], key))
    elif what == "delete" and taken:
        key = random.choice(taken)
        del rows[key]
        events.append(("D", key, None, None))
    elif what == "reinsert" and taken:
        key = random.choice(taken)
        events.append(("D", key, None, None))
        rows[key] = _row(random)
        events.append(("I", key, rows[key], None))
    elif what == "move" and taken and free:
        _move(random, rows, events, random.choice(taken), random.choice(free))
    elif what == "swap" and len(taken) > 1:
        a, b = random.sample(taken, 2)
        _move(random, rows, events, a, _TEMPORARY)
        _move(random, rows, events, b, a)
        _move(random, rows, events, _TEMPORARY, b)
    elif what == "direct swap" and len(taken) > 1 and not events:
        a, b = random.sample(taken, 2)
        if rows[a] != rows[b]:
            rows[a], rows[b] = rows[b], rows[a]
            events += [("U", b, rows[b], a), ("U", a, rows[a], b)]
            transaction.is_closed = True


def _move(random: Random, rows: dict[int, Row], events: list[Any], old: int, new: int) -> None:
    row = rows.pop(old)
    # A row that moves straight back with other values cannot be told from two rows that swapped keys.
    moves_back = bool(events) and events[-1][0] == "U" and (events[-1][1], events[-1][3]) == (old, new)
    rows[new] = row if moves_back or random.random() < 0.5 else _row(random)
    events.append(("U", new, rows[new], old))


def random_groups(random: Random, files: list[MergeInput]) -> list[list[MergeInput]]:
    """Return the files in random order, in random groups, some given more than once."""
    order = [*files, *(random.sample(files, len(files) // 3))]
    random.shuffle(order)
    groups: list[list[MergeInput]] = [[]]
    for file in order:
        groups[-1].append(file)
        if random.random() < 0.25:
            groups.append([])
    return [group for group in groups if group]
