"""The value classes as SQL, for all differing pairs of a column at once.

What SQL cannot decide by the very definitions of :mod:`cdc_platform.reconcile.value_classes` (JSON, mojibake,
bits of doubles) it leaves NULL; a bounded sample of those is classified one by one.
"""

from __future__ import annotations

from cdc_platform.naming import sql_text
from cdc_platform.reconcile.difference_kinds import (
    FALSE_WORDS,
    FARTHEST_SHIFT_MINUTES,
    PRECISIONS,
    SHIFT_STEP_MINUTES,
    TRUE_WORDS,
    DifferenceKind,
)

_NUMBER = "'[+-]?([0-9]+(\\.[0-9]*)?|\\.[0-9]+)'"
#: What Python's ``str.strip`` takes away.
_BLANKS = "\t\n\v\f\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(
    map(chr, range(0x2000, 0x200B))
)
#: Whatever Python's Decimal may read as a number, blanks around it apart: in digits of any script.
_PERHAPS_NUMBER = "'[\\p{Nd}_.+\\-eE]+'"
#: Texts of numbers up to this length are exact as doubles.
_EXACT_DIGITS = 15
#: Decimals the text of a number has at least.
_LEAST_SCALE = 6


def class_sql(left: str, right: str, types: tuple[str, str], *, written: str = "NULL") -> str:
    """Return SQL for the class of two unequal values: a struct of kind, n, size and side, or NULL.

    ``types`` are their DuckDB types; ``written`` is the text of a number on the left that no decimal holds.
    """
    kinds = {_family(one) for one in types}
    own = ""
    if kinds == {"text"}:
        own = _text_sql(left, right)
    elif kinds == {"decimal"}:
        own = _decimal_sql(left, right)
    elif kinds == {"text", "decimal"}:
        # a number of any size comes as text; what no decimal holds is NULL then, and looked at by itself
        scale = max(int(one.rstrip(")").rpartition(",")[2]) for one in types if _family(one) == "decimal")
        kind = f"DECIMAL(38, {max(_LEAST_SCALE, scale)})"
        own = _decimal_sql(*(f"TRY_CAST({one} AS {kind})" for one in (left, right)))
    elif kinds == {"time"}:
        own = _time_sql(left, right)
    elif kinds == {"date"}:
        days = f"datediff('day', {left}, {right})"
        own = f"WHEN abs({days}) = 1 THEN {_struct(DifferenceKind.SHIFTED, f'{days} * 1440', side='1')}"
    empty = ""
    if kinds & {"text"}:
        texts = [one for one, type_ in zip((left, right), types, strict=True) if _family(type_) == "text"]
        is_empty = " OR ".join(f"{one} = ''" for one in texts)
        some_null = f"({left} IS NULL OR {right} IS NULL)"
        null = f"({right} IS NULL)::INT"
        empty = f"WHEN {some_null} AND ({is_empty}) THEN {_struct(DifferenceKind.NULL_FOR_EMPTY, side=null)}"
    return (
        f"CASE WHEN {written} IS NOT NULL THEN {_struct(DifferenceKind.NOT_FINITE, side='0')} "
        f"{empty} WHEN {right} IS NULL THEN {_struct(DifferenceKind.NULLED, side='1')} "
        f"WHEN {left} IS NULL THEN {_struct(DifferenceKind.FILLED, side='1')} {own} END"
    )


def is_decided(types: tuple[str, str]) -> bool:
    """Return whether SQL knows every class two types can have."""
    return {_family(one) for one in types} in ({"time"}, {"date"}, {"decimal"})


def _family(type_: str) -> str:
    if type_ == "VARCHAR":
        return "text"
    if type_.startswith("DECIMAL"):
        return "decimal"
    if type_.startswith("TIMESTAMP"):
        return "time"
    return "date" if type_ == "DATE" else "other"


def _struct(kind: DifferenceKind, n: str = "NULL", size: str = "NULL", side: str = "NULL") -> str:
    numbers = f"'n': ({n})::BIGINT, 'size': ({size})::BIGINT, 'side': ({side})::INT"
    return f"{{'kind': '{kind.name}', {numbers}}}"


