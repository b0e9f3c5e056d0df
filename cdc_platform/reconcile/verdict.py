"""Verdicts of a reconciliation, and the rule that combines them.

MATCH is only said when every part was compared and proven equal; DIFFERENT only when a difference is real
and will not go away by itself. Everything else has a name of its own: still in flight, not verified, failed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from cdc_platform.reconcile.carried_rows import CarriedRows
from cdc_platform.reconcile.difference_kinds import ColumnDifference, ValueClass
from cdc_platform.reconcile.faults import Fault, Located

#: How many discrepancies of one comparison are kept with their values; all of them are counted.
DISCREPANCY_CAP = 100

RAW_MATCHES_BASE = "raw_matches_base"
SOURCE_MATCHES_BASE = "source_matches_base"

#: Name → value as JSON has it; decimals and times are text, bytes are hexadecimal text.
Values = Mapping[str, Any]


class Verdict(StrEnum):
    """The outcome of a comparison, a window or a table.

    ``IN_FLIGHT``: seen different, and changes on their way can still explain it. ``UNVERIFIED``: it could
    not be decided, the reason says why. ``ERROR``: the comparison itself failed.
    """

    MATCH = "MATCH"
    DIFFERENT = "DIFFERENT"
    IN_FLIGHT = "IN_FLIGHT"
    UNVERIFIED = "UNVERIFIED"
    ERROR = "ERROR"

    @property
    def is_refused(self) -> bool:
        """Whether something is wrong, and not only unproven so far."""
        return self in (Verdict.DIFFERENT, Verdict.ERROR)


# A proven difference stays proven whatever else failed; a failure outranks what is merely open.
_WEIGHT = {
    Verdict.MATCH: 0,
    Verdict.IN_FLIGHT: 1,
    Verdict.UNVERIFIED: 2,
    Verdict.ERROR: 3,
    Verdict.DIFFERENT: 4,
}


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of a whole from its parts: MATCH only when there are parts and all of them match.

    >>> combine([Verdict.MATCH, Verdict.IN_FLIGHT]).value, combine([]).value
    ('IN_FLIGHT', 'UNVERIFIED')
    """
    return max(verdicts, key=_WEIGHT.__getitem__, default=Verdict.UNVERIFIED)


