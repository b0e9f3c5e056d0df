"""How a key stands between source and base, and what is said of it."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum

from cdc_platform.reconcile.altered_keys import ALTERED
from cdc_platform.reconcile.verdict import Kind


class Outcome(IntEnum):
    """How a key stands between source and base."""

    EQUAL = 0
    MISSING = 1
    UNEXPECTED = 2
    CHANGED = 3
    DUPLICATE = 4
    AMBIGUOUS = 5
    ALTERED = 6
    SPELLED = 7


#: What of a key is said for each.
FOUND = {
    Outcome.MISSING: (Kind.MISSING, "the source has this row and base lacks it"),
    Outcome.UNEXPECTED: (Kind.UNEXPECTED, "base has this row and the source has not"),
    Outcome.CHANGED: (Kind.CHANGED, "the rows differ"),
    Outcome.DUPLICATE: (Kind.DUPLICATE, "base holds more than one row of this key"),
    Outcome.AMBIGUOUS: (
        Kind.DUPLICATE,
        "the source holds more than one row of this key: it does not identify a row, so `merge_key` needs "
        "further columns",
    ),
    Outcome.ALTERED: (Kind.CHANGED, ALTERED),
    Outcome.SPELLED: (
        Kind.CHANGED,
        "the source has a row whose key is equal by its type and written otherwise: base has none of what is "
        "written there",
    ),
}


def found_in(*, is_export: bool) -> Mapping[Outcome, tuple[Kind, str]]:
    """Return what is said of a key, by how it stands between the source, or an export of it, and base."""
    twice = (
        "the export holds more than one row of this key: files in it hold the same rows, or `merge_key` "
        "needs further columns"
    )
    return {**FOUND, Outcome.AMBIGUOUS: (Kind.DUPLICATE, twice)} if is_export else FOUND
