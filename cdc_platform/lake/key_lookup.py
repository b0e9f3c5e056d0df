"""Finding the keys of a batch in data files by their key indexes, and building the indexes that were missed.

An index pays where a large file is asked for few keys: random keys (UUIDs, hashes) lie in every file, and
reading the key column of all of them would make a merge's cost grow with the table. Everything here is
optional: without its folder, or with the folder lost or damaged, a merge reads the files.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.key_filter import Asked, DamagedIndex, Words
from cdc_platform.lake.key_index import Hits, KeyIndex, look_up, open_index, remove_index, touch, write_index
from cdc_platform.lake.touched_keys import TouchedKeys
from cdc_platform.naming import quoted

#: Files of fewer rows are read as quickly as their index would be.
LEAST_ROWS = 100_000
#: An index is asked when the file has at least this many rows for each key, and built when it has more.
ROWS_PER_KEY = 10
#: The same for keys of whole numbers: those are found as quickly in a file that ascends by them.
ROWS_PER_WHOLE_NUMBER = 20
ROWS_PER_KEY_TO_BUILD = 20

#: So many keys are asked of indexes together: what is found of them is held at once.
_ASKED_TOGETHER = 1_000_000

#: Types whose equal values have equal hashes whatever wrote them. Floating point is not among them.
_HASHED = ("INTEGER", "BIGINT", "VARCHAR", "DATE", "DECIMAL", "TIMESTAMP", "BLOB", "BOOLEAN", "TIME")
#: A temporary file older than this is of a process that is gone.
_UNFINISHED_SECONDS = 3600


ReadSql = Callable[[Sequence[BaseFile], Sequence[str]], str]


@dataclass(frozen=True, slots=True)
class IndexFolder:
    """Where the indexes are, how many bytes they may take up together, and threads to work with."""

    path: Path
    limit: int
    threads: int = 1


class KeyLookup:
    """Looks the keys of one batch, in table ``touched`` of its workspace, up in data files."""

    def __init__(self, con: duckdb.DuckDBPyConnection, folder: IndexFolder, touched: TouchedKeys) -> None:
        self._con = con
        self._folder = folder
        self._touched = touched
        self._key = touched.key
        self._keys = ", ".join(map(quoted, touched.key))
        self._types = touched.types
        #: Files that had to be read for want of an index that would have paid.
        self.missed: list[BaseFile] = []

    @property
    def is_possible(self) -> bool:
        """Whether keys of these types can be looked up at all."""
        typed = all(kind.startswith(_HASHED) for kind in self._types.values())
        return bool(self._key and typed and self._folder.limit and self._touched.count)

    def find(self, files: Sequence[BaseFile]) -> list[BaseFile]:
        """Make table ``hits`` (file, pos, key…) of rows whose key is in ``touched``.

        Return the files it could not do this for, which have to be read.
        """
        asked = {file.index: self._touched.in_range(file) for file in files}
        least = ROWS_PER_KEY if self._touched.ascending is None else ROWS_PER_WHOLE_NUMBER
        paying = [file for file in files if file.data.record_count >= least * asked[file.index]]
        answers: list[pa.Table] = []
        answered: set[int] = set()
        if paying:
            self._read_hashes()
            for some in _groups(paying, [asked[file.index] for file in paying]):
                answered |= self._answer(some, answers)
        left = [file for file in files if file.index not in answered]
        for file in left:
            if file.data.record_count >= max(LEAST_ROWS, ROWS_PER_KEY_TO_BUILD * asked[file.index]):
                self.missed.append(file)
        columns = ", ".join(f"{quoted(name)} {kind}" for name, kind in self._types.items())
        self._con.execute(f"CREATE TABLE hits (file INTEGER, pos BIGINT, hash UBIGINT, {columns})")
        if answers:
            self._con.register("new_hits", pa.concat_tables(answers).combine_chunks())
            self._con.execute("INSERT INTO hits FROM new_hits")
            self._con.unregister("new_hits")
            left += self._set_aside_damaged({file.index: file for file in files})
        return left

    def _read_hashes(self) -> None:
        """Read the keys' hashes, ascending, with those of their columns that are whole numbers."""
        values = {"hash": self._hash_sql()} | {name: quoted(name) for name in self._touched.whole}
        columns = self._touched.arrays(values)
        order = np.argsort(columns["hash"])
        self._hashes, *numbers = (values[order] for values in columns.values())
        self._numbers = dict(zip(self._touched.whole, numbers, strict=True))

    def _asked(self, file: BaseFile) -> Asked:
        """Return the hashes, ascending, of the keys that can be in the file by its bounds."""
        if not self._numbers:
            return self._all
        return Asked(_without_repeats(self._hashes[self._touched.mask(file, self._numbers)]))

    @cached_property
    def _all(self) -> Asked:
        return Asked(_without_repeats(self._hashes))

    def _answer(self, files: Sequence[BaseFile], answers: list[pa.Table]) -> set[int]:
        """Add the hits in files whose index is there and as it was written; return the numbers of these."""
        there = [(file, index) for file in files if (index := self._index(file)) is not None]
        hits: dict[int, Hits] = {}
        for (file, _), found in zip(
            there, look_up([(index, self._asked(file)) for file, index in there]), strict=True
        ):
            if found is None:
                remove_index(self._path(self._identity(file)))
            else:
                hits[file.index] = found
        if hits:
            answers.append(_told(hits, self._key))
        return set(hits)

    def _index(self, file: BaseFile) -> KeyIndex | None:
        identity = self._identity(file)
        path = self._path(identity)
        try:
            index = open_index(path, identity)
        except FileNotFoundError:
            return None
        except DamagedIndex:
            remove_index(path)
            return None
        with suppress(OSError):
            touch(path)
        return index

    def _set_aside_damaged(self, files: dict[int, BaseFile]) -> list[BaseFile]:
        """Return the files whose index holds a key that does not have its hash; forget their hits."""
        wrong = f"SELECT DISTINCT file FROM hits WHERE hash IS DISTINCT FROM {self._hash_sql()}"
        damaged = [files[number] for (number,) in self._con.execute(wrong).fetchall()]
        for file in damaged:
            remove_index(self._path(self._identity(file)))
            self._con.execute("DELETE FROM hits WHERE file = ?", [file.index])
        return damaged

    def _hash_sql(self) -> str:
        return f"hash({', '.join(f'{quoted(name)}::{kind}' for name, kind in self._types.items())})"

    def _identity(self, file: BaseFile) -> str:
        data = file.data
        parts = [data.file_path, data.file_size_in_bytes, data.record_count, self._types, duckdb.__version__]
        return json.dumps(parts)

    def _path(self, identity: str) -> Path:
        return self._folder.path / f"{hashlib.sha256(identity.encode()).hexdigest()[:40]}.keys"

    def build(self, read_sql: ReadSql) -> int:
        """Build the missed indexes, as far as the folder's limit lets them; return how many.

        ``read_sql`` gives the SQL that reads some columns of a list of files, with ``file_row_number``.
        """
        if not self.missed:
            return 0
        with ThreadPoolExecutor(self._folder.threads) as pool:
            built = list(pool.map(lambda file: self._build(file, read_sql), self.missed))
        self.missed = []
        evict(self._folder)
        return sum(built)

    def _build(self, file: BaseFile, read_sql: ReadSql) -> bool:
        identity = self._identity(file)
        path = self._path(identity)
        if path.exists():
            return False
        query = (
            f"SELECT {self._hash_sql()} AS hash, file_row_number::UINTEGER AS row, "
            f"{', '.join(f'{quoted(name)}::{kind} AS {quoted(name)}' for name, kind in self._types.items())} "
            f"FROM {read_sql([file], self._key)}"
        )
        with closing(self._con.cursor()) as con:
            table = con.execute(query).to_arrow_table()
        hashes: Any = table.column("hash")
        rows: Any = table.column("row")
        try:
            write_index(path, identity, hashes.to_numpy(), rows.to_numpy(), table.select(list(self._key)))
        except OSError:
            return False  # no space, no permission: the next merge reads the file again
        return True


