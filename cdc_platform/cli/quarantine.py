"""``cdc quarantine``: what was set aside and why, and how it gets in after all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    SourceOption,
    TableOption,
    print_json,
    print_table,
    stderr,
    stdout,
)
from cdc_platform.cli.selection import open_platform
from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from cdc_platform.lake.quarantine import QuarantineItem
    from cdc_platform.pipeline import Platform

IdArgument = Annotated[list[str], typer.Argument(help="Ids that `cdc quarantine list` shows.")]

group = typer.Typer(
    name="quarantine",
    help="Files and rows that could not be applied: list, release to try again, or discard.",
    no_args_is_help=True,
)


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    group.command("list")(show)
    group.command("release")(release)
    group.command("discard")(discard)
    app.add_typer(group, rich_help_panel="Main job")


def show(
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    table: TableOption = None,
    closed: Annotated[bool, typer.Option("--all", help="Discarded and replayed items too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List what waits in quarantine, with the reason and the mend. Exit code 1 when there is any.

    [bold]Example[/bold]

      cdc quarantine list -t productorder
    """
    found = [
        (name, table_id, item)
        for name, table_id, item in _items(open_platform(config), source, table)
        if closed or item.state.value in ("open", "released")
    ]
    if as_json:
        print_json([{"source": name, "table": table_id, "item": item} for name, table_id, item in found])
    elif not found:
        stdout().print("nothing is in quarantine")
    else:
        for name, table_id, item in found:
            print_item(f"{name}/{table_id}", item)
    if any(item.state.value == "open" for _, _, item in found):
        raise typer.Exit(ExitCode.FOUND)


def release(ids: IdArgument, config: ConfigOption = DEFAULT_CONFIG, dry_run: DryRunOption = False) -> None:
    """Let the next merge try the items again: do this once their cause is mended.

    [bold]Example[/bold]

      cdc quarantine release 3f2a9c  &&  cdc apply
    """
    _decide(open_platform(config), ids, "release", dry_run)


def discard(ids: IdArgument, config: ConfigOption = DEFAULT_CONFIG, dry_run: DryRunOption = False) -> None:
    """Give the items up for good: their changes never reach the base table.

    Reconciliation will tell when the base table lacks something because of it.

    [bold]Example[/bold]

      cdc quarantine discard 3f2a9c --dry-run
    """
    _decide(open_platform(config), ids, "discard", dry_run)


def print_item(table: str, item: QuarantineItem) -> None:
    """Print one item as a block a person can act on."""
    place = item.key if item.row is None else f"{item.key} row {item.row}"
    column = f" column {item.column}" if item.column else ""
    lines = [
        (f"{item.id[:12]}  {table}  {item.window}  {item.state.value}", "bold"),
        (f"  {item.kind}: {place}{column}", ""),
        (f"  why:  {item.reason}", "red"),
        (f"  mend: {item.mend}", "green"),
    ]
    for line, style in lines:
        stdout().print(line, style=style, highlight=False, markup=False)


def _decide(platform: Platform, ids: list[str], verb: str, dry_run: bool) -> None:
    from cdc_platform.lake import quarantine

    everything = list(_items(platform, None, None))
    chosen = [_matching(everything, wanted) for wanted in dict.fromkeys(ids)]
    decide = quarantine.release if verb == "release" else quarantine.discard
    done = {"release": "released", "discard": "discarded"}[verb]
    for _, _, item in chosen:
        if item.state.value == done:
            stderr().print(f"{item.id[:12]} was {done} before: it stays as it is", highlight=False)
    chosen = [entry for entry in chosen if entry[2].state.value != done]
    for source, table_id, item in chosen:
        if not dry_run:
            decide(platform.lake, source, table_id, item.id)
    rows = [(item.id[:12], f"{source}/{table_id}", item.key, item.row) for source, table_id, item in chosen]
    if rows:
        print_table(f"would {verb}" if dry_run else done, ["id", "table", "file", "row"], rows)


def _matching(
    everything: list[tuple[str, str, QuarantineItem]], wanted: str
) -> tuple[str, str, QuarantineItem]:
    """Return the one item whose id begins with ``wanted``; raise ConfigError when it is none or several."""
    # an empty one, most likely a variable of the shell that was not set, names none
    found = [entry for entry in everything if wanted.strip() and entry[2].id.startswith(wanted)]
    if len(found) != 1:
        how_many = "no item" if not found else f"{len(found)} items"
        what = f"{how_many} in quarantine begins with {wanted!r}"
        mend = "`cdc quarantine list` shows the ids" + ("; give more of its digits" if found else "")
        raise ConfigError("cdc", [("id", what, mend)])
    return found[0]


def _items(
    platform: Platform, source: str | None, table: list[str] | None
) -> list[tuple[str, str, QuarantineItem]]:
    from cdc_platform.lake.quarantine import list_items

    return [
        (name, one.id, item)
        for name, one in chosen_tables(platform, source, table)
        for item in list_items(platform.lake, name, one.id)
    ]
