"""Merging change events into a base table: plan, commit, and plan again when another writer was faster.

A merge is idempotent: a file already applied is skipped, an event already applied is stale. It makes one
snapshot, which also carries the record of the files it applied.
"""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import CommitOutcomeUnknown, StaleCommit
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.commit import commit_merge
from cdc_platform.lake.configured import not_taken_over
from cdc_platform.lake.inputs import EventBatch, EventFile, MergeInput, RejectedRow
from cdc_platform.lake.merge_plan import MergePlan
from cdc_platform.lake.outages import outages
from cdc_platform.lake.plan import plan_merge
from cdc_platform.lake.publishing import as_declared
from cdc_platform.lake.result import MergeCounts, MergeResult
from cdc_platform.lake.rules import check_declaration
from cdc_platform.lake.schema import TargetSchema
from cdc_platform.lake.selection import Selection, select_inputs
from cdc_platform.lake.standing import Standing, read_standing

__all__ = [
    "EventBatch",
    "EventFile",
    "MergeCounts",
    "MergeInput",
    "MergePlan",
    "MergeResult",
    "RejectedRow",
    "commit_merge",
    "merge",
    "plan_merge",
]

#: How often a merge is planned before another writer's luck is reported as an error.
MAX_ATTEMPTS = 10
_FIRST_PAUSE_SECONDS = 0.05
_LONGEST_PAUSE_SECONDS = 5.0


def merge(
    lake: Lake,
    source: str,
    table: TableConfig,
    inputs: Sequence[MergeInput],
    *,
    completed_generation: int | None = None,
    standing: Standing | None = None,
) -> MergeResult:
    """Apply the files of ``inputs`` that the base table has not applied yet.

    Files may come in any order, repeated, and from any window. A file that cannot be read is quarantined and
    the others go on. ``standing`` spares the first attempt to read where the table stands. Raises StaleCommit
    or CommitOutcomeUnknown when that persists for all attempts, and StorageUnavailable when the catalog or
    the warehouse cannot be reached: all retryable.
    """
    where = ".".join(lake.identifier(source, table.id))
    for attempt in range(1, MAX_ATTEMPTS + 1):
        try:
            with outages(where):
                known, standing = standing, None
                result = _attempt(lake, source, table, inputs, completed_generation, known)
            return replace(result, attempts=attempt)
        except (StaleCommit, CommitOutcomeUnknown) as e:
            # After an unknown outcome, too, planning again is safe: should the lost commit land late, the
            # table has moved and this one's commit fails; if it has landed, its files are seen as applied.
            if attempt == MAX_ATTEMPTS:
                raise _given_up(e, where) from e
        longest = min(_FIRST_PAUSE_SECONDS * 2**attempt, _LONGEST_PAUSE_SECONDS)
        time.sleep(longest * random.uniform(0.25, 1))
    raise AssertionError("unreachable")


def _nothing_to_do(
    lake: Lake,
    source: str,
    table: TableConfig,
    selection: Selection,
    completed_generation: int | None,
    standing: Standing,
) -> MergeResult | None:
    """Return the result of a merge that would record nothing, before anything is opened for it."""
    record = standing.record
    if selection.whole or selection.rows or selection.superseded or selection.settled:
        return None
    if completed_generation is not None and completed_generation > record.generation_complete:
        return None
    check_declaration(table, source)
    TargetSchema(standing.base, table, where=".".join(lake.identifier(source, table.id)))
    return MergeResult(
        source=source,
        table_id=table.id,
        batch_id=str(uuid.uuid4()),
        snapshot_id=None,
        counts=MergeCounts(),
        files_skipped=selection.skipped,
        files_waiting=len(selection.waiting),
        watermark=record.watermark,
    )


def _attempt(
    lake: Lake,
    source: str,
    table: TableConfig,
    inputs: Sequence[MergeInput],
    completed: int | None,
    standing: Standing | None,
) -> MergeResult:
    known = standing if standing is not None else read_standing(lake, source, table.id)
    known = as_declared(lake, source, table, known)
    keyed = bool(table.merge_key)
    selection = select_inputs(inputs, known.record, known.items, completed=completed, is_keyed=keyed)
    warnings = not_taken_over(known.base, table)
    if (idle := _nothing_to_do(lake, source, table, selection, completed, known)) is not None:
        return replace(idle, warnings=(*warnings, *selection.warnings))
    plan = plan_merge(
        lake, source, table, inputs, completed_generation=completed, standing=known, selection=selection
    )
    try:
        return replace(commit_merge(plan), warnings=(*warnings, *plan.selection.warnings))
    finally:
        plan.close()


def _given_up(error: StaleCommit | CommitOutcomeUnknown, where: str) -> StaleCommit | CommitOutcomeUnknown:
    """Return the error for the caller: the last one, with how often it was tried."""
    mend = (
        "run again; if this goes on, let fewer processes write the table meanwhile, or merge less at once "
        "(cdc apply --window): a merge must end between two commits of the others"
        if isinstance(error, StaleCommit)
        else error.mend
    )
    return type(error)(f"{error.what} ({MAX_ATTEMPTS} attempts)", where=where, mend=mend)
