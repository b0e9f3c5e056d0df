"""``cdc rollback``: a base table set back to where it was, to be merged again from there."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    plain,
    print_json,
    print_table,
    stdout,
)
from cdc_platform.cli.selection import moment, one_table, open_platform
from cdc_platform.errors import ConfigError, MergeError
from cdc_platform.words import counted

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from cdc_platform.lake.lineage import SnapshotInfo
    from cdc_platform.lake.rollback import RollbackPlan, UndoneSnapshot
    from cdc_platform.lost_files import LostFile

TableArgument = Annotated[str, typer.Argument(help="The table: its id, or source/id.", metavar="TABLE")]
SnapshotOption = Annotated[
    int | None, typer.Option("--to-snapshot", help="The snapshot to go back to.", metavar="ID")
]
BatchOption = Annotated[
    str | None,
    typer.Option("--to-batch", help="As this batch left the table; may be shortened.", metavar="ID"),
]
BeforeOption = Annotated[
    str | None,
    typer.Option("--before", help="As it was at this time, e.g. 2026-01-31T13:00 (UTC).", metavar="TIME"),
]
MissingOption = Annotated[
    bool,
    typer.Option(
        "--allow-missing", help="Go back although files cannot be merged again, and lose what they changed."
    ),
]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("rollback", rich_help_panel="Main job")(rollback)


def rollback(
    table: TableArgument,
    to_snapshot: SnapshotOption = None,
    to_batch: BatchOption = None,
    before: BeforeOption = None,
    allow_missing: MissingOption = False,
    yes: YesOption = False,
    dry_run: DryRunOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Set a base table back to a snapshot of its history, with the record of applied files.

    What would be undone is shown first. The files applied since then count as not applied: the next
    [bold]cdc apply[/bold] merges them again, and gives the same table as before. So first mend what was
    wrong with them: correct cdc.yaml, discard rows in quarantine, or have DMS write the files again.

    Refused (exit code 3) where such a file is gone from raw or blocked by the quarantine, unless it may be
    missing. By its id a snapshot that was rolled back is gone forward to again, while it is kept.

    Safe beside a running merge: whoever commits second plans again, or is told. Columns added since stay.

    [bold]Examples[/bold]

      cdc rollback productorder --before 2026-01-31T13:00 --dry-run

      cdc rollback retail/productorder --to-batch 91e06f42

      cdc rollback productorder --to-snapshot 5480842166321141750 --yes && cdc apply -t productorder
    """
    from cdc_platform.lake.rollback import commit_rollback, plan_rollback
    from cdc_platform.lost_files import check_nothing_is_lost, lost_files

    platform = open_platform(config)
    source, chosen = one_table(platform, table)
    where = f"{source}/{chosen.id}"
    base = platform.lake.load(source, chosen.id)
    if base is None:
        raise MergeError("there is no base table yet", where=where, mend="there is nothing to roll back")
    target = _target(where, base, to_snapshot, to_batch, before)
    plan = plan_rollback(platform.lake, source, chosen.id, target, base)
    lost = lost_files(platform, plan)
    if not as_json:
        _print_plan(where, plan, lost)
    is_refused = bool(lost) and not allow_missing
    is_wanted = not (plan.is_empty or dry_run or is_refused) and _is_confirmed(where, yes, as_json)
    if is_wanted:
        commit_rollback(plan)
    if as_json:
        print_json(_plan_json(where, plan, lost, is_wanted))
    elif is_wanted:
        _print_done(where, plan)
    elif not plan.is_empty:
        stdout().print("nothing was changed")
    if is_refused:
        check_nothing_is_lost(where, lost)


def _target(
    where: str, base: Table, snapshot_id: int | None, batch_id: str | None, before: str | None
) -> SnapshotInfo:
    from cdc_platform.lake.rollback import find_snapshot

    if sum(option is not None for option in (snapshot_id, batch_id, before)) != 1:
        what = "it must be said where to, once"
        raise ConfigError(where, [("rollback", what, "give one of --to-snapshot, --to-batch, --before")])
    if batch_id is not None and not batch_id.strip():
        # most likely a variable of the shell that was not set
        raise ConfigError(where, [("--to-batch", "it is empty", "give the id of a batch, or its beginning")])
    return find_snapshot(
        base,
        snapshot_id=snapshot_id,
        batch_id=batch_id,
        before=moment(where, "--before", before) if before is not None else None,
    )


def _is_confirmed(where: str, yes: bool, as_json: bool) -> bool:
    if yes:
        return True
    if as_json or not sys.stdin.isatty():
        mistake = ("--yes", "nobody can be asked here", "look with --dry-run, then give --yes")
        raise ConfigError(where, [mistake])
    return typer.confirm(f"set {where} back?", err=True)


def _print_done(where: str, plan: RollbackPlan) -> None:
    again = f"to merge again: cdc apply -t {where}"
    stdout().print(f"{where} is at snapshot {plan.target.snapshot_id}; {again}", highlight=False)
    for one in plan.undone[:1]:
        back = f"cdc rollback {where} --to-snapshot {one.snapshot.snapshot_id}"
        stdout().print(f"to come back while it is kept: {back}", highlight=False)


def _print_plan(where: str, plan: RollbackPlan, lost: Sequence[LostFile]) -> None:
    target = plan.target
    stdout().print(f"{where} to snapshot {target.snapshot_id} of {target.committed_at}", highlight=False)
    if plan.is_empty:
        stdout().print("it is there already: nothing to undo")
        return
    for heading, snapshots in (("in force again", plan.brought_back), ("undone", plan.undone)):
        if snapshots:
            _print_snapshots(heading, snapshots)
    files = sum(one.files for one in plan.undone)
    if plan.undone:
        stdout().print(
            f"{counted(files, 'file')} of {counted(len(plan.windows), 'window')} will count as not applied",
            highlight=False,
        )
    if plan.replays:
        stdout().print(f"{len(plan.replays)} quarantine items will be released again", highlight=False)
    for one in lost:
        remark = f"cannot be merged again: {one.key}: {one.why}"
        stdout().print(remark, style="yellow", highlight=False, markup=False)


def _print_snapshots(heading: str, snapshots: Sequence[UndoneSnapshot]) -> None:
    rows = [
        [
            str(one.snapshot.snapshot_id),
            plain(one.snapshot.committed_at),
            one.snapshot.batch_id or "maintenance or another writer",
            ", ".join(one.windows),
            one.files,
            *(one.counts.get(name) for name in ("rows_inserted", "rows_updated", "rows_deleted")),
        ]
        for one in snapshots
    ]
    columns = [heading, "committed", "batch", "windows", "files", "inserted", "updated", "deleted"]
    print_table("", columns, rows)


def _plan_json(where: str, plan: RollbackPlan, lost: Sequence[LostFile], is_done: bool) -> dict[str, Any]:
    return {
        "table": where,
        "done": is_done,
        "target": {**plain(plan.target), "snapshot_id": str(plan.target.snapshot_id)},
        "undone": [_snapshot_json(one) for one in plan.undone],
        "in_force_again": [_snapshot_json(one) for one in plan.brought_back],
        "windows": list(plan.windows),
        "released_again": list(plan.replays),
        "cannot_be_merged_again": plain(lost),
    }


def _snapshot_json(one: UndoneSnapshot) -> dict[str, Any]:
    return {**plain(one), "snapshot": {**plain(one.snapshot), "snapshot_id": str(one.snapshot.snapshot_id)}}
