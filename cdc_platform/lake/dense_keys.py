"""Finding keys of whole numbers that lie densely in their range: by their place in it, without a hash.

The keys of a batch that are, say, every tenth of all keys between their extremes are looked up in an array
with a place for each key there could be. A place tells which key it is; nothing remains to be compared.
"""

from __future__ import annotations

import numpy as np

from cdc_platform.lake.key_words import Words
from cdc_platform.lake.packing import Numbers, Packing

#: Places for each key, at most: five bytes each.
MOST_PLACES = 32


class DenseTable:
    """Keys by their places; ``words`` are whole numbers without repeats, within ``packing``."""

    #: Every key has a place of its own.
    is_even = True

    def __init__(self, words: Words, packing: Packing) -> None:
        self._packing = packing
        places = packing.pack(words)
        self._number = np.full(packing.places, -1, dtype=np.int32)
        self._number[places] = np.arange(len(places), dtype=np.int32)
        # a byte for each place stays in the processor's caches where four do not
        self._is_key = np.zeros(packing.places, dtype=bool)
        self._is_key[places] = True

    @classmethod
    def of(cls, words: Words) -> DenseTable | None:
        """Return the table of keys, None where they are text or lie too far apart."""
        if any(word.dtype != np.int64 for word in words):
            return None
        packing = Packing.of(words)
        if packing is None or packing.places > MOST_PLACES * len(words[0]):
            return None
        return cls(words, packing)

    def find(self, words: Words) -> tuple[Numbers, Numbers]:
        """Return the rows of ``words`` that are one of the keys, ascending, and the number of each key."""
        inside = self._inside(words)
        if inside is not None:
            words = tuple(np.take(word, inside) for word in words)
        places = self._packing.pack(words)
        hits = np.flatnonzero(np.take(self._is_key, places))
        numbers = np.take(self._number, np.take(places, hits)).astype(np.int64)
        return (hits if inside is None else np.take(inside, hits)), numbers

    def _inside(self, words: Words) -> Numbers | None:
        """Return which rows have a place, None for all of them."""
        outside = np.zeros(len(words[0]), dtype=bool)
        for word, low, span in zip(words, self._packing.lows, self._packing.spans, strict=True):
            high = low + span - 1
            if len(word) and (word.min() < low or word.max() > high):
                outside |= (word < low) | (word > high)
        return np.flatnonzero(~outside) if outside.any() else None
