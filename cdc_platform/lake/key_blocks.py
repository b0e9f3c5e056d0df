"""The entries of a key index in blocks: what a look-up gathers of them, and whether it is as written.

What is looked at is verified for all indexes of a look-up at once: an index is asked for few keys, and what
a handful of values costs is the number of steps, not the values.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from cdc_platform.lake.key_filter import DamagedIndex, Places, Words

BLOCK = 16

#: Odd multipliers that make a block's checksum depend on every bit and place of its entries.
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F)
_PLACES = (np.arange(BLOCK, dtype=np.uint64) * np.uint64(2) + np.uint64(1)) * np.uint64(0xD6E8FEB86659FD93)
_PADDING = np.uint32(0xFFFFFFFF)
#: The hash of what is no entry, and of what comes after the last block.
_LARGEST = np.uint64(2**64 - 1)
#: Side by side what a look-up needs of a block: each part elsewhere would be one more page to map.
BLOCK_TYPE = np.dtype(
    [("hashes", np.uint64, BLOCK), ("rows", np.uint32, BLOCK), ("after", np.uint64), ("sum", np.uint64)]
)

Rows = np.ndarray[Any, np.dtype[np.uint32]]
Blocks = np.ndarray[Any, np.dtype[np.void]]
Mask = np.ndarray[Any, np.dtype[np.bool_]]


def blocks_of(hashes: Words, rows: Rows) -> Blocks:
    """Return the entries, which ascend, in blocks with their checksums."""
    count = -(-len(hashes) // BLOCK)
    blocks = np.zeros(count, dtype=BLOCK_TYPE)
    padding = count * BLOCK - len(hashes)
    blocks["hashes"] = np.pad(hashes, (0, padding), constant_values=_LARGEST).reshape(-1, BLOCK)
    blocks["rows"] = np.pad(rows, (0, padding), constant_values=_PADDING).reshape(-1, BLOCK)
    blocks["after"][:-1] = blocks["hashes"][1:, 0]
    blocks["after"][-1:] = _LARGEST
    blocks["sum"] = _checksums(blocks)
    return blocks


@dataclass(frozen=True, slots=True)
class Gathered:
    """The blocks of one index that can hold some hashes: one row for each hash and block.

    ``opens`` and ``closes`` tell which is the first and the last block of its hash, where the index has one
    before or after it.
    """

    hashes: Words
    numbers: Places
    blocks: Blocks
    opens: Mask
    closes: Mask


def gather(fences: Words, blocks: Blocks, hashes: Words) -> Gathered:
    """Return the blocks that can hold ``hashes``, which ascend; ``fences`` are the lowest hash of each.

    Raises DamagedIndex.
    """
    # Entries of one hash may begin in the block before the first fence that is equal to it.
    first = np.maximum(np.searchsorted(fences, hashes, "left"), 1) - 1
    last = np.maximum(np.searchsorted(fences, hashes, "right"), 1) - 1
    if (last < first).any():
        raise DamagedIndex("its fences do not ascend")
    counts = last - first + 1
    ends = np.cumsum(counts)
    starts = ends - counts
    wanted = np.repeat(np.arange(len(hashes)), counts)
    numbers = first[wanted] + (np.arange(len(wanted)) - starts[wanted])
    return Gathered(
        hashes[wanted],
        numbers,
        np.take(blocks, numbers),
        (numbers == first[wanted]) & (numbers > 0),
        (numbers == last[wanted]) & (numbers < len(blocks) - 1),
    )


@dataclass(frozen=True, slots=True)
class Matches:
    """Entries of equal hash: of which gathered index (its place in the list), the entry, its row and hash."""

    index: Places
    entries: Places
    rows: Rows
    hashes: Words


def matches(gathered: Sequence[Gathered]) -> tuple[Matches, set[int]]:
    """Return what was asked for, and the places in the list of indexes that are not as written."""
    sizes = [len(one.numbers) for one in gathered]
    index = np.repeat(np.arange(len(gathered)), sizes)
    blocks = np.concatenate([one.blocks for one in gathered])
    hashes = np.concatenate([one.hashes for one in gathered])
    opens = np.concatenate([one.opens for one in gathered])
    closes = np.concatenate([one.closes for one in gathered])
    held = np.ascontiguousarray(blocks["hashes"])
    # the fences themselves are trusted as far as verified blocks confirm them
    is_sound = (_checksums(blocks) == blocks["sum"]) & (~opens | (held[:, 0] < hashes))
    is_sound &= ~closes | (blocks["after"] > hashes)
    row, place = np.nonzero(held == hashes[:, None])
    rows = blocks["rows"][row, place]
    is_entry = rows != _PADDING
    row, place, rows = row[is_entry], place[is_entry], rows[is_entry]
    entries = np.concatenate([one.numbers for one in gathered])[row] * BLOCK + place
    return Matches(index[row], entries, rows, hashes[row]), set(index[~is_sound].tolist())


def _checksums(blocks: Blocks) -> Words:
    mixed = (blocks["hashes"] * _MIX[0]) ^ (blocks["rows"].astype(np.uint64) * _MIX[1])
    mixed ^= mixed >> np.uint64(29)
    sums: Words = (mixed * _PLACES).sum(axis=1, dtype=np.uint64)
    return sums ^ (blocks["after"] * _MIX[0])
