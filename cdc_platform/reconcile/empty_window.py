"""A window in which no key changed: nothing is read, but the source is asked whether the table is there."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa

from cdc_platform.reconcile.compared_columns import read_plan
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.untold import untold_points
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Verdict, combine

_NO_BASE = "base has no snapshot yet: no file of the table was ever merged"


def nothing_changed(
    subject: Subject, reader: SourceReader, points: Sequence[tuple[Verdict, str]]
) -> Comparison:
    """Return the comparison with the source of a window without a key; ``points`` stand against MATCH.

    Raises SourceUnavailable when the source does not have the table, or hides rows or columns of it.
    """
    if subject.view.relation is not None:
        plan = read_plan(reader, subject)
        points = [*points, *untold_points(subject, plan)]
    else:
        plan = reader.plan(subject.table.schema_name, subject.table.table_name, (), pa.schema([]))
        points = [*points, (Verdict.UNVERIFIED, _NO_BASE)]
    return Comparison(
        name=SOURCE_MATCHES_BASE,
        verdict=combine([Verdict.MATCH, *(verdict for verdict, _ in points)]),
        reason="; ".join(["no key was changed in this window", *(text for _, text in points)]),
        source_position=plan.position,
        snapshot_id=subject.view.snapshot_id,
        points=tuple(verdict for verdict, _ in points),
    )
