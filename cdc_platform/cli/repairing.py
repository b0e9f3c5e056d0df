"""``cdc repair``: rows of base that provably differ from the source, brought back by change events."""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.failures import exit_if_found
from cdc_platform.cli.numbers import finite
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    print_json,
    progress,
    stderr,
    stdout,
)
from cdc_platform.cli.repaired import print_list, print_outcome, print_plan, repair_json
from cdc_platform.cli.selection import one_table, open_platform
from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform
    from cdc_platform.repair.draft import Ask
    from cdc_platform.repair.record import Repair

TableArgument = Annotated[
    str | None, typer.Argument(help="The table: source.id, or its id.", metavar="SOURCE.TABLE")
]
WindowOption = Annotated[str | None, typer.Option("--window", "-w", help="The window; default the newest.")]
RunOption = Annotated[str | None, typer.Option("--run", help="What this reconciliation run compared.")]
FullOption = Annotated[bool, typer.Option("--full", help="What the last full run found different.")]
PlanOption = Annotated[str | None, typer.Option("--plan", help="A plan that --dry-run kept.", metavar="ID")]
UndoOption = Annotated[str | None, typer.Option("--undo", help="Take this repair back.", metavar="ID")]
ListOption = Annotated[bool, typer.Option("--list", help="Show plans and repairs, the newest last.")]
UpsertsOption = Annotated[bool, typer.Option("--upserts-only", help="Write rows, delete none.")]
RowsOption = Annotated[int | None, typer.Option("--max-rows", help="Refuse above so many rows.")]
ShareOption = Annotated[
    float | None,
    typer.Option("--max-share", callback=finite, help="Refuse above this share (0 to 1)."),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("repair", rich_help_panel="Main job")(repair)


def repair(
    table: TableArgument = None,
    window: WindowOption = None,
    run: RunOption = None,
    full: FullOption = False,
    plan: PlanOption = None,
    undo: UndoOption = None,
    listed: ListOption = False,
    upserts_only: UpsertsOption = False,
    max_rows: RowsOption = None,
    max_share: ShareOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Bring rows of base back to what the source holds, where a reconciliation proves them different.

    Every key changed in the window is compared anew; with --full, every key the last full run found
    different. Keys that are DIFFERENT for certain become change events with the source's row, at the place
    in the order of changes where that row was read: a change committed later always wins, one committed
    earlier never does. The ordinary merge applies them, and just these keys are compared with the source
    again. Keys in flight are left alone, and nothing is deleted that the comparison did not look at.

    Look first: [bold]--dry-run[/bold] keeps a plan under an id. [bold]--plan ID --yes[/bold] carries out just
    that plan, or refuses it when its rows changed since. Cut off, it goes on when run again.

    Exit code 0 when nothing differs or the repaired keys match; 1 when a dry run found something, or not
    every key matches; 3 when it was refused or failed.

    [bold]Examples[/bold]

      cdc repair retail.productorder --dry-run              what would be done in the newest window

      cdc repair retail.productorder -w 2026-01-31 --yes    plan, approve, merge and verify in one go

      cdc repair retail.productorder --full --dry-run       what the last full run found different

      cdc repair productorder --plan 20260131T120000123-4f2a1c --yes

      cdc repair productorder --undo 20260131T120000123-4f2a1c

      cdc repair --list
    """
    _check_options(table, window or run or full or None, plan, undo, listed, dry_run)
    platform = open_platform(config)
    if listed:
        _list(platform, table, as_json)
        return
    assert table is not None
    source, chosen = one_table(platform, table.replace(".", "/", 1))
    if undo is not None:
        _undo(platform, source, chosen.id, undo, yes, as_json)
        return
    which, bounds = (window, run, full, plan), (upserts_only, max_rows, max_share)
    kept, ask = _asked(platform, source, chosen.id, which, bounds)
    if dry_run or not (yes or kept):
        kept = _planned(platform, ask, as_json)
    if dry_run:
        _end_dry_run(kept, as_json)
        return
    if kept is not None and not yes:
        _end_if_idle(kept, as_json)
        _confirm(f"{source}.{chosen.id}", as_json)
    _carry_out(platform, ask, kept, as_json)


def _asked(
    platform: Platform,
    source: str,
    table_id: str,
    which: tuple[str | None, str | None, bool, str | None],
    bounds: tuple[bool, int | None, float | None],
) -> tuple[Repair | None, Ask]:
    """Return the plan that is named, and what is asked for; a plan keeps its window and its kind."""
    from cdc_platform.repair.asking import ask_of
    from cdc_platform.repair.record import read_repair

    (window, run, full, plan), (upserts_only, max_rows, max_share) = which, bounds
    where = f"{source}.{table_id}"
    kept = read_repair(platform.objects(source, table_id), plan, where) if plan else None
    ask = ask_of(
        platform,
        source,
        table_id,
        by=getpass.getuser(),
        window=window,
        run_id=run,
        full=full,
        plan=kept,
        upserts_only=upserts_only,
        max_rows=max_rows,
        max_share=max_share,
    )
    return kept, ask


def _check_options(
    table: str | None,
    scope: str | bool | None,
    plan: str | None,
    undo: str | None,
    listed: bool,
    dry_run: bool,
) -> None:
    given = [name for name, value in (("--plan", plan), ("--undo", undo), ("--list", listed)) if value]
    if len(given) > 1 or (given and (scope is not None or dry_run)):
        what = f"{' and '.join(given)} cannot be combined with others"
        raise ConfigError("cdc repair", [(given[0], what, "give one thing to do")])
    if table is None and not listed:
        mistake = ("SOURCE.TABLE", "it must be said which table", "cdc repair SOURCE.TABLE --dry-run")
        raise ConfigError("cdc repair", [mistake])


def _planned(platform: Platform, ask: Ask, as_json: bool) -> Repair:
    from cdc_platform.repair.approve import plan_repair

    with progress(f"comparing {ask.source}.{ask.table_id} {ask.window}", None):
        plan = plan_repair(platform, ask)
    if not as_json:
        print_plan(plan)
    return plan


def _end_dry_run(plan: Repair | None, as_json: bool) -> None:
    assert plan is not None
    if as_json:
        print_json(repair_json(plan))
    if plan.refusals:
        stderr().print("it would be refused", style="red")
        raise typer.Exit(ExitCode.FAILED)
    if plan.keys and not as_json:
        to = f"cdc repair {plan.source}.{plan.table_id} --plan {plan.id} --yes"
        stdout().print(f"to carry it out: {to}", highlight=False, markup=False)
    exit_if_found(bool(plan.keys))


def _end_if_idle(plan: Repair, as_json: bool) -> None:
    if plan.keys and not plan.refusals:
        return
    _end_dry_run(plan, as_json)
    raise typer.Exit


def _carry_out(platform: Platform, ask: Ask, plan: Repair | None, as_json: bool) -> None:
    from cdc_platform.repair.asking import repair_now

    with progress(f"repairing {ask.source}.{ask.table_id} {ask.window}", None):
        done = repair_now(platform, ask, plan)
    if as_json:
        print_json(repair_json(done))
    else:
        if plan is None:
            print_plan(done)
        print_outcome(done)
    if done.verified is not None:
        exit_if_found(done.verified.verdict != "MATCH", "not every key that was repaired matches")


def _undo(platform: Platform, source: str, table_id: str, repair_id: str, yes: bool, as_json: bool) -> None:
    from cdc_platform.repair.record import read_repair
    from cdc_platform.repair.undo import undo_repair

    where = f"{source}.{table_id}"
    kept = read_repair(platform.objects(source, table_id), repair_id, where)
    if not yes:
        _confirm(f"repair {repair_id} of {where} taken back", as_json)
    with progress(f"taking back {repair_id}", None):
        done = undo_repair(platform, kept, getpass.getuser())
    if as_json:
        print_json(repair_json(done))
    else:
        print_outcome(done)


def _list(platform: Platform, table: str | None, as_json: bool) -> None:
    from cdc_platform.repair.record import repairs_in

    chosen = [one_table(platform, table.replace(".", "/", 1))] if table else list(platform.tables())
    found = [one for source, its in chosen for one in repairs_in(platform.objects(source, its.id))]
    found.sort(key=lambda one: one.created_at)
    if as_json:
        print_json({"repairs": [repair_json(one) for one in found]})
    elif found:
        print_list(found)
    else:
        stdout().print("no repair was planned yet")


def _confirm(what: str, as_json: bool) -> None:
    if as_json or not sys.stdin.isatty():
        mistake = ("--yes", "nobody can be asked here", "look with --dry-run, then give --yes")
        raise ConfigError("cdc repair", [mistake])
    if not typer.confirm(f"{what}: go on?", err=True):
        stdout().print("nothing was changed")
        raise typer.Exit
