"""``cdc report``: how far every table is proven, as pages for people and figures for machines."""

from __future__ import annotations

import webbrowser
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.numbers import finite
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    SourceOption,
    print_json,
    print_table,
    progress,
    stdout,
)
from cdc_platform.cli.selection import one_table, open_platform
from cdc_platform.errors import ConfigError
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.fleet.pages import Fleet
    from cdc_platform.pipeline import Platform

TablesArgument = Annotated[
    list[str] | None, typer.Argument(help="Only these tables: id, or source/id.", metavar="[TABLE]...")
]
OutOption = Annotated[
    Path,
    typer.Option("--out", "-o", help="Folder for the pages; a name that ends in .html: one file, the fleet."),
]
DaysOption = Annotated[
    float,
    typer.Option("--days", min=0.01, max=36_500, callback=finite, help="How far back runs are told of."),
]
OpenOption = Annotated[bool, typer.Option("--open", help="Show it in the browser.")]

_FOLDER = Path("cdc-report")
_COLUMNS = ["table", "windows", "match", "whole table", "rows proven", "oldest proof", "differ", "in flight"]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("report", rich_help_panel="Main job")(report)


def report(
    tables: TablesArgument = None,
    out: OutOption = _FOLDER,
    source: SourceOption = None,
    days: DaysOption = 90.0,
    show: OpenOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Write how far every table is proven: a page of all tables, a page for each, reports to drill into.

    It compares nothing and reads no row of base or source: the figures are those of the verdicts recorded by
    [bold]cdc reconcile[/bold] and Dagster. The pages need no server and nothing from outside, and may be
    moved or sent as a folder. [bold]--json[/bold] prints the figures and writes nothing.

    Exit code 3 when a table could not be told of; its row says why. Verdicts do not change the exit code.

    [bold]Examples[/bold]

      cdc report                               every table, into ./cdc-report

      cdc report --open                        and show it

      cdc report --out fleet.html              the page of all tables alone, as one file

      cdc report retail/productorder -o /tmp/r one table

      cdc report --json                        the figures, for a script
    """
    platform = open_platform(config)
    chosen = _chosen(platform, source, tables)
    if as_json:
        from cdc_platform.fleet.writing import fleet_of

        fleet = fleet_of(platform, chosen)
        print_json({"made_at": fleet.made_at, "tables": [one.as_json() for one in fleet.tables]})
    else:
        fleet, page = _written(platform, chosen, out, days)
        _print(fleet)
        stdout().print(str(page), highlight=False, markup=False, soft_wrap=True)
        if show:
            webbrowser.open(page.absolute().as_uri())
    if any(one.error for one in fleet.tables):
        raise typer.Exit(ExitCode.FAILED)


def _chosen(
    platform: Platform, source: str | None, names: Sequence[str] | None
) -> list[tuple[str, TableConfig]]:
    active = chosen_tables(platform, source, None)
    if not names:
        return active
    wanted = {(found, table.id) for found, table in (one_table(platform, name) for name in names)}
    return [(name, table) for name, table in active if (name, table.id) in wanted]


def _written(
    platform: Platform, chosen: list[tuple[str, TableConfig]], out: Path, days: float
) -> tuple[Fleet, Path]:
    from cdc_platform.fleet.pages import HOME, render_fleet
    from cdc_platform.fleet.writing import fleet_of, write_reports

    with progress("gathering", len(chosen)) as bar:
        if out.suffix == ".html":
            fleet = fleet_of(platform, chosen, bar.ended)
            _put(out, render_fleet(fleet, linked=False).encode())
            return fleet, out
        done = write_reports(
            platform, chosen, lambda path, data: _put(out / path, data), days=days, tell=bar.ended
        )
    return done.fleet, out / HOME


def _put(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    except OSError as error:
        mend = "give a folder this user may write to"
        raise ConfigError("cdc", [("--out", f"{path} cannot be written: {error.strerror}", mend)]) from error


def _print(fleet: Fleet) -> None:
    from cdc_platform.fleet.words import ago, percent

    has_exports = any(one.export for one in fleet.tables)
    rows = [
        (
            one.where,
            one.window_verdict or ("UNREADABLE" if one.error else None),
            f"{one.windows_matched:,} of {one.windows_total:,}",
            one.whole_verdict,
            percent(one.rows_proven),
            ago(one.oldest_proof, fleet.made_at),
            one.different,
            one.in_flight,
            *([one.export.verdict if one.export else None] if has_exports else []),
        )
        for one in fleet.tables
    ]
    title = ", ".join(f"{number:,} {verdict}" for verdict, number in fleet.verdicts.items())
    columns = [*_COLUMNS, "an export"] if has_exports else _COLUMNS
    print_table(f"{counted(len(rows), 'table')}: {title}" if rows else "", columns, rows)
