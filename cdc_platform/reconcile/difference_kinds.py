"""The classes a difference between two values can be of, with their definitions and their words."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, cast

from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.reconcile.certificate_fields import ColumnDifferenceFields

#: Zones lie at most this far apart (−12:00 and +14:00), and at quarters of an hour.
FARTHEST_SHIFT_MINUTES = 26 * 60
SHIFT_STEP_MINUTES = 15
#: More units in the last place than this are another number, not another arithmetic.
MOST_ULPS = 1024
#: Of 32-bit floats: any two decimals of six digits, as many as such a float holds, lie further apart.
MOST_SINGLE_ULPS = 8
#: Below this, 32-bit floats have room for a fraction: whole numbers that differ are other numbers.
LEAST_WHOLE_SINGLE = 2.0**23

TRUE_WORDS = frozenset({"t", "true", "y", "yes", "on", "1"})
FALSE_WORDS = frozenset({"f", "false", "n", "no", "off", "0"})
#: Name → microseconds, finest first.
PRECISIONS = {"milliseconds": 1_000, "seconds": 10**6, "minutes": 60 * 10**6, "days": 86_400 * 10**6}


class DifferenceKind(StrEnum):
    """The classes, in the order they are looked for. The two values are unequal; n is the parameter.

    ``NULL_FOR_EMPTY``: one is NULL, the other the empty text or no bytes.
    ``NULLED``: the second is NULL, the first is not. ``FILLED``: the other way round.
    ``NOT_FINITE``: one is a NaN or an infinity of a numeric, the other is a number.
    ``CASE``: texts whose lower-case forms are equal.
    ``NORMALISATION``: texts whose NFC forms are equal.
    ``PADDING``: texts equal without trailing spaces, bytes equal without trailing zero bytes.
    ``BOOLEAN_SPELLING``: both mean true, or both false (true, t, yes, y, on, 1 …, whatever the case).
    ``NUMBER_SPELLING``: a number or its text, equal as numbers.
    ``JSON_ORDER``: objects or arrays as text, equal once parsed, keys sorted, numbers as decimals.
    ``MOJIBAKE``: the UTF-8 bytes of one, read as Latin-1 or Windows-1252, are the other.
    ``TRUNCATED``: the shorter is not empty and begins the longer, but for replacement characters (U+FFFD)
    where a character was cut apart; n characters (bytes for binary) are left.
    ``ULP``: doubles n units in the last place apart, 1 ≤ n ≤ 1024, or 32-bit floats, 1 ≤ n ≤ 8, that are
    not whole numbers below 2²³. ``SINGLE_PRECISION``: one is the other rounded to 32 bits.
    ``ROUNDED``: the one with fewer decimals, n, is at most half a unit of its last one away from the other.
    ``CUT_DECIMALS``: it is the other cut to n decimals toward zero, and further away.
    ``SHIFTED``: times n minutes apart (second minus first), a multiple of 15, at most 26 hours; dates a day.
    ``REDUCED_PRECISION``: one time is a multiple of milliseconds, seconds, minutes or days (n is that in
    microseconds, the finest that fits) and less than that away from the other.
    """

    NULL_FOR_EMPTY = "NULL for empty"
    NULLED = "NULL instead of a value"
    FILLED = "a value instead of NULL"
    NOT_FINITE = "NaN or infinity instead of a number"
    CASE = "case only"
    NORMALISATION = "Unicode normalisation only"
    PADDING = "trailing padding only"
    BOOLEAN_SPELLING = "spelling of a boolean"
    NUMBER_SPELLING = "spelling of a number"
    JSON_ORDER = "order or spacing of JSON"
    MOJIBAKE = "mojibake (UTF-8 read as Latin-1)"
    TRUNCATED = "truncated"
    ULP = "last digits of a float"
    SINGLE_PRECISION = "single precision"
    ROUNDED = "rounded"
    CUT_DECIMALS = "decimals cut"
    SHIFTED = "shifted"
    REDUCED_PRECISION = "reduced precision"


#: Kinds that say a value was changed on its way, not that another value was written.
DISTORTIONS = frozenset(DifferenceKind) - {
    *(DifferenceKind.NULLED, DifferenceKind.FILLED, DifferenceKind.NOT_FINITE)
}


#: Kinds that take something of a value away: only the side that has less can be the distorted one.
LOSSES = frozenset(
    {DifferenceKind.MOJIBAKE, DifferenceKind.TRUNCATED, DifferenceKind.SINGLE_PRECISION}
    | {DifferenceKind.ROUNDED, DifferenceKind.CUT_DECIMALS, DifferenceKind.REDUCED_PRECISION}
)

#: The two witnesses of most comparisons.
SOURCE_AND_BASE = ("source", "base")


@dataclass(frozen=True, slots=True)
class ValueClass:
    """The class of one difference; ``n`` is its parameter, ``size`` the bytes left of a cut text.

    ``side`` is the place among ``witnesses`` of the one that has what the kind tells of: the NULL, the
    padding, the cut, rounded or misread value, the time that is n minutes later. None: no side has.
    """

    kind: DifferenceKind
    n: int | None = None
    size: int | None = None
    side: int | None = None
    witnesses: tuple[str, str] = SOURCE_AND_BASE

    @property
    def label(self) -> str:
        """The class in words."""
        return label(self.kind, (self.n, self.n), (self.size, self.size), self.side, self.witnesses)


def label(
    kind: DifferenceKind,
    n: tuple[int | None, int | None] = (None, None),
    size: tuple[int | None, int | None] = (None, None),
    side: int | None = None,
    witnesses: tuple[str, str] = SOURCE_AND_BASE,
) -> str:
    """Return a class in words, over the range of parameters it was found with, and which side has it.

    >>> label(DifferenceKind.TRUNCATED, (4000, 4000), (4000, 4123), 1)
    'truncated at 4,000 characters in base'
    >>> label(DifferenceKind.SHIFTED, (60, 120))
    'shifted by +60 to +120 minutes'
    >>> label(DifferenceKind.NULL_FOR_EMPTY, side=0, witnesses=("raw", "base"))
    'NULL in raw, empty in base'
    """
    what = _in_words(kind, n, size)
    if side is None:
        return what
    holder, other = witnesses[side], witnesses[1 - side]
    match kind:
        case DifferenceKind.NULL_FOR_EMPTY:
            return f"NULL in {holder}, empty in {other}"
        case DifferenceKind.NULLED:
            return f"NULL in {holder}, a value in {other}"
        case DifferenceKind.FILLED:
            return f"a value in {holder}, NULL in {other}"
        case DifferenceKind.NOT_FINITE:
            return f"NaN or infinity in {holder}, a number in {other}"
        case _:
            return f"{what} in {holder}"


def _in_words(
    kind: DifferenceKind, n: tuple[int | None, int | None], size: tuple[int | None, int | None]
) -> str:
    low, high = n
    if low is None or high is None:
        return kind.value
    one = low == high
    match kind:
        case DifferenceKind.TRUNCATED if not one and size[0] is not None and size[1] is not None:
            # a cut at a number of bytes leaves up to three out that are part of a character
            if size[1] - size[0] <= 3:
                return f"truncated at {size[1]:,} bytes"
            return f"truncated at {low:,} to {high:,} characters"
        case DifferenceKind.TRUNCATED:
            return f"truncated at {counted(high, 'character' if size[1] is not None else 'byte')}"
        case DifferenceKind.SHIFTED:
            return f"shifted by {low:+,} minutes" if one else f"shifted by {low:+,} to {high:+,} minutes"
        case DifferenceKind.ULP:
            return f"float, {counted(high, 'ULP')} apart{'' if one else ' at most'}"
        case DifferenceKind.ROUNDED:
            return f"rounded to {counted(high, 'decimal')}"
        case DifferenceKind.CUT_DECIMALS:
            return f"cut to {counted(high, 'decimal')}"
        case DifferenceKind.REDUCED_PRECISION:
            return f"precision reduced to {_unit(high)}"
    return kind.value


#: What has none of the classes.
OTHER = "other"


@dataclass(frozen=True, slots=True)
class ClassShare:
    """How many of a column's differences are of one kind. ``sampled``: found in a sample, not counted."""

    label: str
    keys: int
    sampled: bool = False


@dataclass(frozen=True, slots=True)
class ColumnDifference:
    """A column that differs in ``keys`` of the ``changed`` rows both sides have."""

    column: str
    keys: int
    changed: int
    classes: tuple[ClassShare, ...] = ()

    @property
    def headline(self) -> str:
        """The kind most of the differences are of; empty when they have none."""
        known = [one for one in self.classes if one.label != OTHER]
        if not known or 2 * known[0].keys < sum(one.keys for one in self.classes):
            return ""
        return known[0].label

    def as_json(self) -> ColumnDifferenceFields:
        """Return it as JSON can hold it."""
        return cast("ColumnDifferenceFields", asdict(self))


def _unit(microseconds: int) -> str:
    return next((name for name, size in PRECISIONS.items() if size == microseconds), f"{microseconds} µs")
