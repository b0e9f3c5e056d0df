"""Keys as words: columns of 64-bit numbers that are equal, and sort, as the keys do.

Whole numbers are one word each. Text whose values are all equally long (UUIDs, ULIDs, digests, padded codes)
is as many words as eight bytes go into it, compared from the first byte on, as Iceberg's bounds, DuckDB and
Arrow compare text. Arrays of words are sorted, hashed and compared several times as quickly as text is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.lake.packing import Numbers, Packing

#: A word of several columns' keys.
Words = tuple[Numbers, ...]

_WORD = 8
#: Longer text is not worth being made words of.
_LONGEST = 64


@dataclass(frozen=True, slots=True)
class KeyShape:
    """What the columns of a key are: 0 for whole numbers, else how many bytes each text has."""

    widths: tuple[int, ...]

    @classmethod
    def of(cls, columns: Sequence[pa.ChunkedArray[Any]]) -> KeyShape | None:
        """Return the shape of keys, None where their columns are of other types, or of varying length."""
        widths = [_width(column) for column in columns]
        return cls(tuple(w for w in widths if w is not None)) if columns and None not in widths else None

    def words(self, columns: Sequence[pa.ChunkedArray[Any]]) -> Words:
        """Return the words of keys of this shape."""
        found: list[Numbers] = []
        for column, width in zip(columns, self.widths, strict=True):
            found += _text_words(column, width) if width else [_numbers(column)]
        return tuple(found)

    def word_of(self, place: int) -> int:
        """Return which word is the first of a column."""
        return sum(len(_places(width)) for width in self.widths[:place])

    def fits(self, types: Sequence[pa.DataType]) -> bool:
        """Whether columns of these types may have keys of this shape."""
        return all(
            is_text(kind) if width else pa.types.is_signed_integer(kind)
            for kind, width in zip(types, self.widths, strict=True)
        )

    def matching(self, columns: Sequence[pa.ChunkedArray[Any]]) -> Numbers | None:
        """Return which rows may have a key of this shape: without NULL, and as long. None for all."""
        kept: Any = None
        for column, width in zip(columns, self.widths, strict=True):
            if not column.null_count and (not width or _are_all(column, width)):
                continue
            is_long = pc.equal(pc.binary_length(cast(Any, column)), pa.scalar(width)) if width else None
            same: Any = pc.fill_null(is_long, False) if is_long is not None else pc.is_valid(column)
            kept = same if kept is None else pc.and_(kept, same)
        return np.flatnonzero(kept.to_numpy()) if kept is not None else None


def is_text(kind: pa.DataType) -> bool:
    """Whether values of this type are text."""
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _are_all(column: pa.ChunkedArray[Any], width: int) -> bool:
    """Whether all texts have so many bytes."""
    return all(bool((np.diff(_offsets(chunk)) == width).all()) for chunk in column.chunks if len(chunk))


def _offsets(texts: pa.Array[Any]) -> Numbers:
    """Return where each text begins, and the last ends."""
    ends: Any = texts.buffers()[1]
    kind = np.int64 if pa.types.is_large_string(texts.type) else np.int32
    return np.frombuffer(ends, kind)[texts.offset : texts.offset + len(texts) + 1]


def _width(column: pa.ChunkedArray[Any]) -> int | None:
    if not len(column) or column.null_count:
        return None
    if pa.types.is_signed_integer(column.type):
        return 0
    if not is_text(column.type):
        return None
    extremes: Any = pc.min_max(pc.binary_length(cast(Any, column))).as_py()
    width = int(extremes["max"])
    return width if extremes["min"] == width and 0 < width <= _LONGEST else None


def _numbers(column: pa.ChunkedArray[Any]) -> Numbers:
    numbers: Any = column.to_numpy()
    return cast(Numbers, numbers.astype(np.int64, copy=False))


def _text_words(column: pa.ChunkedArray[Any], width: int) -> list[Numbers]:
    """Return the words of texts of ``width`` bytes; the last word overlaps the one before."""
    texts: Any = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()
    values, start, rows = texts.buffers()[2], int(_offsets(texts)[0]), len(texts)
    if width < _WORD:
        padded = np.zeros((rows, _WORD), dtype=np.uint8)
        padded[:, :width] = np.frombuffer(values, np.uint8, rows * width, start).reshape(rows, width)
        return [padded.view(">u8")[:, 0].astype(np.uint64)]
    return [
        np.ndarray((rows,), ">u8", values, start + place, (width,)).astype(np.uint64)
        for place in _places(width)
    ]


def _places(width: int) -> list[int]:
    """Return where the words of a text begin; the last overlaps the one before."""
    return sorted({*range(0, width - _WORD + 1, _WORD), max(width - _WORD, 0)})


def order_of(words: Words) -> Numbers:
    """Return the numbers of the keys in the order of the keys; equal keys in any order among them."""
    varying = [word for word in words if len(word) and (word[0] != word).any()] or list(words[:1])
    if len(varying) > 1 and all(word.dtype == np.int64 for word in varying):
        packing = Packing.of(varying)
        if packing is not None:
            varying = [packing.pack(varying)]
    order = np.argsort(varying[0])
    if len(varying) == 1:
        return order
    # only keys that are alike in their first word need a second look
    first = varying[0][order]
    alike = first[1:] == first[:-1]
    tied = np.flatnonzero(np.append(alike, False) | np.append(False, alike))
    among = order[tied]
    order[tied] = among[np.lexsort([word[among] for word in reversed(varying)])]
    return order


def differs(words: Words) -> Any:
    """Return for each key but the first whether it differs from the one before."""
    found = np.zeros(max(len(words[0]) - 1, 0), dtype=bool)
    for word in words:
        found |= word[1:] != word[:-1]
    return found
