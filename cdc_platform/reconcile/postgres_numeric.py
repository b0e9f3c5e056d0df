"""PostgreSQL's binary numerics as decimals: base-10,000 digits, added up column by column.

Only for numerics with a declared precision of at most 18 digits, which fit in 64 bits; printing them as text
would be a good part of what reading a row costs the source.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

_MOST_DIGITS = 18
_HEADER_BYTES = 8
_NEGATIVE, _SPECIAL = 0x4000, 0xC000
_POWERS = 10 ** np.arange(_MOST_DIGITS + 1, dtype=np.int64)

_Numbers = npt.NDArray[np.int64]


def fits(kind: pa.DataType) -> bool:
    """Whether decimals of ``kind`` are decoded here."""
    return isinstance(kind, pa.Decimal128Type) and kind.precision <= _MOST_DIGITS


def decimals(words: npt.NDArray[Any], at: _Numbers, sizes: _Numbers, kind: Any) -> pa.Array[Any] | None:
    """Return the numerics whose bytes begin at ``at``; those of size 0, NaN and infinities are NULL.

    ``words`` gives the unsigned 16-bit number at any byte. None when a value does not fit ``kind``.
    """
    present = sizes > 0
    # of a NULL whatever lies there is read, and not used
    count, weight, sign = (words[at + 2 * place].astype(np.int64) for place in range(3))
    count = np.where(present, count, 0)
    if (present & (sizes != _HEADER_BYTES + 2 * count)).any():
        return None
    weight = np.where(weight >= 1 << 15, weight - (1 << 16), weight)
    finite = present & (sign < _SPECIAL)
    count = np.where(finite, count, 0)
    total = np.zeros(len(at), np.int64)
    for place in range(int(count.max(initial=0))):
        here = place < count
        where = np.where(here, at + _HEADER_BYTES + 2 * place, 0)
        digit = np.where(here, words[where].astype(np.int64), 0)
        exponent = 4 * (weight - place) + kind.scale
        down = _POWERS[np.clip(-exponent, 0, _MOST_DIGITS)]
        if ((digit % down != 0) | ((digit != 0) & (exponent > _MOST_DIGITS))).any():
            return None
        total += digit // down * _POWERS[np.clip(exponent, 0, _MOST_DIGITS)]
    if (total >= _POWERS[kind.precision] if kind.precision < _MOST_DIGITS else total < 0).any():
        return None
    total = np.where(sign == _NEGATIVE, -total, total)
    wide = np.stack([total, total >> 63], axis=1)
    validity = pa.array(finite).buffers()[1]
    buffers = [validity, pa.py_buffer(wide.tobytes())]
    return pa.Array.from_buffers(kind, len(at), buffers, null_count=int((~finite).sum()))
