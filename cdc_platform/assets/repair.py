"""The job ``repair``: what ``cdc repair`` does, from the launchpad, with its plan and outcome as metadata.

Without ``approve`` it only plans; the plan's id, given back with ``approve``, carries out just that plan.
"""

from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.metadata import table_value, without_none
from cdc_platform.assets.outcome import as_dagster
from cdc_platform.errors import CdcError
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform
    from cdc_platform.repair.record import Repair

#: Repairs share the pool of maintenance: one at a time is enough, and none holds a merge up.
POOL = "maintenance"


class RepairRun(dg.Config):
    """Which rows to repair, and whether to do it or only to say what would be done."""

    source: str
    table: str
    window: str | None = None
    run: str | None = None
    full: bool = False
    plan: str | None = None
    approve: bool = False
    upserts_only: bool = False
    max_rows: int | None = None
    max_share: float | None = None


def repair_metadata(repair: "Repair") -> dict[str, Any]:
    """Return what the UI shows of a repair."""
    undo = f"cdc repair {repair.source}.{repair.table_id} --undo {repair.id}" if repair.applied else None
    rows = [{name: str(value) for name, value in one.items()} for one in repair.preview]
    guards = [{"guard": one.name, "holds": one.passed, "told": one.told} for one in repair.guards]
    return without_none(
        {
            "repair": repair.id,
            "state": repair.state.value,
            "window": repair.window,
            "keys": repair.keys,
            **{f"{name}s": count for name, count in repair.ops.items()},
            "guards": table_value(guards),
            "preview": table_value(rows),
            "verdict": repair.verified.verdict if repair.verified else None,
            "reason": repair.verified.reason if repair.verified else None,
            "snapshot": repair.applied.snapshot_id if repair.applied else None,
            "undo": undo,
        }
    )


def build_repair_job() -> dg.JobDefinition:
    """Return the job ``repair`` of the whole code location."""

    @dg.op(name="repair_rows", pool=POOL, description="Plans a repair; carries it out when it is approved.")
    def repair_rows(context: dg.OpExecutionContext, config: RepairRun, platform: PlatformResource) -> None:
        try:
            done = _repaired(platform.open(), config, by=f"dagster run {context.run_id}")
        except CdcError as error:
            context.log.error(str(error))
            raise as_dagster(error) from error
        context.add_output_metadata(repair_metadata(done))
        context.log.info(f"repair {done.id}: {done.state.value}, {done.keys} keys")
        if config.approve and done.verified is not None and done.verified.verdict != "MATCH":
            raise dg.Failure(f"{done.verified.verdict}: {done.verified.reason}", allow_retries=False)

    @dg.job(
        name="repair",
        description="Rows of a base table that differ from the source for certain, brought back by events.",
        executor_def=dg.in_process_executor,
    )
    def repair() -> None:
        repair_rows()

    return repair


def _repaired(platform: "Platform", config: RepairRun, by: str) -> "Repair":
    from cdc_platform.repair.approve import plan_repair
    from cdc_platform.repair.asking import ask_of, repair_now
    from cdc_platform.repair.record import read_repair

    where = f"{config.source}.{config.table}"
    platform.table(config.source, config.table)
    objects = platform.objects(config.source, config.table)
    kept = read_repair(objects, config.plan, where) if config.plan else None
    ask = ask_of(
        platform,
        config.source,
        config.table,
        by=by,
        window=config.window,
        run_id=config.run,
        full=config.full,
        plan=kept,
        upserts_only=config.upserts_only,
        max_rows=config.max_rows,
        max_share=config.max_share,
    )
    return repair_now(platform, ask, kept) if config.approve else kept or plan_repair(platform, ask)
