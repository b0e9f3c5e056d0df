"""``cdc apply`` and ``cdc complete-load``: from raw files to base tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.cli.failures import exit_if_found, exit_with_failures, texts
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    SourceOption,
    TableOption,
    WindowOption,
    print_json,
    print_table,
    progress,
    stderr,
    stdout,
)
from cdc_platform.cli.selection import check_windows, open_platform
from cdc_platform.errors import CdcError
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.many_tables import Applied
    from cdc_platform.pipeline import Platform

WorkersOption = Annotated[
    int | None,
    typer.Option("--workers", min=1, help="Processes beside this one; default as many as are worth it."),
]

_COUNTS = ["new files", "merged", "events", "inserted", "updated", "deleted", "stale", "quarantined"]


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("apply", rich_help_panel="Main job")(apply)
    app.command("complete-load", rich_help_panel="Main job")(complete_load)


def apply(
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    table: TableOption = None,
    window: WindowOption = None,
    workers: WorkersOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take in what DMS left in the raw folder and merge it into the base tables.

    Repeating it changes nothing. A table that fails does not hold up the others. With much to do for many
    tables it goes on in several processes, which divide [bold]engine[/bold]'s memory and threads.

    Exit code 1 when files or rows were quarantined, or files that wait in quarantine were passed over; 3
    when a table could not be merged.

    [bold]Examples[/bold]

      cdc apply                                every active table

      cdc apply -t productorder --json         one table, for a script

      cdc apply -t retail/productorder         where other sources have a table of that id as well

      cdc apply --workers 4                    four processes beside this one, from the first table on
    """
    platform = open_platform(config)
    tables = chosen_tables(platform, source, table)
    windows = [check_windows(platform, name, window) for name in dict.fromkeys(name for name, _ in tables)]
    done, failures = _applied(platform, tables, windows[0] if windows else None, workers)
    if as_json:
        parts = {"intake": {where: one.intake for where, one in done.items()}}
        merges = [one.merge for one in done.values()]
        print_json({**parts, "merges": merges, "failures": texts(failures)})
    else:
        _print_merges(done.values())
    for remark in (remark for one in done.values() for remark in one.merge.warnings):
        stderr().print(remark, style="yellow", highlight=False, markup=False)
    exit_with_failures(failures)
    waiting = sum(one.merge.files_waiting for one in done.values())
    if waiting:
        remark = f"passed over what waits in quarantine: {counted(waiting, 'file')}"
        stderr().print(remark, style="yellow", highlight=False)
    is_found = waiting > 0 or any(one.intake.refused or one.merge.quarantined for one in done.values())
    exit_if_found(is_found, "some input is in quarantine: `cdc quarantine list` says what and why")


def complete_load(
    source: Annotated[str, typer.Argument(help="The source's name in cdc.yaml.")],
    table: Annotated[str, typer.Argument(help="The table's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Declare the newest full load of a table complete, when nothing else says so.

    A load is complete by itself once a change file follows it or, of a reload, DMS's statistics say so. The
    next [bold]cdc apply[/bold] then removes the rows the load does not contain.

    [bold]Example[/bold]

      cdc complete-load retail product
    """
    from cdc_platform.pipeline import complete_load as declare

    platform = open_platform(config)
    generation = declare(platform, source, table)
    stdout().print(f"the load of {source}/{table} (generation {generation}) is complete; now run: cdc apply")


def _applied(
    platform: Platform,
    tables: list[tuple[str, TableConfig]],
    windows: list[str] | None,
    workers: int | None,
) -> tuple[dict[str, Applied], dict[str, CdcError]]:
    """Apply the tables under a progress bar; return what was done and what failed, in the given order."""
    from cdc_platform.many_tables import apply_tables

    names = [(source, table.id) for source, table in tables]
    done: dict[str, Applied] = {}
    failures: dict[str, CdcError] = {}
    with progress("merging", len(names)) as bar:
        for (source, table_id), outcome in apply_tables(platform, names, windows, workers=workers):
            where = f"{source}/{table_id}"
            if isinstance(outcome, CdcError):
                failures[where] = outcome
            else:
                done[where] = outcome
            bar.ended(f"{'failed' if where in failures else 'merged'} {where}")
    order = [f"{source}/{table_id}" for source, table_id in names]
    return {one: done[one] for one in order if one in done}, {o: failures[o] for o in order if o in failures}


def _print_merges(done: Iterable[Applied]) -> None:
    rows = [
        (
            f"{merge.source}/{merge.table_id}",
            one.intake.files,
            len(merge.files_applied),
            merge.counts.events,
            merge.counts.rows_inserted,
            merge.counts.rows_updated,
            merge.counts.rows_deleted + merge.counts.rows_unloaded,
            merge.counts.stale + merge.counts.superseded,
            merge.files_quarantined + merge.counts.rows_quarantined,
            str(merge.snapshot_id) if merge.snapshot_id else None,
            f"{sum(merge.seconds.values()):.1f}",
        )
        for one in done
        for merge in [one.merge]
    ]
    print_table("", ["table", *_COUNTS, "snapshot", "seconds"], rows)
