"""A key index: where in one data file a key is, without reading the file.

Data files never change, so neither does an index: it is built once, after a merge had to read the whole key
column, lies in a local folder, and is rebuilt whenever it is missing. Merges may do without any of it.

The file holds a filter of the keys (``key_filter``); an entry (64-bit key hash, row number) per row, sorted
by hash, in blocks (``key_blocks``), each with the first hash of the next block and a checksum of it
all; a *fence* (lowest hash) per block; and the keys themselves in entry order.
A look-up takes the keys that pass the filter, finds the block of each by the fences, verifies that block
and that it is the right one, and takes the entries of equal hash; whoever asked confirms the real key. Only
what is looked at is verified, so a look-up costs what it asks, not what the index holds. What is not as
written makes the index unusable, never wrong: :class:`DamagedIndex` is raised, the index removed, the data
file read instead.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from cdc_platform.lake.key_blocks import (
    BLOCK_TYPE,
    Gathered,
    Rows,
    blocks_of,
    gather,
    matches,
)
from cdc_platform.lake.key_filter import Asked, DamagedIndex, Places, Words, make_filter

_MAGIC = b"cdc-key-index-3\n"
_HEADER = 4096
_ALIGN = 64
#: So many indexes stay mapped in a process: mapping the pages a look-up touches costs more than the look-up.
_MOST_OPEN = 256


@dataclass(frozen=True, slots=True)
class Hits:
    """Rows whose key may be one asked for: the row numbers, and the keys the index has of them."""

    rows: Rows
    hashes: Words
    keys: pa.Table


def write_index(path: Path, identity: str, hashes: Words, rows: Rows, keys: pa.Table) -> None:
    """Write the index of a data file, whole or not at all.

    ``identity`` says of which file and key it is; ``hashes``, ``rows`` and ``keys`` are one per row, in any
    order.
    """
    order = np.argsort(hashes)
    sorted_hashes = np.take(hashes, order)
    blocks = blocks_of(sorted_hashes, np.take(rows, order))
    parts = {
        "filter": make_filter(sorted_hashes),
        "fences": np.ascontiguousarray(blocks["hashes"][:, 0]),
        "blocks": blocks,
    }
    header: dict[str, Any] = {"identity": identity, "entries": len(hashes)}
    places, at = {}, _HEADER
    for name, values in parts.items():
        places[name] = at, len(values)
        at += -(-values.nbytes // _ALIGN) * _ALIGN
    header |= {"places": places, "keys": at}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with unfinished.open("wb") as file:
            file.write((_MAGIC + zlib.crc32(text).to_bytes(4, "little") + text).ljust(_HEADER, b"\0"))
            for name, values in parts.items():
                file.seek(places[name][0])
                file.write(cast(Any, values.view(np.uint8)))
            file.seek(at)
            sorted_keys = keys.combine_chunks().take(cast(Any, pa.array(order)))
            with pa.ipc.new_stream(file, keys.schema) as writer:
                writer.write_table(sorted_keys)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


class KeyIndex:
    """An index opened for look-ups; its file is mapped, so only the pages touched are read."""

    def __init__(self, path: Path, identity: str) -> None:
        """Open the index at ``path``. Raises FileNotFoundError, DamagedIndex."""
        data = _mapped(path)
        header = _header(data)
        if header["identity"] != identity:
            raise DamagedIndex(f"{path}: the index of another file")
        self._entries = int(header["entries"])
        places: Mapping[str, tuple[int, int]] = header["places"]
        try:
            self._filter = _part(data, np.uint64, places["filter"])
            self._fences = _part(data, np.uint64, places["fences"])
            self._blocks = _part(data, BLOCK_TYPE, places["blocks"])
            self._keys: pa.Table = pa.ipc.open_stream(pa.BufferReader(data.slice(header["keys"]))).read_all()
        except (ValueError, pa.ArrowException, OSError) as e:
            raise DamagedIndex(f"{path}: {e}") from e
        single = all(column.num_chunks <= 1 for column in self._keys.columns)
        if not single or self._keys.num_rows != self._entries:
            raise DamagedIndex(f"{path}: its keys are damaged")

    def gather(self, asked: Asked) -> Gathered:
        """Return the blocks that can hold what the filter lets pass. Raises DamagedIndex."""
        hashes = asked.passing(self._filter)
        return gather(self._fences, self._blocks, hashes if self._entries else hashes[:0])

    def keys(self, entries: Places) -> pa.Table:
        """Return the keys of entries. Raises DamagedIndex."""
        for column in self._keys.columns if len(entries) else ():
            _check_ends(column.chunk(0), entries)
        return self._keys.take(pa.array(entries, pa.int64()))


def look_up(questions: Sequence[tuple[KeyIndex, Asked]]) -> list[Hits | None]:
    """Return what each index has of what it is asked, None for one that is damaged where that would be."""
    gathered: list[tuple[int, Gathered]] = []
    for number, (index, asked) in enumerate(questions):
        with suppress(DamagedIndex):
            gathered.append((number, index.gather(asked)))
    answers: list[Hits | None] = [None] * len(questions)
    if not gathered:
        return answers
    found, damaged = matches([blocks for _, blocks in gathered])
    ends = np.searchsorted(found.index, np.arange(len(gathered) + 1))
    for place, (number, _) in enumerate(gathered):
        if place in damaged:
            continue
        part = slice(ends[place], ends[place + 1])
        with suppress(DamagedIndex):
            keys = questions[number][0].keys(found.entries[part])
            answers[number] = Hits(found.rows[part], found.hashes[part], keys)
    return answers


def open_index(path: Path, identity: str) -> KeyIndex:
    """Return the index at ``path``, mapped already where this process asked it before.

    Raises FileNotFoundError, DamagedIndex.
    """
    there = path.stat()
    return _opened(path, identity, there.st_ino, there.st_size)


@lru_cache(maxsize=_MOST_OPEN)
def _opened(path: Path, identity: str, inode: int, size: int) -> KeyIndex:
    """Open an index; another file under its path is another one, and a cut one too."""
    return KeyIndex(path, identity)


def _mapped(path: Path) -> Any:
    """Return a file's bytes, mapped. Arrow's own mapping would have the kernel read all of it ahead."""
    with path.open("rb") as file:
        try:
            return pa.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
        except ValueError as e:
            raise DamagedIndex(f"{path}: {e}") from e


def _part(data: Any, kind: Any, place: tuple[int, int]) -> Any:
    return np.frombuffer(data, kind, place[1], place[0])


def _check_ends(column: Any, at: Places) -> None:
    """Raise DamagedIndex when a value of varying length would begin or end outside of the column's bytes."""
    if not (pa.types.is_string(column.type) or pa.types.is_binary(column.type)):
        return
    _, ends, values = column.buffers()
    offsets = np.frombuffer(ends, dtype=np.int32, count=len(column) + 1)
    first, last = offsets[at], offsets[at + 1]
    size = values.size if values is not None else 0
    if ((first < 0) | (last < first) | (last > size)).any():
        raise DamagedIndex("the place of a key is damaged")


def _header(data: Any) -> Mapping[str, Any]:
    start = bytes(data.slice(0, min(_HEADER, data.size)))
    text = start[len(_MAGIC) + 4 :].rstrip(b"\0")
    check = int.from_bytes(start[len(_MAGIC) : len(_MAGIC) + 4], "little")
    if len(start) < _HEADER or not start.startswith(_MAGIC) or zlib.crc32(text) != check:
        raise DamagedIndex("its header is damaged")
    return cast("Mapping[str, Any]", json.loads(text))


def remove_index(path: Path) -> None:
    """Remove an index, if it is there. Its place on the disk is free once nobody has it mapped."""
    _opened.cache_clear()
    path.unlink(missing_ok=True)


def touch(path: Path) -> None:
    """Mark an index as used now: the least recently used go first when the folder is full."""
    os.utime(path)
