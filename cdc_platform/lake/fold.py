"""The newest event of each key of a batch, found by whole-column arithmetic over the events as they came.

This is what :mod:`cdc_platform.lake.keyed` decides in SQL, for the batches that most are: events that nothing
will change, of keys that can be made words, none of which moves a row to another key. A batch that is not
so is declined, never judged by half.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.events import COMMITTED_AT, GENERATION, OP, POSITION, ROW, Op, before_name
from cdc_platform.lake.key_words import KeyShape, Words, differs, order_of
from cdc_platform.lake.packing import Numbers
from cdc_platform.lake.workspace import alias

#: The number of each key of a fold, in the tables of its workspace.
NUMBER = "_cdc_number"
_LOW, _HIGH = 0, 1


@dataclass(frozen=True, slots=True)
class Places:
    """Positions of events or rows, as columns that compare one after the other."""

    generation: Numbers
    high: Numbers
    low: Numbers

    @classmethod
    def of(cls, generation: pa.ChunkedArray[Any], position: pa.ChunkedArray[Any]) -> Places:
        """Return the positions of two columns without NULLs."""
        decimals: Any = pa.concat_arrays([*position.chunks, pa.array([], position.type)])
        words = np.frombuffer(decimals.buffers()[1], np.uint64).reshape(-1, 2)
        words = words[decimals.offset : decimals.offset + len(decimals)]
        numbers: Any = generation.to_numpy()
        return cls(numbers, words[:, _HIGH].view(np.int64), words[:, _LOW])

    def above(self, other: Places) -> Any:
        """Return for each position whether it is above that of ``other``."""
        above = self.low > other.low
        for mine, theirs in ((self.high, other.high), (self.generation, other.generation)):
            above = (mine > theirs) | ((mine == theirs) & above)
        return above


@dataclass(frozen=True, slots=True)
class Fold:
    """The newest event of each key, by the keys ascending."""

    #: All events, file after file: the key's columns, and what the rule needs beside them.
    events: pa.Table
    key: tuple[str, ...]
    #: The numbers of the files, and where the events of each begin.
    files: tuple[int, ...]
    starts: Numbers
    shape: KeyShape
    words: Words
    #: The row of ``events`` that is the newest of each key.
    rows: Numbers
    #: Whether that event deletes.
    deletes: Any

    def file_of(self, rows: Numbers) -> Numbers:
        """Return the place in ``files`` of the files that rows of ``events`` are of."""
        return np.searchsorted(self.starts, rows, "right") - 1

    def places(self, of_keys: Numbers) -> Places:
        """Return the positions of the newest events of some keys, which are given by number."""
        chosen = self.events.select([GENERATION, POSITION]).take(self.rows[of_keys])
        return Places.of(chosen.column(GENERATION), chosen.column(POSITION))

    def touched(self) -> pa.Table:
        """Return the columns of the keys by their names in the workspace, and :data:`NUMBER`, in no order."""
        numbers = np.full(len(self.events), -1, dtype=np.int64)
        numbers[self.rows] = np.arange(len(self.rows))
        keys = self.key_columns(self.events).append_column(NUMBER, pa.array(numbers))
        return keys if len(self.rows) == len(keys) else keys.filter(pa.array(numbers >= 0))

    def key_columns(self, events: pa.Table) -> pa.Table:
        """Return the key of events by the names its columns have in the workspace."""
        return events.select(list(self.key)).rename_columns([alias(column) for column in self.key])

    def numbers(self, place: int) -> Numbers:
        """Return what the keys have in a column of whole numbers, by the column's place in the key."""
        return self.words[self.shape.word_of(place)]

    def first_value(self, number: int) -> Any:
        """Return what a key has in the first of its columns."""
        return self.events.column(self.key[0])[self.rows[number]].as_py()


def fold_events(
    kept: Mapping[int, pa.Table], key: Sequence[str], types: Mapping[str, pa.DataType]
) -> Fold | None:
    """Return the newest event of each key, None where it takes more than this to tell.

    ``kept`` are events by file, ``types`` what the table has of the key's columns.
    """
    found = [_narrowed(kept[index], key, types) for index in sorted(kept)]
    files = [file for file in found if file is not None]
    if not files or len(files) < len(found) or any(_has_move(table, key, types) for table in kept.values()):
        return None
    events = pa.concat_tables(files)
    shape = KeyShape.of([events.column(column) for column in key])
    if shape is None:
        return None
    words = shape.words([events.column(column) for column in key])
    order = order_of(words)
    words = tuple(np.take(word, order) for word in words)
    is_delete: Any = pc.equal(events.column(OP), pa.scalar(Op.DELETE.value)).to_numpy()
    starts = np.flatnonzero(np.append(True, differs(words)))
    if len(starts) < len(order):
        order = _newest(events, order, starts, is_delete)
        words = tuple(np.take(word, starts) for word in words)
    file_starts = np.cumsum([0, *map(len, files)])[:-1]
    return Fold(
        events, tuple(key), tuple(sorted(kept)), file_starts, shape, words, order, np.take(is_delete, order)
    )


def _narrowed(table: pa.Table, key: Sequence[str], types: Mapping[str, pa.DataType]) -> pa.Table | None:
    """Return what the rule needs of a file's events, None where a key is not of the table's kind."""
    columns = {name: table.column(name) for name in (OP, GENERATION, POSITION, COMMITTED_AT, ROW)}
    for column in key:
        given, wanted = table.column(column), types[column]
        is_number = pa.types.is_signed_integer(given.type) and pa.types.is_signed_integer(wanted)
        if given.type != wanted and not is_number:
            return None
        columns[column] = given.cast(wanted)
    return pa.table(columns)


def _has_move(table: pa.Table, key: Sequence[str], types: Mapping[str, pa.DataType]) -> bool:
    """Whether an update changes its row's key."""
    is_update = pc.equal(table.column(OP), pa.scalar(Op.UPDATE.value))
    for column in key:
        if before_name(column) in table.column_names:
            before, after = (table.column(name).cast(types[column]) for name in (before_name(column), column))
            changed: Any = pc.and_(is_update, cast(Any, pc.not_equal(before, after)))
            if pc.any(changed).as_py():
                return True
    return False


def _newest(events: pa.Table, order: Numbers, starts: Numbers, is_delete: Any) -> Numbers:
    """Return the newest event of each key; ``starts`` is where in ``order`` each key begins."""
    counts = np.diff(np.append(starts, len(order)))
    newest = order[starts]
    several = np.flatnonzero(counts > 1)
    group = np.repeat(np.arange(len(starts)), counts)
    contested = np.flatnonzero(np.repeat(counts > 1, counts))
    rows, group = order[contested], group[contested]
    chosen = events.select([GENERATION, POSITION]).take(rows)
    places = Places.of(chosen.column(GENERATION), chosen.column(POSITION))
    # a delete and an upsert of one key at one position are of a swap that its file tells twice
    by = (rows, ~is_delete[rows], places.low, places.high, places.generation, group)
    ascending = np.lexsort(by)
    last = np.append(group[1:] != group[:-1], True)
    newest[several] = rows[ascending][last]
    return newest
