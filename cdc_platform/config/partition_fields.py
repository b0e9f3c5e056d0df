"""The fields of ``partition_by``: how they are written, and which do not go together or with a type."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from cdc_platform.naming import safe_name

_TRANSFORM = re.compile(
    r"^(?:(?P<name>[a-z]+)\(\s*(?:(?P<width>\d+)\s*,\s*)?(?P<column>[^)]+?)\s*\)|(?P<plain>[^()]+))$"
)
TRANSFORMS = ("identity", "year", "month", "day", "hour", "bucket", "truncate", "void")
_OF_TIME = ("year", "month", "day", "hour")
_WIDEST = 2**31 - 1
_MOMENTS = frozenset({"timestamp", "timestamptz"})
_WHOLE = frozenset({"int", "long"})
#: The types a transform takes; the others take every type. Some readers (pyiceberg) take the 64 bits of a
#: double that is a partition's value for 32, and leave out files they should have read.
_TYPES = {
    "identity": _MOMENTS | _WHOLE | {"boolean", "date", "time", "decimal", "float", "string", "binary"},
    "year": _MOMENTS | {"date"},
    "month": _MOMENTS | {"date"},
    "day": _MOMENTS | {"date"},
    "hour": _MOMENTS,
    "bucket": _MOMENTS | _WHOLE | {"date", "time", "decimal", "string", "binary"},
    "truncate": _WHOLE | {"decimal", "string", "binary"},
}
_KNOWN = frozenset({"boolean", "float", "double"}).union(*_TYPES.values())


def parse_partition_field(text: str) -> tuple[str, int | None, str]:
    """Return (transform, width, source column) of ``day(at)``, ``bucket(16, id)`` or a plain column.

    Raises ValueError with the transforms there are.
    """
    found = _TRANSFORM.match(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is not a partition field; write column, day(column) or bucket(16, column)"
        )
    if found["plain"]:
        return "identity", None, found["plain"].strip()
    name, width = found["name"], found["width"]
    if name not in TRANSFORMS:
        raise ValueError(f"unknown transform {name!r} in {text!r}; write one of {', '.join(TRANSFORMS)}")
    if (name in ("bucket", "truncate")) != (width is not None):
        raise ValueError(
            f"{text!r}: bucket and truncate take a width first, as in bucket(16, id); others take none"
        )
    if width is not None and not 1 <= int(width) <= _WIDEST:
        raise ValueError(f"the width of {text!r} is out of reach; write one from 1 to {_WIDEST}")
    return name, int(width) if width else None, found["column"]


def faults_together(fields: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Yield (what, mend) for fields of which one says what another says already."""
    taken: dict[tuple[str, int | None, str], str] = {}
    for text in fields:
        name, width, column = parse_partition_field(text)
        column = safe_name(column)
        said = ("time", None, column) if name in _OF_TIME else (name, width, column)
        if said in taken:
            yield (
                f"{taken[said]!r} and {text!r} divide a table alike",
                "keep one of them, of times the finer one",
            )
        taken.setdefault(said, text)


def takes(transform: str, kind: str) -> bool:
    """Whether a column of an Iceberg type, without its parameters, may be divided by a transform.

    >>> takes("identity", "double"), takes("bucket", "long"), takes("identity", "uuid")
    (False, True, True)
    """
    return kind not in _KNOWN or kind in _TYPES.get(transform, _KNOWN)


def faults_of_types(fields: Sequence[str], types: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield (what, mend) for fields that do not go with the type declared for their column."""
    declared_types = {safe_name(column): kind for column, kind in types.items()}
    for text in fields:
        name, _, column = parse_partition_field(text)
        declared = declared_types.get(safe_name(column))
        kind = "" if declared is None else declared.strip().lower().partition("(")[0]
        if not takes(name, kind):
            allowed = sorted(transform for transform in TRANSFORMS if takes(transform, kind))
            yield (
                f"{text!r} does not go with a column of type {declared}",
                f"use another transform in `partition_by`: {', '.join(allowed)}",
            )
