"""``cdc reconcile``: is the copy right?"""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.failures import done_for_each, exit_if_found, exit_with_failures, texts
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    SourceOption,
    TableOption,
    WindowOption,
    print_json,
)
from cdc_platform.cli.publishing import print_publications, publication_json, publications
from cdc_platform.cli.reconciled import print_reconciliations
from cdc_platform.cli.reconciling_whole import (
    AgainstOption,
    AgesOption,
    CpuOption,
    FullOption,
    IncrementalOption,
    KeysOption,
    PositionOption,
    RateOption,
    ResumeOption,
    RowsOption,
    SecondsOption,
    VersionOption,
    WholeTable,
    print_ages,
)
from cdc_platform.cli.selection import check_windows, open_platform
from cdc_platform.cli.settling import (
    MaxAgeOption,
    MinAgeOption,
    SettleOption,
    Settling,
    print_settling,
    say_nothing_is_open,
)
from cdc_platform.reconcile.budget import Budget

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.errors import CdcError
    from cdc_platform.pipeline import Platform
    from cdc_platform.publication import Publication
    from cdc_platform.reconcile.verdict import Reconciliation

AllOption = Annotated[bool, typer.Option("--all", help="Every window that has files, not only the newest.")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("reconcile", rich_help_panel="Main job")(reconcile)


def reconcile(
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    table: TableOption = None,
    window: WindowOption = None,
    all_windows: AllOption = False,
    full: FullOption = False,
    incremental: IncrementalOption = False,
    against: AgainstOption = None,
    position: PositionOption = None,
    keys_and_versions: KeysOption = False,
    version_column: VersionOption = None,
    resume: ResumeOption = False,
    max_seconds: SecondsOption = None,
    max_rows: RowsOption = None,
    queries_per_second: RateOption = None,
    max_cpu_seconds: CpuOption = None,
    ages: AgesOption = False,
    settle: SettleOption = False,
    min_age: MinAgeOption = None,
    max_age: MaxAgeOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare raw files and the source database with base, window by window or whole, and give a verdict.

    Keys that earlier runs left in flight are looked at again by every run of windows, and tables with
    [bold]publish: on_match[/bold] are published as far as the verdicts allow.

    Exit code 0 only when every verdict is MATCH; 1 when one is not; 3 when a comparison failed.

    [bold]Examples[/bold]

      cdc reconcile                            the newest window of every table

      cdc reconcile -t productorder --all      every window of one table

      cdc reconcile -w 2026-01-31 --json       one day, for a script

      cdc reconcile -t productorder --full     every row of one table

      cdc reconcile --incremental              every row, but only what may have changed is compared again

      cdc reconcile --ages                     how long ago every row was compared

      cdc reconcile -t store --against exports/store     without touching the source

      cdc reconcile --settle                   what earlier runs left in flight
    """
    platform = open_platform(config)
    tables = chosen_tables(platform, source, table)
    budget = Budget(max_seconds, max_rows, queries_per_second, max_cpu_seconds)
    kinds = (keys_and_versions, version_column, incremental)
    whole = WholeTable(full, against, position, resume, budget, *kinds)
    whole.check(window, all_windows, len(tables))
    if ages:
        whole.check_ages(bool(window or all_windows or settle))
        exit_if_found(not print_ages(platform, tables, as_json))
        return
    settling = Settling(settle, min_age, max_age)
    settling.check(windows=bool(window or all_windows), whole=whole.is_wanted)
    windows = partial(_windows, platform, wanted=window, all_windows=all_windows)
    chosen = _chosen(platform, tables, whole, settling, windows)
    results, failures = _done(platform, chosen, whole, settling)
    published, unmoved = _published(platform, tables, chosen)
    _end(results, published, {**failures, **unmoved}, as_json)


def _chosen(
    platform: Platform,
    tables: list[tuple[str, TableConfig]],
    whole: WholeTable,
    settling: Settling,
    windows: Callable[[str, TableConfig], list[str]],
) -> list[tuple[str, str, str]]:
    """Return what is compared: (source, table id, window or what stands in its place)."""
    if settling.is_wanted:
        return settling.chosen(platform, tables)
    chosen = [(name, one.id, key) for name, one in tables for key in whole.windows or windows(name, one)]
    # a key left open before is decided first, so that its run says nothing of what this one finds
    return chosen if whole.is_wanted else [*settling.chosen(platform, tables), *chosen]


def _done(
    platform: Platform, chosen: list[tuple[str, str, str]], whole: WholeTable, settling: Settling
) -> tuple[list[Reconciliation], dict[str, CdcError]]:
    others = whole.runner(platform) or partial(_compared, platform)
    run = partial(_foreseen, settling.runner(platform, others))
    runs, failures = done_for_each(chosen, "reconciling", lambda one: f"{one[0]}/{one[1]} {one[2]}", run)
    results = [one for one in runs.values() if one is not None]
    if settling.is_wanted and not results and not failures:
        say_nothing_is_open()
    return results, failures


def _compared(platform: Platform, one: tuple[str, str, str]) -> Reconciliation:
    from cdc_platform.pipeline import reconcile as reconcile_window
    from cdc_platform.reconcile.full import reconcile_full
    from cdc_platform.reconcile.scopes import FULL

    source, table_id, window = one
    return reconcile_full(platform, source, table_id) if window == FULL else reconcile_window(platform, *one)


def _foreseen(
    run: Callable[[tuple[str, str, str]], Reconciliation | None], one: tuple[str, str, str]
) -> Reconciliation | None:
    """Run one comparison; what nobody foresaw is its failure, and others are done after it."""
    from cdc_platform.errors import CdcError, ReconciliationError
    from cdc_platform.reconcile.guarded import unexpected

    try:
        return run(one)
    except (CdcError, ModuleNotFoundError):
        raise
    except Exception as error:
        raise ReconciliationError(unexpected(error).reason) from error


def _published(
    platform: Platform, tables: list[tuple[str, TableConfig]], chosen: list[tuple[str, str, str]]
) -> tuple[list[Publication], dict[str, CdcError]]:
    """Move main of those of the compared tables that wait for the verdicts."""
    from cdc_platform.config.model import Publish

    done = {(name, table_id) for name, table_id, _ in chosen}
    compared = [one for one in tables if (one[0], one[1].id) in done]
    waiting = [one for one in compared if one[1].publish is Publish.ON_MATCH]
    return publications(platform, waiting) if waiting else ([], {})


def _end(
    results: Collection[Reconciliation],
    published: Collection[Publication],
    failures: dict[str, CdcError],
    as_json: bool,
) -> None:
    if as_json:
        told = {"publications": [publication_json(one) for one in published]} if published else {}
        print_json({"reconciliations": list(results), **told, "failures": texts(failures)})
    else:
        print_reconciliations(results)
        print_settling(results)
        print_publications(published)
    exit_with_failures(failures)
    _exit_by({result.verdict.value for result in results})


def _exit_by(verdicts: set[str]) -> None:
    """Exit as the verdicts say; a comparison that failed could not be done."""
    if "ERROR" in verdicts:
        raise typer.Exit(ExitCode.FAILED)
    exit_if_found(bool(verdicts - {"MATCH"}))


def _windows(
    platform: Platform, source: str, table: TableConfig, wanted: list[str] | None, all_windows: bool
) -> list[str]:
    """Return the windows asked for: those named, all that have files, or the newest.

    A table without any file has no window, and is held against the source as a whole: that there is nothing
    to compare may be what is wrong.
    """
    from cdc_platform.reconcile.scopes import FULL

    named = check_windows(platform, source, wanted)
    if named:
        return named
    there = list(platform.windows(source, table.id))
    return (there if all_windows else there[-1:]) or [FULL]
