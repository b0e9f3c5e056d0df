"""What a person or a job asks for, made into an :class:`Ask`: which window, within which bounds."""

from __future__ import annotations

from cdc_platform.config.repair import RepairOptions
from cdc_platform.errors import ConfigError, ReconciliationError
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.full_result import latest_full
from cdc_platform.reconcile.results import run_of
from cdc_platform.reconcile.scopes import FULL, SETTLING
from cdc_platform.repair.approve import approve_repair, plan_and_approve
from cdc_platform.repair.carry_out import carry_out
from cdc_platform.repair.draft import Ask
from cdc_platform.repair.record import Repair, RepairState


def ask_of(
    platform: Platform,
    source: str,
    table_id: str,
    *,
    by: str,
    window: str | None = None,
    run_id: str | None = None,
    full: bool = False,
    plan: Repair | None = None,
    upserts_only: bool = False,
    max_rows: int | None = None,
    max_share: float | None = None,
) -> Ask:
    """Return the repair that is asked for: of a window, of a recorded run, of the last full run (``full``).

    Without any, of the newest window; a ``plan`` keeps its scope and its kind. Bounds not given are those of
    cdc.yaml. Raises ConfigError for bounds that are none, for more than one scope and for another than a
    plan's, ReconciliationError for a run that is not recorded or of another table.
    """
    where = f"{source}.{table_id}"
    scopes = (window is not None) + (run_id is not None) + full
    if plan is not None and (scopes or (upserts_only and not plan.upserts_only)):
        mend = "give --plan alone, or plan anew without it"
        raise ConfigError(where, [("--plan", f"plan {plan.id} says already what it repairs", mend)])
    if scopes > 1:
        mend = "give --window, --run or --full"
        raise ConfigError(where, [("--window", "a run names what it compared", mend)])
    if plan is not None:
        window, run_id, upserts_only = plan.window, plan.run_id, plan.upserts_only
    else:
        window, run_id = _scope(platform, source, table_id, window, run_id, full=full)
    given = {"max_rows": max_rows, "max_share": max_share}
    limits = platform.config.repair.model_dump() | {n: v for n, v in given.items() if v is not None}
    try:
        bounds = RepairOptions.model_validate(limits)
    except ValueError as error:
        mend = "--max-rows is 1 or more, --max-share above 0 and at most 1"
        raise ConfigError(where, [("bounds", str(error).splitlines()[0], mend)]) from None
    return Ask(source, table_id, window, by, run_id, upserts_only, bounds)


def _scope(
    platform: Platform, source: str, table_id: str, window: str | None, run_id: str | None, *, full: bool
) -> tuple[str, str | None]:
    """Return the window, FULL for a whole table, and the run that led to the repair."""
    where = f"{source}.{table_id}"
    if run_id is not None:
        return _window_of(platform, source, table_id, run_id), run_id
    if full:
        proof = latest_full(platform.lake, source, table_id)
        if proof is None:
            mend = "compare it first: cdc reconcile --full"
            raise ReconciliationError("the whole table was not compared yet", where=where, mend=mend)
        return FULL, str(proof["run_id"])
    there = [window] if window is not None else platform.windows(source, table_id)
    if not there:
        raise ReconciliationError("no window has files yet", where=where, mend="take in: cdc apply")
    return there[-1], None


def repair_now(platform: Platform, ask: Ask, plan: Repair | None = None) -> Repair:
    """Carry a repair out: that of ``plan``, as far as it still holds or from where it stopped, or a new one.

    A repair without keys is returned as planned. Raises ReconciliationError when it is refused.
    """
    if plan is None:
        repair = plan_and_approve(platform, ask)
    elif plan.state is RepairState.PLANNED:
        repair = approve_repair(platform, plan, ask)
    else:
        repair = plan
    return carry_out(platform, repair)


def _window_of(platform: Platform, source: str, table_id: str, run_id: str) -> str:
    run, where = run_of(platform.lake, run_id), f"{source}.{table_id}"
    if run is None:
        mend = "take a run_id of cdc_reconciliation.runs, or give --window"
        raise ReconciliationError(f"no reconciliation {run_id!r} is recorded", where=where, mend=mend)
    if (run["source"], run["table_id"]) != (source, table_id):
        of = f"{run['source']}.{run['table_id']}"
        raise ReconciliationError(f"run {run_id} is of {of}", where=where, mend=f"cdc repair {of} --run …")
    if run["window"] == SETTLING:
        what = f"run {run_id} looked again at keys of several windows, and kept no list of them to repair"
        mend = "repair the row's window (--window), or compare the table whole and repair that (--full)"
        raise ReconciliationError(what, where=where, mend=mend)
    return str(run["window"])