def _told(hits: Mapping[int, Hits], key: Sequence[str]) -> pa.Table:
    """Return the hits in each file, by its number, as a table (file, pos, hash, key…)."""
    counts = [len(found.rows) for found in hits.values()]
    numbers: dict[str, Any] = {
        "file": np.repeat(np.array(list(hits), dtype=np.int32), counts),
        "pos": np.concatenate([found.rows for found in hits.values()]).astype(np.int64),
        "hash": np.concatenate([found.hashes for found in hits.values()]),
    }
    # by place: nothing depends on what an index calls its columns
    keys = pa.concat_tables([found.keys.rename_columns(list(key)) for found in hits.values()])
    told = [pa.chunked_array([pa.array(values)]) for values in numbers.values()]
    return pa.Table.from_arrays([*told, *keys.columns], names=[*numbers, *key])


def _without_repeats(ascending: Words) -> Words:
    kept: Words = ascending[np.append(True, ascending[1:] != ascending[:-1])] if len(ascending) else ascending
    return kept


def _groups(files: Sequence[BaseFile], asked: Sequence[int]) -> Iterator[list[BaseFile]]:
    """Yield the files in groups of which at most :data:`_ASKED_TOGETHER` keys are asked, or of one file."""
    group: list[BaseFile] = []
    together = 0
    for file, count in zip(files, asked, strict=True):
        if group and together + count > _ASKED_TOGETHER:
            yield group
            group, together = [], 0
        group.append(file)
        together += count
    yield group


def evict(folder: IndexFolder) -> None:
    """Remove the least recently used indexes until the rest fits the limit, and what was left unfinished."""
    there = []
    with suppress(FileNotFoundError):
        for path in folder.path.iterdir():
            with suppress(FileNotFoundError):
                there.append((path.stat().st_mtime, path.stat().st_size, path))
    kept = 0
    for used, size, path in sorted(there, reverse=True):
        kept += size
        unfinished = path.name.startswith(".") and used < time.time() - _UNFINISHED_SECONDS
        if kept > folder.limit or unfinished:
            remove_index(path)
            kept -= size
