"""Why rows of a source may change with nothing in the raw files of its table.

Windows and incremental runs rest on raw telling every change. Where the catalog or the task's settings say
that it does not, they prove nothing; a full run, which reads every row, still does.
"""

from __future__ import annotations

from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.verdict import Verdict

_INSERTS_ONLY = "the task writes inserts alone (CdcInsertsOnly): no raw file has an update or delete"


def untold_changes(subject: Subject, plan: ReadPlan) -> str:
    """Return why raw does not tell every change of the table; empty where nothing says so."""
    if subject.source.raw.cdc_inserts_only:
        return _INSERTS_ONLY
    return f"the source table {plan.table.untold}" if plan.table.untold else ""


def untold_points(subject: Subject, plan: ReadPlan) -> list[tuple[Verdict, str]]:
    """Return what stands against MATCH of a comparison that knows of changes by raw alone."""
    why = untold_changes(subject, plan)
    return [(Verdict.UNVERIFIED, f"raw does not tell every change: {why}")] if why else []