def _text_sql(left: str, right: str) -> str:
    is_number = " AND ".join(
        f"length({one}) <= {_EXACT_DIGITS} AND regexp_full_match({one}, {_NUMBER})" for one in (left, right)
    )
    equal_numbers = f"TRY_CAST({left} AS DOUBLE) = TRY_CAST({right} AS DOUBLE)"
    same = " OR ".join(
        f"(lower({_stripped(left)}) IN ({words}) AND lower({_stripped(right)}) IN ({words}))"
        for words in (", ".join(f"'{word}'" for word in sorted(one)) for one in (TRUE_WORDS, FALSE_WORDS))
    )
    perhaps = " AND ".join(f"regexp_full_match({_stripped(one)}, {_PERHAPS_NUMBER})" for one in (left, right))
    plain = f"left(ltrim({left}), 1) NOT IN ('{{', '[') AND NOT ({perhaps})"
    cuts = " ".join(
        f"WHEN {plain} AND {_cut_sql(cut, whole)} "
        f"THEN {_struct(DifferenceKind.TRUNCATED, f'length({_whole(cut)})', f'strlen({_whole(cut)})', side)}"
        for cut, whole, side in ((left, right, "0"), (right, left, "1"))
    )
    padded = f"(length({right}) > length({left}))::INT"
    return f"""WHEN lower({left}) = lower({right}) THEN {_struct(DifferenceKind.CASE)}
        WHEN nfc_normalize({left}) = nfc_normalize({right}) THEN {_struct(DifferenceKind.NORMALISATION)}
        WHEN rtrim({left}, ' ') = rtrim({right}, ' ') THEN {_struct(DifferenceKind.PADDING, side=padded)}
        WHEN {same} THEN {_struct(DifferenceKind.BOOLEAN_SPELLING)}
        WHEN {is_number} AND {equal_numbers} THEN {_struct(DifferenceKind.NUMBER_SPELLING)}
        {cuts}"""


def _stripped(text: str) -> str:
    return f"trim({text}, {sql_text(_BLANKS)})"


def _whole(cut: str) -> str:
    """Return SQL for what is left of a cut text without a character cut apart."""
    return f"rtrim({cut}, chr(65533))"


def _cut_sql(cut: str, whole: str) -> str:
    left = _whole(cut)
    return (
        f"{left} <> '' AND length({cut}) - length({left}) <= 3 AND length({left}) < length({whole}) "
        f"AND starts_with({whole}, {left})"
    )


def _decimal_sql(left: str, right: str) -> str:
    """Decimals of both sides are compared by value; the one with fewer decimals is the distorted one."""
    places = [_places(one) for one in (left, right)]
    fewer = f"({places[0]} < {places[1]})"
    shorter = f"CASE WHEN {fewer} THEN {left} ELSE {right} END"
    longer = f"CASE WHEN {fewer} THEN {right} ELSE {left} END"
    n = f"least({places[0]}, {places[1]})"
    unit = f"(10::DOUBLE ** -{n})"
    apart = f"abs(TRY({left} - {right}))::DOUBLE"
    # a unit that is no power of two is not exact as a double
    rounded = f"{apart} * 2 <= {unit} * (1 + 1e-9)"
    toward_zero = f"({shorter} = 0 OR sign({shorter}) = sign({longer})) AND abs({shorter}) < abs({longer})"
    side = f"(NOT {fewer})::INT"
    of = {kind: _struct(kind, n, side=side) for kind in (DifferenceKind.ROUNDED, DifferenceKind.CUT_DECIMALS)}
    return f"""WHEN {places[0]} <> {places[1]} AND {rounded} THEN {of[DifferenceKind.ROUNDED]}
        WHEN {places[0]} <> {places[1]} AND {toward_zero} AND {apart} < {unit}
            THEN {of[DifferenceKind.CUT_DECIMALS]}"""


def _places(value: str) -> str:
    text = f"{value}::VARCHAR"
    return f"CASE WHEN contains({text}, '.') THEN length(rtrim(split_part({text}, '.', 2), '0')) ELSE 0 END"


def _time_sql(left: str, right: str) -> str:
    one, other = (f"epoch_us({value}::TIMESTAMPTZ)" for value in (left, right))
    apart = f"({other} - {one})"
    step = SHIFT_STEP_MINUTES * 60 * 10**6
    shift = f"{apart} <> 0 AND {apart} % {step} = 0 AND abs({apart}) <= {FARTHEST_SHIFT_MINUTES * 60 * 10**6}"
    reduced = [
        f"WHEN ({one} % {unit} = 0) <> ({other} % {unit} = 0) AND abs({apart}) < {unit} "
        f"THEN {_struct(DifferenceKind.REDUCED_PRECISION, str(unit), side=f'({other} % {unit} = 0)::INT')}"
        for unit in PRECISIONS.values()
    ]
    shifted = _struct(DifferenceKind.SHIFTED, f"{apart} // {60 * 10**6}", side="1")
    # infinite times have no distance
    finite = f"isfinite({left}) AND isfinite({right})"
    return " ".join([f"WHEN NOT ({finite}) THEN NULL WHEN {shift} THEN {shifted}", *reduced])
