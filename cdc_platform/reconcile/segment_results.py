"""The verdict of each segment of a full comparison, from digests, looked-up keys and changes on their way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

import duckdb

from cdc_platform.reconcile.altered_keys import ALTERED
from cdc_platform.reconcile.certificate_schema import SegmentFields
from cdc_platform.reconcile.drill import Drilled
from cdc_platform.reconcile.full_state import Carried
from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.key_outcomes import Outcome
from cdc_platform.reconcile.scan import Scan
from cdc_platform.reconcile.segments import Segments
from cdc_platform.reconcile.sides import EMPTY
from cdc_platform.reconcile.verdict import Tally, Verdict
from cdc_platform.words import counted

BY_DIGEST = "digest of every row and column"
BY_VALUES = "every value of every row, beside the one in its place on the other side"
BY_ROWS = "every differing row, column by column"
NOT_COMPARED = "not compared"


@dataclass(frozen=True, slots=True)
class SegmentResult:
    """One segment: its keys in words, its verdict, and the position its source rows were read at."""

    number: int
    keys: str
    verdict: Verdict
    reason: str
    method: str
    tally: Tally = field(default_factory=Tally)
    source_rows: int = 0
    base_rows: int = 0
    source_position: str | None = None
    carried_from: str | None = None
    #: When all its rows were last read on both sides, and the snapshot of base they were read from then.
    verified_at: datetime | None = None
    snapshot_id: int | None = None
    #: Of a segment that was not read whole in this run: how many keys changed since and were compared.
    keys_since: int | None = None
    #: Rows of either side that an earlier run found equal and this one did not read.
    carried_rows: int = 0
    #: Rows of base of which neither can be said: they changed since, and were not looked up.
    left_rows: int = 0

    @property
    def source_rows_read(self) -> int:
        """How many of the source's rows this run read."""
        return max(0, self.source_rows - self.carried_rows - self.left_rows)

    @property
    def base_rows_read(self) -> int:
        """How many of base's rows this run compared."""
        return max(0, self.base_rows - self.carried_rows - self.left_rows)

    def as_json(self) -> SegmentFields:
        """Return it as a certificate has it."""
        tally = self.tally
        return {
            "segment": self.number,
            "keys": self.keys,
            "verdict": self.verdict.value,
            "reason": self.reason,
            "method": self.method,
            # those this run read
            "rows": {"source": self.source_rows_read, "base": self.base_rows_read},
            "carried_rows": self.carried_rows,
            "matched": tally.matched,
            "different": tally.different,
            "in_flight": tally.in_flight,
            "unverified": tally.unverified,
            "source_position": self.source_position,
            "carried_from": self.carried_from,
            "verified_at": self.verified_at.isoformat() if self.verified_at else None,
            "verified_snapshot_id": str(self.snapshot_id) if self.snapshot_id is not None else None,
            "keys_since": self.keys_since,
        }


@dataclass(frozen=True, slots=True)
class LookedUp:
    """Keys of one drilled segment, by how their full rows compared."""

    equal: int = 0
    in_flight: int = 0
    differing: int = 0
    #: The rows the source has of them.
    in_source: int = 0
    #: Of which nothing can be said: they may have changed since an export was made, or
    later: int = 0
    #: are others in base than in the source.
    altered: int = 0


@dataclass(frozen=True, slots=True)
class Findings:
    """All that is known when segments are judged; ``changed`` counts keys of files not applied."""

    segments: Segments
    scan: Scan
    drilled: Drilled
    looked_up: Mapping[int, LookedUp]
    changed: Mapping[int, int]
    judgement: Judgement
    source_position: str
    numbers_drilled: frozenset[int]
    #: Whether the source's rows are all of one instant.
    is_snapshot: bool = True


def looked_up(connection: duckdb.DuckDBPyConnection, left: Mapping[int, int]) -> dict[int, LookedUp]:
    """Count the outcomes of the suspects by segment, also of those where all are ``left``.

    ``suspects`` are numbered as ``keys`` is.
    """
    rows = connection.execute(
        f"""SELECT s.segment, count(*) FILTER (o.outcome = 0 AND NOT o.awaited),
                  count(*) FILTER (o.awaited OR o.moved),
                  count(*) FILTER (o.outcome > 0 AND NOT o.awaited AND NOT o.moved AND NOT o.later),
                  sum(CASE WHEN s.in_source THEN greatest(1, o.source_copies) ELSE 0 END)::BIGINT,
                  count(*) FILTER (o.outcome > 0 AND NOT o.awaited AND NOT o.moved AND o.later),
                  count(*) FILTER (o.outcome = {Outcome.ALTERED:d} AND NOT o.awaited AND NOT o.moved)
           FROM suspects s JOIN source_outcomes o ON o.key_id = s.rowid + 1 GROUP BY 1"""
    ).fetchall()
    return {**dict.fromkeys(left, LookedUp()), **{row[0]: LookedUp(*row[1:]) for row in rows}}


def not_looked_up(connection: duckdb.DuckDBPyConnection) -> dict[int, int]:
    """Count the suspects by segment that were not looked up."""
    rows = connection.execute(
        """SELECT segment, count(*) FROM suspects s ANTI JOIN source_outcomes o ON o.key_id = s.rowid + 1
           GROUP BY 1"""
    ).fetchall()
    return dict(rows)


def notes_on_left(left: Mapping[int, int]) -> list[str]:
    """Return what a run says of suspects that were not looked up."""
    keys = counted(sum(left.values()), "suspicious key")
    return [f"{keys} not looked up: the budget of time was spent"] if left else []


