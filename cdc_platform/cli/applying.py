"""``cdc apply`` and ``cdc complete-load``: from raw files to base tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.failures import done_for_each, exit_if_found, exit_with_failures, texts
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    SourceOption,
    TableOption,
    WindowOption,
    print_json,
    print_table,
    stdout,
)
from cdc_platform.cli.selection import check_windows, chosen_tables, open_platform

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.lake.result import MergeResult
    from cdc_platform.pipeline import IntakeResult

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
    as_json: JsonOption = False,
) -> None:
    """Take in what DMS left in the raw folder and merge it into the base tables.

    Repeating it changes nothing. A table that fails does not hold up the others.

    Exit code 1 when files or rows were quarantined, 3 when a table could not be merged.

    [bold]Examples[/bold]

      cdc apply                                every active table

      cdc apply -t productorder --json         one table, for a script
    """
    from cdc_platform.pipeline import merge_table, take_in

    platform = open_platform(config)

    def bring(chosen: tuple[str, TableConfig]) -> tuple[IntakeResult, MergeResult]:
        name, one = chosen
        windows = check_windows(platform, name, window)
        return take_in(platform, name, [one.id], windows), merge_table(platform, name, one.id, windows)

    tables = chosen_tables(platform, source, table)
    done, failures = done_for_each(tables, "merging", lambda one: f"{one[0]}/{one[1].id}", bring)
    if as_json:
        parts = {"intake": {where: intake for where, (intake, _) in done.items()}}
        merges = [merge for _, merge in done.values()]
        print_json({**parts, "merges": merges, "failures": texts(failures)})
    else:
        _print_merges(done.values())
    exit_with_failures(failures)
    is_found = any(intake.refused or merge.quarantined for intake, merge in done.values())
    exit_if_found(is_found, "some input was quarantined: `cdc quarantine list` says what and why")


def complete_load(
    source: Annotated[str, typer.Argument(help="The source's name in cdc.yaml.")],
    table: Annotated[str, typer.Argument(help="The table's id.")],
    config: ConfigOption = DEFAULT_CONFIG,
) -> None:
    """Declare the newest full load of a table complete, when nothing else says so.

    A load is complete by itself once a change file follows it or DMS's statistics say so. The next
    [bold]cdc apply[/bold] then removes the rows the load does not contain.

    [bold]Example[/bold]

      cdc complete-load retail product
    """
    from cdc_platform.pipeline import complete_load as declare

    platform = open_platform(config)
    generation = declare(platform, source, table)
    stdout().print(f"the load of {source}/{table} (generation {generation}) is complete; now run: cdc apply")


def _print_merges(done: Iterable[tuple[IntakeResult, MergeResult]]) -> None:
    rows = [
        (
            f"{merge.source}/{merge.table_id}",
            intake.files,
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
        for intake, merge in done
    ]
    print_table("", ["table", *_COUNTS, "snapshot", "seconds"], rows)
