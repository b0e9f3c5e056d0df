"""The verdict of a segment that was proven before: its proof, and each of its keys changed since."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import duckdb

from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.proofs import Proof
from cdc_platform.reconcile.segment_results import SegmentResult
from cdc_platform.reconcile.segments import neighbours
from cdc_platform.reconcile.sides import Digest, Sides
from cdc_platform.reconcile.verdict import Tally, Verdict, combine
from cdc_platform.words import counted

BY_CHANGED_KEYS = (
    "proven before; every key that changed since was compared: by digest, and column by column where "
    "that differs"
)

#: Beyond so many stretches of segments their rows are found in one scan.
_MOST_QUERIES = 8


@dataclass(frozen=True, slots=True)
class KeyCounts:
    """The changed keys of one segment, by how their full rows compared."""

    keys: int = 0
    equal: int = 0
    in_flight: int = 0
    differing: int = 0
    #: The rows either side has of them.
    in_base: int = 0
    in_source: int = 0

    def __add__(self, other: KeyCounts) -> KeyCounts:
        """Return the counts of both."""
        names = (one.name for one in fields(self))
        return KeyCounts(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a proven segment besides its proof: base's rows, and keys of files on their way."""

    base_rows: int
    keys: KeyCounts
    waiting: int
    #: Why its changed keys were not looked up, and how many they are; empty when they were.
    left_over: str = ""
    keys_left: int = 0

    @property
    def left_rows(self) -> int:
        """The rows base has of them at most."""
        return min(self.keys_left, self.base_rows)

    @property
    def untouched(self) -> int:
        """The rows that are as they were when the segment was proven."""
        return max(0, self.base_rows - self.keys.in_base - self.left_rows)


def count_keys(connection: duckdb.DuckDBPyConnection) -> dict[int, KeyCounts]:
    """Count the keys of ``suspects`` by segment; ``equal`` are those that a side still has."""
    rows = connection.execute(
        """SELECT s.segment, count(*),
                  count(*) FILTER (o.outcome = 0 AND NOT o.awaited AND there),
                  count(*) FILTER (o.awaited OR o.moved),
                  count(*) FILTER (o.outcome > 0 AND NOT o.awaited AND NOT o.moved),
                  sum(o.base_copies)::BIGINT, sum(o.source_copies)::BIGINT
           FROM suspects s JOIN (
               SELECT *, base_row IS NOT NULL OR source_row IS NOT NULL AS there FROM source_outcomes) o
           ON o.key_id = s.rowid + 1 GROUP BY 1"""
    ).fetchall()
    return {row[0]: KeyCounts(*row[1:]) for row in rows}


def base_digests_of(
    connection: duckdb.DuckDBPyConnection, sides: Sides, numbers: Sequence[int]
) -> dict[int, Digest]:
    """Return the digests of some segments of base; files whose statistics exclude them are not read.

    Neighbours are read together: the rows of two often lie in one row group.
    """
    keys = sides.keys(sides.base_values)
    number, aggregates = sides.segments.number_sql(keys), sides.digest.aggregates(sides.base_values)
    stretches = neighbours(numbers, sides.segments.keyless)
    conditions = [f"({sides.segments.condition_sql(keys, first, last)})" for first, last in stretches]
    if len(conditions) > _MOST_QUERIES:
        conditions = [f"({' OR '.join(conditions)})"]
    found: dict[int, Digest] = {}
    for condition in conditions:
        rows = connection.execute(
            f"SELECT {number}, {aggregates} FROM {sides.base_rows} AND {condition} GROUP BY 1"
        ).fetchall()
        found |= {segment: (n, first, second) for segment, n, first, second in rows}
    return found


def judge_proven(
    sides: Sides, number: int, proof: Proof, standing: Standing, judgement: Judgement
) -> SegmentResult:
    """Return the result of a segment that was not read whole in this run.

    Its rows that no key names are equal only as far as capture is known to have told every change, so where
    a difference could not be called one for that reason, their equality is not MATCH either.
    """
    counts, tally = standing.keys, _tally(standing, judgement)
    verdicts, reasons = [tally.verdict], [_keys_in_words(counts)]
    if judgement.verdict is not Verdict.DIFFERENT:
        verdicts.append(judgement.verdict)
        reasons.append(f"what else changed since is not known: {judgement.reason}")
    if standing.left_over:
        verdicts.append(Verdict.UNVERIFIED)
        reasons.append(standing.left_over)
    if standing.waiting:
        reasons.append(f"{counted(standing.waiting, 'key')} changed by files not applied yet")
    return SegmentResult(
        number=number,
        keys=sides.segments.label(number),
        verdict=combine(verdicts),
        reason="; ".join(reasons),
        method=BY_CHANGED_KEYS,
        tally=tally,
        source_rows=max(0, standing.base_rows - counts.in_base + counts.in_source),
        base_rows=standing.base_rows,
        source_position=proof.source_position,
        carried_from=proof.run_id,
        verified_at=proof.verified_at,
        snapshot_id=proof.snapshot_id,
        keys_since=counts.keys,
        carried_rows=standing.untouched,
        left_rows=standing.left_rows,
    )


def _tally(standing: Standing, judgement: Judgement) -> Tally:
    counts = standing.keys
    flying = counts.in_flight + standing.waiting
    matched = max(0, standing.untouched + counts.equal - standing.waiting)
    differing = {judgement.verdict: counts.differing}
    return Tally(
        compared=matched + flying + counts.differing + standing.keys_left,
        matched=matched,
        different=differing.get(Verdict.DIFFERENT, 0),
        in_flight=flying + differing.get(Verdict.IN_FLIGHT, 0),
        unverified=differing.get(Verdict.UNVERIFIED, 0) + standing.keys_left,
    )


def _keys_in_words(counts: KeyCounts) -> str:
    if not counts.keys:
        return "proven before, and no key changed since"
    if counts.differing:
        return f"{counts.differing:,} of {counts.keys:,} keys changed since its proof differ"
    open_ = f", {counts.in_flight:,} on their way" if counts.in_flight else ""
    equal = counts.keys - counts.in_flight
    return f"proven before, and {equal:,} of {counts.keys:,} keys changed since are equal{open_}"
