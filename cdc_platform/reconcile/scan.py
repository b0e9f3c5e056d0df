"""The first step of a full comparison: which segments have equal digests, the source being read once.

Where memory allows, the pairs (key, row digest) a digest is the sum of are kept while rows stream by, so that
segments that differ need not be read a second time: of the whole table when it is read at once, else of the
segments that were found to differ.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import duckdb

from cdc_platform.errors import CdcError, SourceUnavailable
from cdc_platform.reconcile.aligned_rows import Aligned
from cdc_platform.reconcile.budget import BudgetSpent, Spending
from cdc_platform.reconcile.parquet_source import ParquetSnapshot
from cdc_platform.reconcile.segments import Bound, Segments
from cdc_platform.reconcile.sides import (
    EMPTY,
    Digest,
    Kept,
    Sides,
    base_digests,
    source_digests,
)
from cdc_platform.reconcile.sources import ReadPlan, SourceSnapshot
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window_events import count

#: So many pairs of a side are kept at most: about 100 MB, which the engine spills when it has to.
MOST_KEPT = 4_000_000

#: Of segments that were read at once and differ, so many are named as progress.
MOST_NAMED = 5

#: The temporary tables of pairs that are kept.
SOURCE_KEPT, BASE_KEPT = "source_kept", "base_kept"
_ARRIVED = "source_arrived"


@dataclass(slots=True)
class Scan:
    """What the digests say: ``source`` of the segments that were read, ``unread`` why others were not.

    ``keeps``: pairs are kept. ``kept`` are the segments whose pairs of the source are, and ``base_kept``
    says whether those of all segments of base are, too.
    """

    base: dict[int, Digest]
    source: dict[int, Digest] = field(default_factory=dict)
    unread: dict[int, tuple[Verdict, str]] = field(default_factory=dict)
    keeps: bool = False
    #: Segments in which, as is known, each row of base has a key of its own.
    distinct: set[int] = field(default_factory=set)
    base_kept: bool = False
    kept: set[int] = field(default_factory=set)
    kept_rows: int = 0
    #: Segments whose rows were compared value by value; their digests are counts of rows alone.
    aligned: Set[int] = frozenset()

    def equal(self, number: int) -> bool:
        """Whether a segment that was read has the same digest on both sides."""
        return self.source[number] == self.base.get(number, EMPTY)

    def unsure(self, sides: Sides) -> set[int]:
        """Return the segments that were read in which a key may be that of several rows of base."""
        return self.source.keys() - self.distinct - {sides.segments.keyless}

    @property
    def differing(self) -> list[int]:
        return [number for number in sorted(self.source) if not self.equal(number)]


@runtime_checkable
class KnowsBounds(Protocol):
    """A snapshot that tells which keys its source can hold."""

    def holds_bounds(self, bounds: Sequence[Bound], plan: ReadPlan) -> bool:
        """Return whether ``bounds`` are keys the source's types can hold."""
        ...


@runtime_checkable
class KnowsTable(Protocol):
    """A snapshot that tells whether its table is the one that was planned."""

    def refuse_other(self, plan: ReadPlan) -> None:
        """Raise SourceUnavailable unless it is."""
        ...


def ranges_of(sides: Sides, snapshot: SourceSnapshot) -> Sides:
    """Return the sides, to be read at once where the source could not hold a bound of their ranges.

    Raises SourceUnavailable where the table is not the planned one, which no row need be read to know.
    """
    if isinstance(snapshot, KnowsTable):
        snapshot.refuse_other(sides.plan)
    is_held = (
        not sides.plan.ranged
        or not isinstance(snapshot, KnowsBounds)
        or snapshot.holds_bounds(sides.segments.bounds, sides.plan)
    )
    return sides if is_held else replace(sides, plan=replace(sides.plan, ranged=False))


def scan_base(connection: duckdb.DuckDBPyConnection, sides: Sides, aligned: Aligned, *, keeps: bool) -> Scan:
    """Return a scan of which base was read; ``keeps``: with its pairs, when they are not too many.

    ``aligned`` are segments both sides of which were read already, and are none of those of ``sides``.
    """
    known = {number: (rows, 0, 0) for number, rows in aligned.rows.items()}
    scan = Scan(dict(known), dict(known), keeps=keeps, distinct=set(aligned.distinct), aligned=known.keys())
    if known and sum(aligned.rows.values()) == sides.rows:
        # no row of base is left
        return scan
    scan.base_kept = keeps and sides.rows is not None and sides.rows <= MOST_KEPT
    digests, distinct = base_digests(connection, sides, BASE_KEPT if scan.base_kept else None)
    scan.base |= digests
    scan.distinct |= distinct
    return scan


