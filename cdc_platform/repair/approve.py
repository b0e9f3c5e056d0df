"""Approving a plan: every key is judged again, and what is still certain becomes accepted change events.

From the moment the events' file stands in its window's manifest, the repair is a raw file like any other:
whatever merge comes next applies it, a base built anew from raw files has it, and reconciliation reads it.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from datetime import UTC, datetime

from cdc_platform.errors import ReconciliationError
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.pipeline import Platform
from cdc_platform.raw.manifests import accept, read_load_sets
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import FOLDER
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.repair.draft import Ask, Draft, count_rows, drafted, keep_plan, keep_rows
from cdc_platform.repair.events import keep_events, repair_events
from cdc_platform.repair.record import Approval, EventsFile, Repair, RepairState, advance

_AGAIN = "plan it again: cdc repair … --dry-run"


def plan_repair(platform: Platform, ask: Ask) -> Repair:
    """Find what a repair would do, and keep the plan under an id; nothing else changes.

    Raises ReconciliationError when the table cannot be repaired, SourceUnavailable when the source cannot be
    read. A plan that guards refuse is kept as well: its ``refusals`` say why.
    """
    with drafted(platform, ask) as draft:
        return keep_plan(draft, platform.objects(ask.source, ask.table_id))


def plan_and_approve(platform: Platform, ask: Ask) -> Repair:
    """Plan a repair and approve it on the same reading of both sides.

    Raises ReconciliationError when guards refuse it. A plan without keys is returned as planned.
    """
    objects = platform.objects(ask.source, ask.table_id)
    with drafted(platform, ask) as draft:
        plan = keep_plan(draft, objects)
        if not plan.keys:
            return plan
        _check(plan.refusals, plan)
        approved = _approved(draft, plan, objects, ask.by, dropped=0)
    accept_events(platform, approved)
    return approved


def approve_repair(platform: Platform, plan: Repair, ask: Ask) -> Repair:
    """Judge the keys of ``plan`` again and make the events of those that still differ.

    Raises ReconciliationError when guards refuse it now, or base holds another row of one of its keys than
    when it was planned: what a person approved is not what would be done.
    """
    if plan.state is not RepairState.PLANNED:
        raise ReconciliationError(f"the repair is {plan.state.value} already", where=plan.where)
    if plan.planned is None:
        _check(plan.refusals, plan)
        return plan
    objects = platform.objects(ask.source, ask.table_id)
    with drafted(platform, ask) as draft:
        if draft.judged.plan is None or tuple(plan.columns) != draft.columns.names:
            raise ReconciliationError("the window or base's columns changed", where=plan.where, mend=_AGAIN)
        dropped = _keep_planned(draft, plan, objects)
        _check([guard.told for guard in draft.guards if not guard.passed], plan)
        if not count_rows(draft.con, "touched"):
            what = "none of its keys differs from the source any more"
            return advance(objects, plan, replace(plan, state=RepairState.FAILED, failure=what))
        approved = _approved(draft, plan, objects, ask.by, dropped)
    accept_events(platform, approved)
    return approved


def accept_events(platform: Platform, repair: Repair, file: EventsFile | None = None) -> None:
    """Put the file of a repair's events (or ``file``) into its window's manifest, once."""
    assert repair.approval is not None
    accepted = (file or repair.approval.file).accepted()
    objects = platform.objects(repair.source, repair.table_id)
    sets = read_load_sets(objects)
    accept(objects, repair.source, repair.table_id, accepted.window, [accepted], sets)


def _check(refusals: list[str] | tuple[str, ...], plan: Repair) -> None:
    if refusals:
        raise ReconciliationError(
            f"refused: {'; '.join(refusals)}",
            where=plan.where,
            mend="look at the plan with --dry-run; raise a bound, or reload the table",
        )


def _keep_planned(draft: Draft, plan: Repair, objects: ObjectStore) -> int:
    """Drop from ``touched`` the keys not in the plan; return how many of the plan's are left out.

    Raises ReconciliationError when base's row of a planned key is not what it was.
    """
    con, columns = draft.con, draft.columns
    con.execute(f"CREATE TEMP TABLE planned AS FROM {parquet_sql([objects.url(plan.planned or '')])}")
    same = " AND ".join(f"p.key_{i} = b.{in_workspace(name)}" for i, name in enumerate(columns.key))
    values = [f"p.before_{i} IS DISTINCT FROM b.{in_workspace(name)}" for i, name in enumerate(columns.names)]
    moved = count_rows(
        con,
        f"""planned p
            LEFT JOIN (SELECT * FROM base_rows b WHERE {draft.subject.view.live_condition}) b ON {same}
            WHERE p.has_before <> (b.key_id IS NOT NULL)
               OR (p.has_before AND NOT p.several AND
                   ((p.generation, p.position) IS DISTINCT FROM (b._cdc_generation, b._cdc_position)
                    OR {" OR ".join(values)}))""",
    )
    if moved:
        raise ReconciliationError(
            f"base's row of {moved:,} of its keys changed since it was planned", where=plan.where, mend=_AGAIN
        )
    both = " AND ".join(f"p.key_{i} = t.key_{i}" for i in range(len(columns.key)))
    con.execute(f"DELETE FROM touched t WHERE NOT EXISTS (SELECT 1 FROM planned p WHERE {both})")
    return plan.keys - count_rows(con, "touched")


def _approved(draft: Draft, plan: Repair, objects: ObjectStore, by: str, dropped: int) -> Repair:
    """Write the events and what they replace, then record the approval."""
    assert draft.place is not None
    assert draft.judged.comparison is not None
    source_position = draft.judged.comparison.source_position or ""
    schema, source = draft.base.schema(), draft.subject.source
    # a name of its own for each attempt: a file once accepted never changes
    attempt = secrets.token_hex(3)
    events = repair_events(
        draft.con,
        schema,
        draft.columns.key,
        draft.columns.names,
        rows="FROM touched",
        image="after",
        place=draft.place,
        source_position=source_position,
    )
    window = source.window.key_of(draft.place.instant)
    part = f"events-{attempt}"
    file = keep_events(objects, schema, events, draft.place, repair_id=plan.id, part=part, window=window)
    touched = keep_rows(draft.con, "touched", objects, f"{FOLDER}/{plan.id}/touched-{attempt}.parquet")
    approval = Approval(
        by=by,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        source_position=source_position,
        keys=events.num_rows,
        dropped=dropped,
        file=file,
        touched=touched,
        snapshot_before=str(draft.subject.view.snapshot_id),
        record_before=draft.subject.record.path,
    )
    return advance(objects, plan, replace(plan, state=RepairState.APPROVED, approval=approval))
