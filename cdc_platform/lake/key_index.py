"""A key index: where in one data file a key is, without reading the file.

Data files never change, so neither does an index: it is built once, after a merge had to read the whole key
column, lies in a local folder, and is rebuilt whenever it is missing. Merges may do without any of it.

The file holds a filter of the keys (``key_filter``); an entry (64-bit key hash, row number) per row, sorted
by hash, in blocks of :data:`BLOCK` entries, each with the first hash of the next block and a checksum of it
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
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

from cdc_platform.lake.key_filter import DamagedIndex, Words, make_filter, passing

BLOCK = 16

_MAGIC = b"cdc-key-index-3\n"
_HEADER = 4096
_ALIGN = 64
#: Odd multipliers that make a block's checksum depend on every bit and place of its entries.
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_PLACES = (np.arange(BLOCK, dtype=np.uint64) * np.uint64(2) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
_PADDING = np.uint32(0xFFFFFFFF)

#: So many indexes stay mapped in a process: mapping the pages a look-up touches costs more than the look-up.
_MOST_OPEN = 256
#: The hash of what is no entry, and of what comes after the last block.
_LARGEST = np.uint64(2**64 - 1)
#: Side by side what a look-up needs of a block: each part elsewhere would be one more page to map.
_BLOCK_TYPE = np.dtype(
    [("hashes", np.uint64, BLOCK), ("rows", np.uint32, BLOCK), ("after", np.uint64), ("sum", np.uint64)]
)

Rows = np.ndarray[Any, np.dtype[np.uint32]]
Places = np.ndarray[Any, np.dtype[np.int64]]
Blocks = np.ndarray[Any, np.dtype[np.void]]


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
    blocks = _blocks(sorted_hashes, np.take(rows, order))
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


def _blocks(hashes: Words, rows: Rows) -> Blocks:
    """Return the entries, which ascend, in blocks with their checksums."""
    count = -(-len(hashes) // BLOCK)
    blocks = np.zeros(count, dtype=_BLOCK_TYPE)
    padding = count * BLOCK - len(hashes)
    blocks["hashes"] = np.pad(hashes, (0, padding), constant_values=_LARGEST).reshape(-1, BLOCK)
    blocks["rows"] = np.pad(rows, (0, padding), constant_values=_PADDING).reshape(-1, BLOCK)
    blocks["after"][:-1] = blocks["hashes"][1:, 0]
    blocks["after"][-1:] = _LARGEST
    blocks["sum"] = _checksums(blocks)
    return blocks


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
            self._blocks = _part(data, _BLOCK_TYPE, places["blocks"])
            self._keys: pa.Table = pa.ipc.open_stream(pa.BufferReader(data.slice(header["keys"]))).read_all()
        except (ValueError, pa.ArrowException, OSError) as e:
            raise DamagedIndex(f"{path}: {e}") from e
        single = all(column.num_chunks <= 1 for column in self._keys.columns)
        if not single or self._keys.num_rows != self._entries:
            raise DamagedIndex(f"{path}: its keys are damaged")

    def find(self, hashes: Words) -> Hits:
        """Return the entries whose hash is among ``hashes``, which ascend without repeats.

        Raises DamagedIndex when a part that could tell of one is not as written.
        """
        hashes = passing(self._filter, hashes)
        block, found, wanted = self._blocks_of(hashes if self._entries else hashes[:0])
        number, place = np.nonzero((found["hashes"] == wanted[:, None]) & (found["rows"] != _PADDING))
        at = block[number] * BLOCK + place
        for column in self._keys.columns if len(at) else ():
            _check_ends(column.chunk(0), at)
        return Hits(found["rows"][number, place], wanted[number], self._keys.take(pa.array(at)))

    def _blocks_of(self, hashes: Words) -> tuple[Places, Blocks, Words]:
        """Return the blocks that can hold ``hashes``: number, what it holds, verified, and the hash.

        Raises DamagedIndex.
        """
        # Entries of one hash may begin in the block before the first fence that is equal to it.
        first = np.maximum(np.searchsorted(self._fences, hashes, "left"), 1) - 1
        last = np.maximum(np.searchsorted(self._fences, hashes, "right"), 1) - 1
        if (last < first).any():
            raise DamagedIndex("its fences do not ascend")
        counts = last - first + 1
        ends = np.cumsum(counts)
        starts = ends - counts
        block = np.repeat(first, counts) + (np.arange(counts.sum()) - np.repeat(starts, counts))
        found: Blocks = self._blocks[block]
        if (_checksums(found) != found["sum"]).any():
            raise DamagedIndex("a block is damaged")
        # the fences themselves are trusted as far as verified blocks confirm them
        from_the_first = (first == 0) | (found["hashes"][starts, 0] < hashes)
        to_the_last = (last == len(self._blocks) - 1) | (found["after"][ends - 1] > hashes)
        if not (from_the_first & to_the_last).all():
            raise DamagedIndex("a fence is damaged")
        return block, found, np.repeat(hashes, counts)


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


def _checksums(blocks: Blocks) -> Words:
    mixed = (blocks["hashes"] * _MIX[0]) ^ (blocks["rows"].astype(np.uint64) * _MIX[1])
    mixed ^= mixed >> np.uint64(29)
    sums: Words = (mixed * _PLACES).sum(axis=1, dtype=np.uint64)
    return sums ^ (blocks["after"] * _MIX[0])


def remove_index(path: Path) -> None:
    """Remove an index, if it is there. Its place on the disk is free once nobody has it mapped."""
    _opened.cache_clear()
    path.unlink(missing_ok=True)


def touch(path: Path) -> None:
    """Mark an index as used now: the least recently used go first when the folder is full."""
    os.utime(path)