class Kind(StrEnum):
    """What is wrong with a key, seen from base: it lacks the row, has one too many, or another value."""

    MISSING = "missing"
    UNEXPECTED = "unexpected"
    CHANGED = "changed"
    DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One key whose rows differ between two witnesses.

    ``expected`` is the row of the first witness, ``actual`` that of the second; None where it has no row.
    ``columns`` names those that differ (empty for a missing or unexpected row). ``verdict`` says how sure
    it is: DIFFERENT, IN_FLIGHT or UNVERIFIED. ``classes`` says of differing columns what kind of difference
    it is, where it has a name; ``located`` where the fault lies, once three witnesses were asked.
    """

    kind: Kind
    key: Values
    columns: tuple[str, ...]
    expected: Values | None
    actual: Values | None
    witnesses: tuple[str, str]
    verdict: Verdict = Verdict.DIFFERENT
    reason: str = ""
    classes: Mapping[str, ValueClass] = field(default_factory=dict)
    located: Located | None = None

    @property
    def in_flight(self) -> bool:
        """Whether changes on their way can still explain it."""
        return self.verdict is Verdict.IN_FLIGHT


@dataclass(frozen=True, slots=True)
class Sighting:
    """A key a comparison left open at a source position, or called different there.

    ``key`` has the columns as text that casts back to just their values.
    """

    key: Mapping[str, str]
    position: str | None
    different: bool = False


class Gap(StrEnum):
    """Why a column could not be compared although nobody left it out: it stands against MATCH."""

    NOT_IN_SOURCE = "not in the source"
    NOT_IN_BASE = "not in base"
    NO_RULE = "no rule compares it"
    NOT_EXACT = "not exact in the export"


@dataclass(frozen=True, slots=True)
class Excluded:
    """A column that was not compared, and why; without a ``gap`` it need not be, for the reason given."""

    column: str
    reason: str
    gap: Gap | None = None


@dataclass(frozen=True, slots=True)
class Tally:
    """How many keys of a comparison ended in which way."""

    compared: int = 0
    matched: int = 0
    superseded: int = 0
    different: int = 0
    in_flight: int = 0
    unverified: int = 0

    @property
    def verdict(self) -> Verdict:
        """The verdict the counts alone allow."""
        if self.different:
            return Verdict.DIFFERENT
        if self.unverified:
            return Verdict.UNVERIFIED
        return Verdict.IN_FLIGHT if self.in_flight else Verdict.MATCH


@dataclass(frozen=True, slots=True)
class Comparison:
    """One comparison of two witnesses over one segment (a window, in this form).

    ``tally.compared`` = matched + superseded + different + in flight + unverified. A superseded key has a
    newer event, of another window, in base. ``discrepancies`` holds at most DISCREPANCY_CAP of them.
    """

    name: str
    verdict: Verdict
    reason: str
    tally: Tally = Tally()
    discrepancies: tuple[Discrepancy, ...] = ()
    discrepancies_total: int = 0
    excluded: tuple[Excluded, ...] = ()
    columns: tuple[str, ...] = ()
    rules: Mapping[str, str] = field(default_factory=dict)
    #: How many rows of each witness this run read.
    rows: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    #: Raw files, and rows of others, that a person discarded from quarantine: nothing was compared with them.
    given_up: tuple[str, ...] = ()
    source_position: str | None = None
    snapshot_id: int | None = None
    method: str = ""
    seconds: float = 0.0
    #: The columns that differ, over all confirmed differences, with the kinds of difference.
    column_differences: tuple[ColumnDifference, ...] = ()
    #: What the keys that differ have in common; empty when nothing stands out.
    attribution: str = ""
    #: Of which kinds the confirmed differences are: all of them, not only those kept.
    kinds: Mapping[Kind, int] = field(default_factory=dict)
    #: Keys to look at again: what is in flight, and some of what differs.
    sightings: tuple[Sighting, ...] = ()
    #: What stands against MATCH besides the keys counted and the columns that could not be compared.
    points: tuple[Verdict, ...] = ()
    #: Whether all that was compared is equal, and it is no MATCH only since capture may bring more.
    awaits_more: bool = False
    #: Columns known to differ by digests of their values, also in rows whose differences are not kept.
    guilty: tuple[str, ...] = ()
    #: The rows that it did not read, because earlier runs had found them equal; None where there is none.
    carried: CarriedRows | None = None

    @property
    def faults(self) -> dict[Fault, int]:
        """How many of the kept discrepancies have which fault, the most first."""
        found = Counter(one.located.fault for one in self.discrepancies if one.located is not None)
        return dict(found.most_common())


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The outcome of reconciling one window of one table."""

    run_id: str
    source: str
    table_id: str
    window: str
    verdict: Verdict
    comparisons: tuple[Comparison, ...]
    certificate: Mapping[str, Any]
    started_at: datetime
    seconds: float
    #: Where its HTML report lies; None when none was written.
    report: str | None = None

    def comparison(self, name: str) -> Comparison:
        """Return the comparison called ``name``; KeyError when there is none."""
        for comparison in self.comparisons:
            if comparison.name == name:
                return comparison
        raise KeyError(name)

    @property
    def is_equal_so_far(self) -> bool:
        """Whether all that was compared is equal, be more on its way or not."""
        parts = self.comparisons
        return bool(parts) and all(one.awaits_more or one.verdict is Verdict.MATCH for one in parts)

    @property
    def keys_compared(self) -> int:
        """How many keys were compared, by the comparison of most."""
        return max((one.tally.compared for one in self.comparisons), default=0)

    @property
    def discrepancies_total(self) -> int:
        """How many discrepancies all comparisons found."""
        return sum(one.discrepancies_total for one in self.comparisons)

    @property
    def sentence(self) -> str:
        """The verdict in words, with its scope."""
        return " ".join(f"{c.name}: {c.verdict.value} ({c.reason})." for c in self.comparisons)
