"""``cdc apply``, ``cdc reconcile`` and ``cdc complete-load``: the main job without the UI."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.cli.exits import ExitCode
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
from cdc_platform.cli.selection import check_windows, chosen_tables, open_platform
from cdc_platform.errors import CdcError

if TYPE_CHECKING:
    from cdc_platform.lake.result import MergeResult
    from cdc_platform.pipeline import IntakeResult
    from cdc_platform.reconcile.verdict import Reconciliation


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    panel = "Main job"
    app.command("apply", rich_help_panel=panel)(apply)
    app.command("reconcile", rich_help_panel=panel)(reconcile)
    app.command("complete-load", rich_help_panel=panel)(complete_load)


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
    tables = chosen_tables(platform, source, table)
    intakes: dict[str, IntakeResult] = {}
    merges: list[MergeResult] = []
    failures: dict[str, CdcError] = {}
    with progress("merging", len(tables)) as bar:
        for name, one in tables:
            windows = check_windows(platform, name, window)
            where = f"{name}/{one.id}"
            bar.begin(f"merging {where}")
            try:
                intakes[where] = take_in(platform, name, [one.id], windows)
                merges.append(merge_table(platform, name, one.id, windows))
            except CdcError as error:
                failures[where] = error
            bar.done()
    if as_json:
        print_json({"intake": intakes, "merges": merges, "failures": _texts(failures)})
    else:
        _print_merges(intakes, merges)
    _exit_with_failures(failures)
    if any(merge.quarantined for merge in merges) or any(intake.refused for intake in intakes.values()):
        stderr().print("some input was quarantined: `cdc quarantine list` says what and why", style="yellow")
        raise typer.Exit(ExitCode.FOUND)


def reconcile(
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    table: TableOption = None,
    window: WindowOption = None,
    all_windows: Annotated[
        bool, typer.Option("--all", help="Every window that has files, not only the newest.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Compare raw files and the source database with base, window by window, and give a verdict.

    Exit code 0 only when every verdict is MATCH; 1 when one is not; 3 when a comparison failed.

    [bold]Examples[/bold]

      cdc reconcile                            the newest window of every table

      cdc reconcile -t productorder --all      every window of one table

      cdc reconcile -w 2026-01-31 --json       one day, for a script
    """
    from cdc_platform.pipeline import reconcile as reconcile_window

    platform = open_platform(config)
    chosen: list[tuple[str, str, str]] = []
    for name, one in chosen_tables(platform, source, table):
        windows = check_windows(platform, name, window) or list(platform.windows(name, one.id))
        if not all_windows and not window:
            windows = windows[-1:]
        chosen += [(name, one.id, key) for key in windows]
    results: list[Reconciliation] = []
    failures: dict[str, CdcError] = {}
    with progress("reconciling", len(chosen)) as bar:
        for name, table_id, key in chosen:
            bar.begin(f"reconciling {name}/{table_id} {key}")
            try:
                results.append(reconcile_window(platform, name, table_id, key))
            except CdcError as error:
                failures[f"{name}/{table_id} {key}"] = error
            bar.done()
    if as_json:
        print_json({"reconciliations": results, "failures": _texts(failures)})
    else:
        print_reconciliations(results)
    _exit_with_failures(failures)
    verdicts = {result.verdict.value for result in results}
    if "ERROR" in verdicts:
        raise typer.Exit(ExitCode.FAILED)
    if verdicts - {"MATCH"}:
        raise typer.Exit(ExitCode.FOUND)


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


def print_reconciliations(results: Sequence[Reconciliation]) -> None:
    """Print verdicts, and the reason of each that is not MATCH."""
    rows: list[tuple[Any, ...]] = []
    for result in results:
        for comparison in result.comparisons:
            tally = comparison.tally
            rows.append(
                (
                    f"{result.source}/{result.table_id}",
                    result.window,
                    comparison.name,
                    comparison.verdict,
                    tally.compared,
                    tally.different,
                    tally.in_flight,
                    tally.unverified,
                )
            )
    print_table("", ["table", "window", "claim", "verdict", "keys", "different", "in flight", "open"], rows)
    for result in results:
        for comparison in result.comparisons:
            if comparison.verdict.value != "MATCH":
                where = f"{result.source}/{result.table_id} {result.window}"
                stdout().print(f"{where} {comparison.name}: {comparison.reason}", highlight=False)
            for found in comparison.discrepancies[:5]:
                key = ", ".join(f"{name}={value}" for name, value in found.key.items())
                columns = f" in {', '.join(found.columns)}" if found.columns else ""
                text = f"  {found.kind.value} {key}{columns} {found.reason}".rstrip()
                stdout().print(text, highlight=False, markup=False)


def _print_merges(intakes: dict[str, IntakeResult], merges: Sequence[MergeResult]) -> None:
    rows = [
        (
            f"{merge.source}/{merge.table_id}",
            intakes[f"{merge.source}/{merge.table_id}"].files,
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
        for merge in merges
    ]
    columns = [
        "table",
        "new files",
        "merged",
        "events",
        "inserted",
        "updated",
        "deleted",
        "stale",
        "quarantined",
    ]
    print_table("", [*columns, "snapshot", "seconds"], rows)


def _texts(failures: dict[str, CdcError]) -> dict[str, str]:
    return {where: str(error) for where, error in failures.items()}


def _exit_with_failures(failures: dict[str, CdcError]) -> None:
    for where, error in failures.items():
        stderr().print(f"{where} failed: {error}", style="red", highlight=False, markup=False)
    if failures:
        raise typer.Exit(ExitCode.FAILED)
