"""A key index: where in one data file a key is, without reading the file.

Data files never change, so neither does an index: it is built once, after a merge had to read the whole key
column, lies in a local folder, and is rebuilt whenever it is missing. Merges may do without any of it.

The file holds an entry (64-bit key hash, row number) per row, sorted by hash, in blocks of :data:`BLOCK`
entries; a *fence* (lowest hash) and a checksum per block; and the keys themselves in entry order.
A look-up finds a key's block by the fences, verifies the block, and takes the entries of equal hash; whoever
asked confirms the real key. A block, a fence or a key that is not as written makes the index unusable, never
wrong: :class:`DamagedIndex` is raised, the index removed, and the data file read instead.
"""

from __future__ import annotations

import json
import os
import secrets
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa

BLOCK = 16

_MAGIC = b"cdc-key-index-1\n"
_HEADER = 4096
_ALIGN = 64
#: Odd multipliers that make a block's checksum depend on every bit and place of its entries.
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_PLACES = (np.arange(BLOCK, dtype=np.uint64) * np.uint64(2) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
_PADDING = np.uint32(0xFFFFFFFF)

Words = np.ndarray[Any, np.dtype[np.uint64]]
Rows = np.ndarray[Any, np.dtype[np.uint32]]


class DamagedIndex(Exception):
    """The index is not what was written."""


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
    blocks = -(-len(hashes) // BLOCK)
    sorted_hashes = np.full(blocks * BLOCK, np.iinfo(np.uint64).max, dtype=np.uint64)
    sorted_rows = np.full(blocks * BLOCK, _PADDING, dtype=np.uint32)
    np.take(hashes, order, out=sorted_hashes[: len(hashes)])
    np.take(rows, order, out=sorted_rows[: len(rows)])
    by_block, rows_by_block = sorted_hashes.reshape(-1, BLOCK), sorted_rows.reshape(-1, BLOCK)
    fences = np.ascontiguousarray(by_block[:, 0])
    sums = _checksums(by_block, rows_by_block)
    parts: dict[str, Any] = {"fences": fences, "sums": sums, "hashes": sorted_hashes, "rows": sorted_rows}
    header: dict[str, Any] = {"identity": identity, "entries": len(hashes), "directory": _crc(fences, sums)}
    places, at = {}, _HEADER
    for name, values in parts.items():
        places[name] = at
        at += -(-values.nbytes // _ALIGN) * _ALIGN
    header |= {"places": places, "keys": at}
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with unfinished.open("wb") as file:
            file.write((_MAGIC + zlib.crc32(text).to_bytes(4, "little") + text).ljust(_HEADER, b"\0"))
            for name, values in parts.items():
                file.seek(places[name])
                file.write(memoryview(values))
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
        source = pa.memory_map(str(path))
        data: Any = source.read_buffer()
        header = _header(data)
        if header["identity"] != identity:
            raise DamagedIndex(f"{path}: the index of another file")
        self._entries = int(header["entries"])
        blocks = -(-self._entries // BLOCK)
        places: Mapping[str, int] = header["places"]
        try:
            self._fences: Words = np.frombuffer(data, np.uint64, blocks, places["fences"])
            self._sums: Words = np.frombuffer(data, np.uint64, blocks, places["sums"])
            self._hashes: Words = np.frombuffer(data, np.uint64, blocks * BLOCK, places["hashes"])
            self._rows: Rows = np.frombuffer(data, np.uint32, blocks * BLOCK, places["rows"])
            self._keys: pa.Table = pa.ipc.open_stream(pa.BufferReader(data.slice(header["keys"]))).read_all()
        except (ValueError, pa.ArrowException, OSError) as e:
            raise DamagedIndex(f"{path}: {e}") from e
        single = all(column.num_chunks <= 1 for column in self._keys.columns)
        if (
            not single
            or self._keys.num_rows != self._entries
            or _crc(self._fences, self._sums) != header["directory"]
        ):
            raise DamagedIndex(f"{path}: its directory is damaged")

    def find(self, hashes: Words) -> Hits:
        """Return the entries whose hash is among ``hashes``, which ascend without repeats.

        Raises DamagedIndex when a block that could hold one is not as written.
        """
        # Entries of one hash may begin in the block before the first fence that is equal to it.
        first = np.maximum(np.searchsorted(self._fences, hashes, "left"), 1) - 1
        last = np.maximum(np.searchsorted(self._fences, hashes, "right"), 1) - 1
        counts = last - first + 1
        wanted = np.repeat(hashes, counts)
        skipped = np.repeat(np.cumsum(counts) - counts, counts)
        block = np.repeat(first, counts) + (np.arange(len(wanted)) - skipped)
        if not self._entries or not len(wanted):
            block = block[:0]
        entries, rows = self._hashes.reshape(-1, BLOCK)[block], self._rows.reshape(-1, BLOCK)[block]
        if (_checksums(entries, rows) != self._sums[block]).any():
            raise DamagedIndex("a block is damaged")
        number, place = np.nonzero((entries == wanted[: len(block), None]) & (rows != _PADDING))
        at = block[number] * BLOCK + place
        for column in self._keys.columns if len(at) else ():
            _check_ends(column.chunk(0), at)
        return Hits(rows[number, place], entries[number, place], self._keys.take(pa.array(at)))


def _check_ends(column: Any, at: Words) -> None:
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


def _crc(*arrays: Words) -> int:
    value = 0
    for array in arrays:
        value = zlib.crc32(memoryview(cast(Any, array)), value)
    return value


def _checksums(hashes: Words, rows: Rows) -> Words:
    mixed = (hashes * _MIX[0]) ^ (rows.astype(np.uint64) * _MIX[1])
    mixed ^= mixed >> np.uint64(29)
    sums: Words = (mixed * _PLACES).sum(axis=1, dtype=np.uint64)
    return sums


def remove_index(path: Path) -> None:
    """Remove an index, if it is there."""
    path.unlink(missing_ok=True)


def touch(path: Path) -> None:
    """Mark an index as used now: the least recently used go first when the folder is full."""
    os.utime(path)
