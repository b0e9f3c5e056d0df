"""Writes what a run proved of a table, for the incremental runs after it."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.errors import CdcError
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.reconcile.capture_slot import NO_SLOT, SlotNow
from cdc_platform.reconcile.full_result import parquet_bytes
from cdc_platform.reconcile.proofs import FileVersion, Proof, Proofs, read_proofs, write_proofs
from cdc_platform.reconcile.segment_results import Findings, SegmentResult
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.source_identity import NOWHERE, Reached

#: More keys that were not equal are not kept: their segments are compared again instead.
MOST_OPEN_KEYS = 100_000


@dataclass(frozen=True, slots=True)
class Ledger:
    """Where one run keeps what it proved, and what all of it stands at: base's snapshot, files applied."""

    objects: ObjectStore
    conditions: Mapping[str, str]
    snapshot_id: int
    record: str | None
    run_id: str
    at: datetime
    covered: frozenset[FileVersion] = frozenset()
    #: How far the source had come when the run began.
    reached: Reached = NOWHERE
    #: The slot its changes are captured by, as it stood when the run began.
    slot: SlotNow = NO_SLOT

    def keep(
        self,
        connection: duckdb.DuckDBPyConnection,
        sides: Sides,
        found: Findings,
        segments: Sequence[SegmentResult],
        carried: Collection[int] = (),
    ) -> None:
        """Replace the table's proofs; those of ``carried`` segments stand, changed keys having been compared.

        Keys that were looked up and are not equal are kept, and looked up again by the next run.
        """
        counts = _open_counts(connection) if found.looked_up else {}
        is_too_much = sum(counts.values()) > MOST_OPEN_KEYS
        proven = {
            one.number: self._proof(one)
            for one in segments
            if (one.number in carried or _is_settled(found, one.number))
            and not (is_too_much and one.number in counts)
        }
        earlier = read_proofs(self.objects)
        kept = None
        if counts and not is_too_much:
            kept = f"reports/full/open-{self.run_id}.parquet"
            self.objects.put(kept, parquet_bytes(_open_keys(connection, sides)))
        write_proofs(
            self.objects,
            Proofs(
                # what carried ones rest on and this run could not ask for stays as it was
                conditions={**(earlier.conditions if earlier and carried else {}), **self._known},
                bounds=sides.segments.bounds,
                snapshot_id=self.snapshot_id,
                record=self.record,
                segments=proven,
                rows={one.number: one.base_rows for one in segments},
                run_id=self.run_id,
                at=self.at,
                covered=self.covered,
                open_keys=kept,
                reached=replace(self.reached, position=found.source_position),
            ),
        )
        self._forget_open(earlier, kept)

    def end(self) -> None:
        """Let nothing hold that was proven earlier, until all of it has been read again."""
        earlier = read_proofs(self.objects)
        if earlier is not None:
            write_proofs(self.objects, replace(earlier, segments={}))

    def _forget_open(self, earlier: Proofs | None, kept: str | None) -> None:
        if earlier is not None and earlier.open_keys and earlier.open_keys != kept:
            with suppress(CdcError):
                self.objects.delete(earlier.open_keys)

    @property
    def _known(self) -> dict[str, str]:
        return {**self.conditions, **self.slot.conditions}

    def _proof(self, one: SegmentResult) -> Proof:
        snapshot_id = one.snapshot_id if one.snapshot_id is not None else self.snapshot_id
        run_id = one.carried_from or self.run_id
        return Proof(one.verified_at or self.at, one.source_position or "", snapshot_id, run_id)


def open_keys(objects: ObjectStore, proofs: Proofs) -> pa.Table | None:
    """Return the keys that were not equal, columns k0 … as base holds them.

    Raises LookupError when they are gone.
    """
    if proofs.open_keys is None:
        return None
    data = objects.get(proofs.open_keys)
    if data is None:
        raise LookupError(proofs.open_keys)
    return pq.read_table(io.BytesIO(data))


def _is_settled(found: Findings, number: int) -> bool:
    """Whether all rows of a segment are equal but for keys that were looked up one by one."""
    if number in found.scan.unread or number not in found.scan.source:
        return False
    if found.scan.equal(number):
        return True
    counts = found.looked_up.get(number)
    if number not in found.numbers_drilled or counts is None or found.drilled.beyond.get(number):
        return False
    source, base = found.scan.source[number][0], found.scan.base.get(number, (0, 0, 0))[0]
    return bool(counts.in_flight + counts.differing + counts.later) or source == base


def _open_counts(connection: duckdb.DuckDBPyConnection) -> dict[int, int]:
    rows = connection.execute(
        """SELECT s.segment, count(*) FROM suspects s JOIN source_outcomes o ON o.key_id = s.rowid + 1
           WHERE o.outcome > 0 GROUP BY 1"""
    ).fetchall()
    return dict(rows)


def _open_keys(connection: duckdb.DuckDBPyConnection, sides: Sides) -> pa.Table:
    names = ", ".join(f"s.{name}" for name in sides.key_names)
    return connection.execute(
        f"""SELECT {names} FROM suspects s JOIN source_outcomes o ON o.key_id = s.rowid + 1
            WHERE o.outcome > 0"""
    ).to_arrow_table()