def judge_segment(found: Findings, number: int) -> SegmentResult:
    """Return the result of a segment that was read, or was not."""
    if number in found.scan.unread:
        verdict, reason = found.scan.unread[number]
        base_rows = found.scan.base.get(number, EMPTY)[0]
        unread, keys = Tally(compared=base_rows, unverified=base_rows), found.segments.label(number)
        return SegmentResult(number, keys, verdict, reason, NOT_COMPARED, unread, base_rows=base_rows)
    source_rows, base_rows = found.scan.source[number][0], found.scan.base.get(number, EMPTY)[0]
    changed = found.changed.get(number, 0)
    if found.scan.equal(number) and number not in found.looked_up:
        is_aligned = number in found.scan.aligned
        method, reason = (BY_VALUES, "equal value by value") if is_aligned else (BY_DIGEST, "equal by digest")
        tally = _tally(Verdict.MATCH, source_rows, in_flight=changed)
    elif number == found.segments.keyless:
        method, (tally, reason) = BY_DIGEST, _keyless(found, source_rows, base_rows)
    elif number not in found.numbers_drilled and number not in found.looked_up:
        rows, method = max(source_rows, base_rows), BY_DIGEST
        tally = _tally(Verdict.UNVERIFIED, 0, in_flight=changed, undecided=max(1, rows - changed))
        reason = "the digests differ, as those of many segments do: only a sample of them was drilled into"
    else:
        method, (tally, reason) = BY_ROWS, _drilled(found, number, source_rows, base_rows)
    if changed:
        reason += f"; {counted(changed, 'key')} changed by files not applied yet"
    return SegmentResult(
        number=number,
        keys=found.segments.label(number),
        verdict=tally.verdict,
        reason=reason,
        method=method,
        tally=tally,
        source_rows=source_rows,
        base_rows=base_rows,
        source_position=found.source_position,
    )


def taken_over(result: SegmentResult, carried: Carried | None, again: LookedUp | None) -> SegmentResult:
    """Return the result of a segment that was found equal before; some of its keys may be read ``again``."""
    if carried is None:
        return result
    read = again.in_source if again is not None else 0
    return replace(
        result,
        source_position=carried.source_position,
        carried_from=carried.run_id,
        carried_rows=max(0, result.source_rows - read),
    )


def _keyless(found: Findings, source_rows: int, base_rows: int) -> tuple[Tally, str]:
    """Judge rows without a key: nothing on its way can be told from them."""
    verdict = Verdict.IN_FLIGHT if found.changed else found.judgement.verdict
    reason = f"rows without a merge key differ: {source_rows:,} in the source, {base_rows:,} in base"
    tally = _tally(verdict, 0, undecided=max(source_rows, base_rows))
    return tally, f"{reason}; {found.judgement.reason}"


def _drilled(found: Findings, number: int, source_rows: int, base_rows: int) -> tuple[Tally, str]:
    counts, beyond = found.looked_up.get(number, LookedUp()), found.drilled.beyond.get(number, 0)
    changed = found.changed.get(number, 0)
    suspects = counts.equal + counts.in_flight + counts.differing + counts.later
    matched = max(0, source_rows - counts.in_source - beyond - changed) + counts.equal
    if not suspects and not beyond:
        if not found.is_snapshot:
            moved = "rows changed between the two reads of a source that has no snapshot"
            return _tally(Verdict.IN_FLIGHT, 0, undecided=max(source_rows, base_rows)), moved
        return _tally(Verdict.ERROR, 0, undecided=max(source_rows, base_rows)), (
            "the digests differ and no row does: the sides did not hold still, or the digest is at fault"
        )
    if suspects == counts.equal and not beyond and source_rows != base_rows:
        return _tally(Verdict.UNVERIFIED, matched, undecided=abs(source_rows - base_rows)), (
            f"{source_rows:,} rows in the source and {base_rows:,} in base, and no key tells why"
        )
    tally = _tally(
        found.judgement.verdict, matched, in_flight=changed + counts.in_flight, undecided=counts.differing
    )
    tally = Tally(
        compared=tally.compared + beyond + counts.later,
        matched=tally.matched,
        different=tally.different,
        in_flight=tally.in_flight,
        unverified=tally.unverified + beyond + counts.later,
    )
    parts = [f"{counts.differing:,} of {suspects:,} suspicious keys differ" if counts.differing else ""]
    later = counts.later - counts.altered
    parts.append(f"{later:,} may have changed since the export" if later else "")
    parts.append(f"{counts.altered:,}: {ALTERED}" if counts.altered else "")
    parts.append(f"{counts.equal:,} are equal under the named rules" if counts.equal else "")
    parts.append(f"{beyond:,} more differ by digest and were not looked up" if beyond else "")
    return tally, "; ".join(filter(None, parts)) or "the keys that differ are on their way"


def _tally(verdict: Verdict, matched: int, *, in_flight: int = 0, undecided: int = 0) -> Tally:
    """Return counts in which ``undecided`` rows go where ``verdict`` says."""
    matched = max(0, matched - (in_flight if verdict is Verdict.MATCH else 0))
    different = undecided if verdict is Verdict.DIFFERENT else 0
    flying = in_flight + (undecided if verdict is Verdict.IN_FLIGHT else 0)
    unverified = undecided if verdict in (Verdict.UNVERIFIED, Verdict.ERROR) else 0
    return Tally(matched + different + flying + unverified, matched, 0, different, flying, unverified)
