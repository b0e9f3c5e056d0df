"""``cdc maintain``: compaction, snapshot expiry and orphan clean-up of base tables."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.cli.failures import exit_if_found, exit_with_failures, texts
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    SourceOption,
    plain,
    print_json,
    print_table,
    progress,
    stdout,
)
from cdc_platform.cli.selection import one_table, open_platform
from cdc_platform.errors import CdcError
from cdc_platform.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cdc_platform.config.model import TableConfig
    from cdc_platform.lake.maintenance import MaintenanceResult, Step
    from cdc_platform.pipeline import Platform

    Maintain = Callable[..., MaintenanceResult | None]

_COLUMNS = [
    *("table", "data files", "delete files", "deleted rows", "MB", "groups", "rows proven"),
    *("snapshots expired", "kept", "files removed", "orphans", "seconds"),
]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("maintain", rich_help_panel="Main job")(maintain)


def maintain(
    tables: Annotated[
        list[str] | None, typer.Argument(metavar="[TABLE]...", help="id or source/id; default: all there is.")
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    compact: Annotated[
        bool, typer.Option("--compact", help="Rewrite small files and files with many deleted rows.")
    ] = False,
    expire: Annotated[
        bool, typer.Option("--expire", help="Expire old snapshots and remove the files only they named.")
    ] = False,
    orphans: Annotated[bool, typer.Option("--orphans", help="Remove old files no snapshot names.")] = False,
    dry_run: DryRunOption = False,
    force: Annotated[
        bool, typer.Option("--force", help="Allow an orphan age below one hour. Only while nothing writes.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Keep base tables quick: compact files, expire snapshots, remove orphans. All three by default.

    What is due is decided by [bold]maintenance[/bold] in cdc.yaml. It may run beside merges; each rewrite
    proves by count and hash sum that no row changed before it is committed.

    Exit code 1 when another writer kept a group of files from being rewritten, 3 when a table failed.

    [bold]Examples[/bold]

      cdc maintain --dry-run                   what would be done

      cdc maintain productorder --compact      one table's files only

      cdc maintain -s retail --expire --json   all tables of a source, for a script
    """
    from cdc_platform.lake.maintenance import Step

    platform = open_platform(config)
    named = {(its, table.id): (its, table) for its, table in map(partial(one_table, platform), tables or ())}
    chosen = list(named.values()) or chosen_tables(platform, source, None)
    asked = {Step.COMPACT: compact, Step.EXPIRE: expire, Step.ORPHANS: orphans}
    steps = [step for step in Step if asked[step] or not any(asked.values())]
    work = _work(platform, chosen, with_results=not named and source is None)
    done, failures = _maintained(work, steps, dry_run=dry_run, force=force)
    if as_json:
        print_json({"dry_run": dry_run, "tables": [_json(one) for one in done], "failures": texts(failures)})
    elif done:
        print_table("would be done" if dry_run else "", _COLUMNS, [_row(one) for one in done])
    elif not failures:
        stdout().print("no base table yet: nothing to maintain before the first `cdc apply`")
    exit_with_failures(failures)
    skipped = [reason for one in done for reason in one.skipped]
    exit_if_found(
        bool(skipped), f"{counted(len(skipped), 'group')} left to the next run: {next(iter(skipped), '')}"
    )


def _work(
    platform: Platform, tables: list[tuple[str, TableConfig]], *, with_results: bool
) -> dict[str, Maintain]:
    """Return what maintains each table, by its name; ``with_results``: those of reconciliations as well."""
    from cdc_platform.lake.maintenance import maintain as run
    from cdc_platform.reconcile.result_upkeep import NAMESPACE, RESULT_TABLES, maintain_results

    lake = platform.lake
    work: dict[str, Maintain] = {
        f"{source}/{table.id}": partial(run, lake, source, table) for source, table in tables
    }
    if with_results:
        work |= {f"{NAMESPACE}/{name}": partial(maintain_results, lake, name) for name in RESULT_TABLES}
    return work


def _maintained(
    work: Mapping[str, Maintain], steps: list[Step], *, dry_run: bool, force: bool
) -> tuple[list[MaintenanceResult], dict[str, CdcError]]:
    """Maintain each table under a progress bar; a table that fails does not hold up the others."""
    done, failures = [], {}
    with progress("maintaining", len(work)) as bar:
        for where, maintain_it in work.items():
            bar.begin(where)
            try:
                result = maintain_it(steps, dry_run=dry_run, force=force, note=bar.begin)
            except CdcError as error:
                failures[where] = error
            else:
                done += [result] if result is not None else []
            bar.done()
    return done, failures


def _json(result: MaintenanceResult) -> dict[str, Any]:
    """Return a result with its snapshot ids as text: JSON's numbers do not hold them everywhere."""
    found: dict[str, Any] = plain(result)
    for part in (found["before"], found["after"], *(found["groups"] or ())):
        if part and part["snapshot_id"] is not None:
            part["snapshot_id"] = str(part["snapshot_id"])
    return found


def _row(result: MaintenanceResult) -> tuple[object, ...]:
    before, after = result.before, result.after
    assert before is not None
    assert after is not None
    groups, expiry, orphans = result.groups, result.expiry, result.orphans
    files = (expiry.files + expiry.objects) if expiry else None
    return (
        f"{result.source}/{result.table_id}",
        _change(before.data_files, after.data_files),
        _change(before.delete_files, after.delete_files),
        _change(before.deleted_positions, after.deleted_positions),
        _change(round(before.bytes / 1e6, 1), round(after.bytes / 1e6, 1)),
        len(groups) if groups is not None else None,
        sum(group.rows for group in groups) if groups and not result.dry_run else None,
        expiry.snapshots if expiry else None,
        expiry.kept if expiry else None,
        files,
        orphans.files if orphans else None,
        f"{result.seconds:.1f}",
    )


def _change(before: float, after: float) -> str:
    return f"{before:,}" if before == after else f"{before:,} → {after:,}"
