"""The first step of a full comparison: which segments have equal digests, the source being read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import duckdb

from cdc_platform.errors import CdcError, SourceUnavailable
from cdc_platform.reconcile.budget import Spending
from cdc_platform.reconcile.sides import EMPTY, BudgetSpent, Digest, Sides, source_digests
from cdc_platform.reconcile.sources import SourceSnapshot
from cdc_platform.reconcile.verdict import Verdict


@dataclass(slots=True)
class Scan:
    """What the digests say: ``source`` of the segments that were read, ``unread`` why others were not."""

    base: Mapping[int, Digest]
    source: dict[int, Digest] = field(default_factory=dict)
    unread: dict[int, tuple[Verdict, str]] = field(default_factory=dict)

    def equal(self, number: int) -> bool:
        """Whether a segment that was read has the same digest on both sides."""
        return self.source[number] == self.base.get(number, EMPTY)

    @property
    def differing(self) -> list[int]:
        return [number for number in sorted(self.source) if not self.equal(number)]


def scan_source(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    scan: Scan,
    wanted: list[int],
    spending: Spending,
    done: Callable[[int], None],
    *,
    by_ranges: bool,
) -> None:
    """Read the ``wanted`` segments of the source, one by one or at once; ``done`` hears of each.

    Whatever stops the reading leaves the rest unread, with the reason.
    """
    stopped: tuple[Verdict, str] | None = None
    if not by_ranges:
        stopped = _read(connection, snapshot, sides, scan, None, wanted, spending)
        for number in scan.source:
            done(number)
    else:
        for number in wanted:
            if (reason := spending.exhausted()) is not None:
                stopped = (Verdict.UNVERIFIED, reason)
            elif number != sides.segments.keyless:
                stopped = _read(connection, snapshot, sides, scan, number, [number], spending)
            else:
                # the key is the primary key: it has no NULL, and a range that gave one was refused
                scan.source[number] = EMPTY
            if stopped is not None:
                break
            done(number)
    if stopped is not None:
        scan.unread |= {number: stopped for number in wanted if number not in scan.source}


def _read(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    scan: Scan,
    number: int | None,
    wanted: list[int],
    spending: Spending,
) -> tuple[Verdict, str] | None:
    """Read one segment or all; return why it could not be done."""
    try:
        found = source_digests(connection, snapshot, sides, number, spending)
    except BudgetSpent as spent:
        return Verdict.UNVERIFIED, str(spent)
    except CdcError as error:
        return Verdict.ERROR, str(error)
    if number is not None and set(found) - {number}:
        return Verdict.ERROR, str(_misplaced(sides, number))
    scan.source |= {one: found.get(one, EMPTY) for one in wanted}
    return None


def _misplaced(sides: Sides, number: int) -> SourceUnavailable:
    return SourceUnavailable(
        f"the source gave keys outside of the range it was asked for ({sides.segments.label(number)}): "
        "it orders them differently",
        where=sides.plan.table.label,
        mend="check that the key columns have the same types and values on both sides",
    )