def has_all_rows(
    connection: duckdb.DuckDBPyConnection, snapshot: SourceSnapshot, sides: Sides, scan: Scan
) -> bool:
    """Whether the segments that were read have as many rows as both sides, if every one of them was read.

    Ranges of keys are read of files whose footers tell that they hold some. Where footers tell other keys
    than there are, rows are in no range, or in another; digests of all rows ask no footer.
    """
    if scan.unread or not isinstance(snapshot, ParquetSnapshot):
        return True
    rows = count(connection, f"SELECT count(*) FROM {snapshot.relation(sides.plan)}")
    source, base = (sum(n for n, _, _ in read.values()) for read in (scan.source, scan.base))
    return (source, base) == (rows, sides.rows)


def scan_source(
    connection: duckdb.DuckDBPyConnection,
    snapshot: SourceSnapshot,
    sides: Sides,
    scan: Scan,
    wanted: list[int],
    spending: Spending,
    done: Callable[[Collection[int]], None],
    *,
    by_ranges: bool,
) -> None:
    """Read the ``wanted`` segments of the source, one by one or at once; ``done`` hears which were read.

    Whatever stops the reading leaves the rest unread, with the reason.
    """
    stopped: tuple[Verdict, str] | None = None
    if not by_ranges:
        stopped = _read(connection, snapshot, sides, scan, None, wanted, spending)
        if scan.source:
            done(scan.source)
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
            done([number])
    if stopped is not None:
        scan.unread |= {number: stopped for number in wanted if number not in scan.source}


def told_of(segments: Segments, scan: Scan, numbers: Collection[int], wanted: int) -> str:
    """Say how far reading has come, and what was found of the segments ``numbers``, just read."""
    rows = sum(n for n, _, _ in scan.source.values())
    differing = [number for number in sorted(numbers) if not scan.equal(number)]
    if len(numbers) == 1:
        found = f"{segments.label(*numbers)} {'different' if differing else 'equal'}"
    elif differing:
        more = ", …" if len(differing) > MOST_NAMED else ""
        named = ", ".join(map(segments.label, differing[:MOST_NAMED]))
        found = f"{len(differing)} different ({named}{more})"
    else:
        found = "all equal"
    return f"{len(scan.source)} of {wanted} segments, {rows:,} rows: {found}"


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
    kept = _kept_table(scan, number)
    try:
        found, is_kept = source_digests(connection, snapshot, sides, number, spending, kept)
    except BudgetSpent as spent:
        return Verdict.UNVERIFIED, str(spent)
    except CdcError as error:
        return Verdict.ERROR, str(error)
    if number is not None and set(found) - {number}:
        return Verdict.ERROR, str(_misplaced(sides, number))
    scan.source |= {one: found.get(one, EMPTY) for one in wanted}
    if kept is not None and is_kept:
        _keep(connection, scan, kept.table, wanted)
    return None


def _kept_table(scan: Scan, number: int | None) -> Kept | None:
    """Return where the pairs of a segment, or of all, are left as they come; None: they are not kept."""
    if number is None:
        return Kept(SOURCE_KEPT, MOST_KEPT) if scan.base_kept else None
    room = MOST_KEPT - scan.kept_rows
    return Kept(_ARRIVED, room) if scan.keeps and room > 0 else None


def _keep(connection: duckdb.DuckDBPyConnection, scan: Scan, kept: str, wanted: list[int]) -> None:
    """Keep the pairs in the table ``kept``: of all segments, or of the one that differs."""
    differing = [number for number in wanted if not scan.equal(number)]
    if kept == _ARRIVED and differing:
        into = "INSERT INTO" if scan.kept else "CREATE OR REPLACE TEMP TABLE"
        rows = "SELECT * FROM" if scan.kept else "AS SELECT * FROM"
        connection.execute(f"{into} {SOURCE_KEPT} {rows} {_ARRIVED}")
        scan.kept_rows += sum(scan.source[number][0] for number in differing)
    scan.kept |= set(differing)


def _misplaced(sides: Sides, number: int) -> SourceUnavailable:
    return SourceUnavailable(
        f"the source gave keys outside of the range it was asked for ({sides.segments.label(number)}): "
        "it orders them differently",
        where=sides.plan.table.label,
        mend="check that the key columns have the same types and values on both sides",
    )
