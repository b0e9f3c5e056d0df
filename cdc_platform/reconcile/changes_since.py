"""What changed in a table since its proofs, on both sides, and which segments are therefore read whole."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import duckdb
import pyarrow as pa

from cdc_platform.errors import CdcError
from cdc_platform.reconcile.base_delta import FileDelta, load_base_changes
from cdc_platform.reconcile.capture_slot import SLOT
from cdc_platform.reconcile.due import cheaper_whole, due_segments, is_uneven
from cdc_platform.reconcile.ledger import Ledger, open_keys
from cdc_platform.reconcile.proof_conditions import doubt_of
from cdc_platform.reconcile.proofs import Proofs, read_proofs
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.source_identity import begun_fewer, gone_back
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.touched_keys import files_since, load_touched_keys


@dataclass(frozen=True, slots=True)
class Since:
    """What happened since; the changed keys are in ``touched_keys`` (segment, k0 …), as base holds them."""

    proofs: Proofs
    delta: FileDelta
    #: How many rows base gained in each segment.
    gained: Mapping[int, int]
    due: frozenset[int]


def usable_proofs(ledger: Ledger, subject: Subject) -> Proofs | str:
    """Return the table's proofs, or why they do not hold any more."""
    proofs = read_proofs(ledger.objects)
    if proofs is None:
        return "the table has no proofs yet"
    doubt = doubt_of(proofs.conditions, ledger.conditions, "the table was proven")
    positions = (proofs.reached.position, *(one.source_position for one in proofs.segments.values()))
    doubt = doubt or gone_back(positions, ledger.reached.position)
    doubt = doubt or begun_fewer(proofs.reached.transactions, ledger.reached.transactions)
    doubt = doubt or ledger.slot.doubt(proofs.conditions.get(SLOT))
    if doubt:
        return doubt
    if not proofs.segments:
        return "no segment of the table is proven"
    if subject.base is None or subject.base.snapshot_by_id(proofs.snapshot_id) is None:
        return f"base's snapshot {proofs.snapshot_id}, which the proofs are of, is gone"
    return proofs


def find_changes(
    connection: duckdb.DuckDBPyConnection,
    sides: Sides,
    subject: Subject,
    ledger: Ledger,
    proofs: Proofs,
    within: timedelta,
    rows_per_segment: int,
) -> Since | str:
    """Make ``touched_keys`` and say what is due; or say why everything has to be compared."""
    assert subject.base is not None
    try:
        files = files_since(subject, proofs)
        doubt = files.doubt or load_touched_keys(connection, sides, subject, files.files)
        if doubt is not None:
            return doubt
        _add_open_keys(connection, sides, ledger, proofs)
        delta = load_base_changes(connection, sides, subject.base, proofs.snapshot_id)
    except (CdcError, duckdb.Error, LookupError, OSError, pa.ArrowException) as error:
        return f"what changed since the table was proven cannot be read: {error}"
    gained = dict(
        connection.execute("SELECT segment, sum(change)::BIGINT FROM base_changes GROUP BY 1").fetchall()
    )
    if is_uneven({n: proofs.rows.get(n, 0) + gained.get(n, 0) for n in proofs.numbers}, rows_per_segment):
        return "so much was added in one place that the segments were cut anew"
    due = _due(connection, sides, proofs, ledger, within)
    if len(due) >= sides.segments.ranges:
        return "it is the turn of all of them, or so much changed"
    return Since(proofs, delta, gained, frozenset(due))


def _due(
    connection: duckdb.DuckDBPyConnection, sides: Sides, proofs: Proofs, ledger: Ledger, within: timedelta
) -> set[int]:
    changed = dict(connection.execute("SELECT segment, count(*) FROM touched_keys GROUP BY 1").fetchall())
    due = due_segments(proofs, ledger.at, within)
    if changed.pop(sides.segments.keyless, 0):
        due.add(sides.segments.keyless)
    due |= cheaper_whole(changed, proofs.rows)
    # one range of a source that reads none costs as much as all of them
    return due if sides.plan.ranged or not due else set(proofs.numbers)


def _add_open_keys(
    connection: duckdb.DuckDBPyConnection, sides: Sides, ledger: Ledger, proofs: Proofs
) -> None:
    """Add the keys that were not equal at the last run."""
    found = open_keys(ledger.objects, proofs)
    if found is None:
        return
    raw = [f"o.{name}" for name in sides.key_names]
    number = sides.segments.number_sql(sides.keys_of(raw))
    connection.register("open_keys", found)
    connection.execute(f"INSERT INTO touched_keys SELECT {number}, {', '.join(raw)} FROM open_keys o")
    connection.unregister("open_keys")
