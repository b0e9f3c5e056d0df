"""The filter of a key index: which of many keys are certainly not in a data file.

Random keys asked of a table of many files are in one of them each, so most questions to an index are for keys
that are not there. A Bloom filter of one word for every two keys answers those: :data:`BITS` bits, chosen by
the key's hash, are set in the low half of a word, chosen by it too. The high half is a check of the low half
and its place, so that only words looked at have to be verified.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

#: With three bits for each of two keys of a word, one of 200 absent keys passes.
KEYS_PER_WORD = 2
BITS = 3

_BITS_OF_PLACE = np.uint64(5)
_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
#: Odd multipliers: each bit of a word and its place reaches the check's upper half.
_MIX = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xC2B2AE3D27D4EB4F), np.uint64(0xD6E8FEB86659FD93)

Words = np.ndarray[Any, np.dtype[np.uint64]]
Places = np.ndarray[Any, np.dtype[np.int64]]


class DamagedIndex(Exception):
    """The index is not what was written."""


def make_filter(hashes: Words) -> Words:
    """Return the filter of a file's key hashes, which ascend."""
    count = max(1, -(-len(hashes) // KEYS_PER_WORD))
    bits = np.zeros(count, dtype=np.uint64)
    if len(hashes):
        places = _places(hashes, count)
        starts = np.flatnonzero(np.append(True, places[1:] != places[:-1]))
        bits[places[starts]] = np.bitwise_or.reduceat(_masks(hashes), starts)
    return bits | _checks(bits, np.arange(count, dtype=np.uint64))


class Asked:
    """Key hashes asked of many filters, ascending and without repeats; what all need of them is made once."""

    def __init__(self, hashes: Words) -> None:
        self._hashes = hashes
        self._places: dict[int, Places] = {}

    @cached_property
    def _bits(self) -> Words:
        return _masks(self._hashes)

    def passing(self, words: Words) -> Words:
        """Return those of the hashes that the filter ``words`` does not rule out. Raises DamagedIndex."""
        places = self._places.get(len(words))
        if places is None:
            places = self._places[len(words)] = _places(self._hashes, len(words))
        found = np.take(words, places)
        bits = found & _LOW
        if not np.array_equal(found, bits | _checks(bits, places.view(np.uint64))):
            raise DamagedIndex("a word of its filter is damaged")
        kept: Words = self._hashes[(bits & self._bits) == self._bits]
        return kept


def _places(hashes: Words, count: int) -> Places:
    """Return the word of each hash, by its upper half: hashes that ascend go through the words in order."""
    return (((hashes >> _HALF) * np.uint64(count)) >> _HALF).view(np.int64)


def _masks(hashes: Words) -> Words:
    """Return the bits of each hash, by its lower half."""
    one = np.uint64(1)
    five = np.uint64(2**5 - 1)
    masks = one << (hashes & five)
    for number in range(1, BITS):
        masks |= one << ((hashes >> (np.uint64(number) * _BITS_OF_PLACE)) & five)
    return masks


def _checks(bits: Words, places: Words) -> Words:
    """Return the upper halves that say these bits were written at these places."""
    mixed = (bits * _MIX[0]) ^ (places * _MIX[1])
    mixed ^= mixed >> _HALF
    mixed *= _MIX[2]
    return mixed & ~_LOW
