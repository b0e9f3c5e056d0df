"""Finding keys, as words, in data files of any order: by their place, or by a hash of the words.

Keys that lie densely have a place each (:mod:`cdc_platform.lake.dense_keys`). Others lie in a table of slots
by the upper bits of their hash. Of a data file the key columns alone are read, row group by row group. Most
of its rows fall into a slot that is empty and are done with; what is left is compared with the keys of its
slot, hash first and then the key itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import IO, Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.io import FileIO

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.dense_keys import DenseTable
from cdc_platform.lake.key_words import KeyShape, Words
from cdc_platform.lake.ordered_files import hits_table, names_by_field, searched
from cdc_platform.lake.packing import Numbers

#: Odd numbers that make every bit of a word count in the upper bits of its hash.
_MIX = (0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0xD6E8FEB86659FD93, 0xA0761D6478BD642F, 0xE7037ED1A0B428DB)
_SPREAD = np.uint64(0xFF51AFD7ED558CCD)
_HALF = np.uint64(32)
#: Slots for each key, as a power of two: of the rows without a key so many fewer are looked at again.
_SPARSE_BITS = 3
_MOST_BITS = 26
#: More keys in one slot are none of chance: then the engine's own hash table is safer.
_MOST_IN_SLOT = 64


class WordTable:
    """Keys by their hashes; ``words`` are without repeats, at least one key."""

    def __init__(self, words: Words) -> None:
        self._words = words
        hashes = _hashes(words)
        self._numbers = np.argsort(hashes)
        ascending = np.take(hashes, self._numbers)
        bits = min(len(hashes).bit_length() + _SPARSE_BITS, _MOST_BITS)
        self._shift = np.uint64(64 - bits)
        slots = ascending >> self._shift
        starts = np.flatnonzero(np.append(True, slots[1:] != slots[:-1]))
        #: The first key of each slot, -1 for none.
        self._first = np.full(2**bits, -1, dtype=np.int32)
        self._first[slots[starts].astype(np.int64)] = starts
        # after the last key comes one of another slot
        self._hashes = np.append(ascending, ~ascending[-1])
        #: Whether the keys spread so well over the slots that a search is worth it.
        self.is_even = int(np.diff(np.append(starts, len(hashes))).max()) <= _MOST_IN_SLOT

    def find(self, words: Words) -> tuple[Numbers, Numbers]:
        """Return the rows of ``words`` that are one of the keys, ascending, and the number of each key."""
        sought = _hashes(words)
        number = np.full(len(sought), -1, dtype=np.int64)
        at = np.take(self._first, (sought >> self._shift).astype(np.int64))
        rows = np.flatnonzero(at >= 0)
        at, sought = np.take(at, rows), np.take(sought, rows)
        while len(rows):
            there = np.take(self._hashes, at)
            is_in_slot = (there ^ sought) >> self._shift == 0
            alike = np.flatnonzero(there == sought)
            candidates = np.take(self._numbers, np.take(at, alike))
            is_key = self._is_key(candidates, words, np.take(rows, alike))
            number[rows[alike[is_key]]] = candidates[is_key]
            is_in_slot[alike[is_key]] = False
            more = np.flatnonzero(is_in_slot)
            rows, at, sought = np.take(rows, more), np.take(at, more) + 1, np.take(sought, more)
        hits = np.flatnonzero(number >= 0)
        return hits, np.take(number, hits)

    def _is_key(self, numbers: Numbers, words: Words, rows: Numbers) -> Any:
        """Return whether each of the keys ``numbers`` is what ``words`` have in the row."""
        same = np.ones(len(rows), dtype=bool)
        for mine, theirs in zip(self._words, words, strict=True):
            same &= np.take(mine, numbers) == np.take(theirs, rows)
        return same


class WordSearch:
    """Looks keys of one shape up in data files, where their columns are ``field_ids``."""

    def __init__(
        self, io: FileIO, field_ids: Sequence[int], shape: KeyShape, words: Words, threads: int
    ) -> None:
        self._io = io
        self._field_ids = field_ids
        self._shape = shape
        self._threads = threads
        self._words = words

    def find(self, files: Sequence[BaseFile]) -> tuple[list[pa.Table], list[BaseFile]]:
        """Return tables (file, pos, number) of the rows with a key, and the files that cannot be searched."""
        # the first columns are read while the keys are put into their slots
        with ThreadPoolExecutor(1) as builder:
            table = builder.submit(_key_table, self._words)
            return searched(files, partial(self._hits, table), self._threads)

    def _hits(self, table: Future[DenseTable | WordTable], file: BaseFile) -> pa.Table | None:
        positions: list[Numbers] = []
        numbers: list[Numbers] = []
        with self._io.new_input(file.data.file_path).open() as stream:
            parquet = pq.ParquetFile(cast(IO[Any], stream))
            columns = names_by_field(parquet.schema_arrow, self._field_ids)
            schema = parquet.schema_arrow
            if columns is None or not self._shape.fits([schema.field(name).type for name in columns]):
                return None
            offset = 0
            for group in range(parquet.num_row_groups):
                stored = parquet.read_row_group(group, columns=columns, use_threads=False).select(columns)
                if not table.result().is_even:
                    return None
                rows, found = self._search(table.result(), stored)
                positions.append(rows + offset)
                numbers.append(found)
                offset += len(stored)
        return hits_table(file, positions, numbers)

    def _search(self, table: DenseTable | WordTable, stored: pa.Table) -> tuple[Numbers, Numbers]:
        matching = self._shape.matching(stored.columns)
        if matching is not None:
            stored = stored.take(matching)
        if not len(stored):
            return np.empty(0, np.int64), np.empty(0, np.int64)
        rows, numbers = table.find(self._shape.words(stored.columns))
        return (rows if matching is None else matching[rows]), numbers


def _key_table(words: Words) -> DenseTable | WordTable:
    return DenseTable.of(words) or WordTable(words)


def _hashes(words: Words) -> Numbers:
    """Return one number for each key, the same for equal keys."""
    mixed = np.zeros(len(words[0]), dtype=np.uint64)
    for number, word in enumerate(words):
        mixed += word.view(np.uint64) * np.uint64(_MIX[number % len(_MIX)] + 2 * (number // len(_MIX)))
    mixed ^= mixed >> _HALF
    mixed *= _SPREAD
    return mixed
