"""A table without a row on either side: nothing of it was ever captured, so base was never made.

DMS writes no file for an empty table, and without a file there is nothing to merge. Base then has no
snapshot, and no row; that the source has none either is asked of it in one snapshot at position L. It is
MATCH only where capture has come to L and told of no row: no file of the table is there, accepted or not, and
none is in quarantine.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol, runtime_checkable

import pyarrow as pa

from cdc_platform.reconcile.asked_capture import ask_capture, captured_before
from cdc_platform.reconcile.in_flight import judge_difference
from cdc_platform.reconcile.recent_runs import recent_runs
from cdc_platform.reconcile.scopes import PROVING
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.subject import Platform, Subject
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Verdict
from cdc_platform.reconcile.window_reach import with_table

METHOD = "whether the source has a row, in one snapshot; base was never made, and has none"
NO_BASE = "base has no snapshot yet: merge the table's files"


@runtime_checkable
class KnowsEmpty(Protocol):
    """A snapshot that tells whether its table has a row."""

    def is_empty(self, plan: ReadPlan) -> bool:
        """Return whether there is none; rows of partitions and child tables count. Raises SourceUnavailable.

        ``plan`` needs no column.
        """
        ...


def compare_without_base(subject: Subject, reader: SourceReader) -> Comparison:
    """Compare a source with a base that was never made: MATCH of no rows, or UNVERIFIED with the reason.

    Raises SourceUnavailable when the source does not have the table, or hides rows of it.
    """
    table = subject.table
    plan = reader.plan(table.schema_name, table.table_name, (), pa.schema([]))
    before = captured_before(subject, plan)
    with reader.snapshot() as snapshot:
        if not isinstance(snapshot, KnowsEmpty) or not reader.snapshot_read or not snapshot.is_empty(plan):
            return _compared(Verdict.UNVERIFIED, NO_BASE)
        position = snapshot.position
    # in this order: what is captured later than it was asked for is in a file that is seen
    capture = ask_capture(subject, reader, position, before)
    judged = judge_difference(position, capture)
    if subject.has_files():
        return _compared(Verdict.UNVERIFIED, NO_BASE, position)
    if judged.verdict is not Verdict.DIFFERENT:
        reason = f"base has no snapshot yet; the source has no row at {position}, but {judged.reason}"
        return _compared(Verdict.UNVERIFIED, reason, position)
    reason = (
        f"neither side has a row: the source has none at {position}, capture has come to {capture.position} "
        "and told of none, and base was never made"
    )
    # that no row was told of proves nothing of a table that is not captured
    return with_table(subject, _compared(Verdict.MATCH, reason, position))


def found_empty(platform: Platform, source: str, table_id: str) -> datetime | None:
    """Return when the table was last found without a row on either side; None where base was made since."""
    runs = (one for one in recent_runs(platform.objects(source, table_id)) if one.is_of_source)
    found = [one for one in runs if one.window in PROVING and one.verdict == Verdict.MATCH]
    if not found or found[-1].snapshot_id is not None:
        return None
    base = platform.lake.load(source, table_id)
    return found[-1].started_at if base is None or base.current_snapshot() is None else None


def _compared(verdict: Verdict, reason: str, position: str | None = None) -> Comparison:
    return Comparison(
        name=SOURCE_MATCHES_BASE,
        verdict=verdict,
        reason=reason,
        rows={"source rows": 0, "base rows": 0} if verdict is Verdict.MATCH else {},
        source_position=position,
        method=METHOD,
    )
