"""Random histories of a keyed table: what the source did, and the events that tell of it.

The oracle is the source's own dict at the end. Nothing here shares code with the merge.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from typing import Any

import pyarrow as pa

from cdc_platform.events import PositionKind
from cdc_platform.lake.merge import MergeInput
from cdc_platform.raw.files import FileKind
from cdc_platform_tests.lake.memory_files import EPOCH, Change, accepted, memory_file

COLUMNS = pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.int32()), pa.field("w", pa.string())])

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


def delivered_files(random: Random, history: History, kind: PositionKind) -> list[MergeInput]:
    """Cut a history into files at random, some of them delivered again under another name."""
    files = [
        part
        for generation in {t.generation for t in history.transactions}
        for part in _change_files(random, history, generation, kind)
    ]
    for generation, rows in history.loads.items():
        files += _load_files(random, generation, rows)
    return files


def _change_files(random: Random, history: History, generation: int, kind: PositionKind) -> list[MergeInput]:
    chunks: list[list[Transaction]] = [[]]
    for transaction in history.transactions:
        if transaction.generation == generation:
            chunks[-1].append(transaction)
            if random.random() < 0.4:
                chunks.append([])
    files = []
    for number, chunk in enumerate(filter(None, chunks)):
        for copy in range(random.choice((1, 1, 1, 2))):
            name = f"g{generation}-c{number}-{copy}"
            files.append(_change_file(name, chunk, generation, number + 100 * copy, kind))
    return files


def _change_file(
    name: str, chunk: list[Transaction], generation: int, minute: int, kind: PositionKind
) -> MergeInput:
    events = []
    for transaction in chunk:
        at = EPOCH + timedelta(seconds=transaction.moment)
        for number, (op, key, row, before) in enumerate(transaction.events):
            counter = transaction.moment * 100 + number
            if kind == PositionKind.COMMIT_TIME:
                counter = transaction.moment * 10**15 + minute * 10**9 + len(events)
            values = {"id": key, **({"v": row[0], "w": row[1]} if row else {"v": None, "w": None})}
            before_key = {"id": before} if before is not None else {}
            events.append(Change(op, values, counter, before_key, at))
    file = memory_file(events, generation=generation, columns=COLUMNS, position_kind=kind)
    return MergeInput(accepted(name, generation=generation, minute=minute, rows=len(events)), lambda: file)


def _load_files(random: Random, generation: int, rows: dict[int, Row]) -> list[MergeInput]:
    cut = random.randint(0, len(rows))
    items = sorted(rows.items())
    files = []
    for number, part in enumerate((items[:cut], items[cut:])):
        events = [Change("L", {"id": key, "v": row[0], "w": row[1]}, 0) for key, row in part]
        file = memory_file(events, generation=generation, columns=COLUMNS, before=())
        taken = accepted(
            f"g{generation}-l{number}", kind=FileKind.LOAD, generation=generation, rows=len(part)
        )
        files.append(MergeInput(taken, lambda file=file: file))
    return files


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
