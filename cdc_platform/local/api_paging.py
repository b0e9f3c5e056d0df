"""Filters and pages of the Describe operations."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from cdc_platform.local.api_errors import invalid_value

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Limits:
    """What MaxRecords may be, and what it is when not given."""

    low: int = 20
    high: int = 100
    default: int = 100


def matching(
    filters: Iterable[Mapping[str, Any]] | None,
    items: Iterable[T],
    fields: Mapping[str, Callable[[T], str | tuple[str, ...]]],
) -> list[T]:
    """Return the items every filter lets through; a filter lets through what equals one of its values.

    Raises ApiError for a filter name the operation does not know.
    """
    kept = list(items)
    for each in filters or ():
        field = fields.get(each["Name"])
        if field is None:
            names = ", ".join(fields)
            raise invalid_value(f"The filter '{each['Name']}' is not valid. Valid filter names: {names}")
        wanted = frozenset(each["Values"])
        kept = [item for item in kept if not wanted.isdisjoint(_values(field(item)))]
    return kept


def _values(value: str | tuple[str, ...]) -> tuple[str, ...]:
    return value if isinstance(value, tuple) else (value,)


def page(
    request: Mapping[str, Any], items: Sequence[T], key: Callable[[T], str], limits: Limits | None = None
) -> tuple[list[T], str | None]:
    """Return one page of ``items`` (ascending by ``key``) and the marker of the next, None at the end."""
    limits = limits or Limits()
    size = request.get("MaxRecords", limits.default)
    if not limits.low <= size <= limits.high:
        raise invalid_value(f"MaxRecords is {size}; it must be between {limits.low} and {limits.high}")
    after = _read_marker(request["Marker"]) if request.get("Marker") else None
    rest = [item for item in items if after is None or key(item) > after]
    chosen = rest[:size]
    more = len(rest) > size
    return chosen, _write_marker(key(chosen[-1])) if more else None


def _write_marker(key: str) -> str:
    return base64.urlsafe_b64encode(key.encode()).decode()


def _read_marker(marker: str) -> str:
    try:
        return base64.b64decode(marker.encode(), altchars=b"-_", validate=True).decode()
    except (binascii.Error, UnicodeError) as fault:
        raise invalid_value("The marker is not one this operation returned") from fault
