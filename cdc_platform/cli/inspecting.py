"""``cdc inspect``: what a table is made of, and what gave one of its rows its value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.inspected import (
    history_json,
    lineage_json,
    print_history,
    print_lineage,
    print_summary,
    summary_json,
)
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    WindowOption,
    print_json,
    progress,
)
from cdc_platform.cli.selection import check_windows, one_table, open_platform
from cdc_platform.errors import ConfigError, MergeError

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform
    from cdc_platform.row_history import RowHistory

TableArgument = Annotated[str, typer.Argument(help="The table: its id, or source/id.", metavar="TABLE")]
KeyOption = Annotated[
    list[str] | None,
    typer.Option("--key", "-k", help="The row's merge key: VALUE, or COLUMN=VALUE for each column of it."),
]
PositionOption = Annotated[
    str | None,
    typer.Option(
        "--position", help="The row's stored position, GENERATION:SEQUENCE; for tables without key."
    ),
]
HistoryOption = Annotated[
    bool, typer.Option("--history", help="Every event of the row, read from the raw files now.")
]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("inspect", rich_help_panel="Main job")(inspect)


def inspect(
    table: TableArgument,
    key: KeyOption = None,
    position: PositionOption = None,
    history: HistoryOption = False,
    window: WindowOption = None,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Tell what gave a row its value: data file, snapshot, batch, raw file and row in it.

    The stored position of a row names its change event, and the event is looked up in the raw files. A row
    that is gone is explained by its tombstone: the delete that removed it. Without [bold]--key[/bold], the
    table itself is shown: its files, its snapshots and the batches that made them.

    [bold]--history[/bold] reads the accepted raw files ([bold]--window[/bold]: those of the window) and shows
    every event of the row with what became of it: current, applied, overtaken (a newer one came with it),
    stale (a newer one was there), superseded (by a full load), pending, quarantined, discarded.

    A key is written as [bold]cdc show[/bold] prints it on the screen; a binary one in hex, 00ffa7 or
    \\x00ffa7.

    Exit code 1 when there is no such row, and no trace of it.

    [bold]Examples[/bold]

      cdc inspect productorder                            the table

      cdc inspect productorder --key 4711                 a row, by a key of one column

      cdc inspect retail/stock -k store_id=3 -k sku=A-1   by a key of two

      cdc inspect productorder --key 4711 --history       everything that befell the row
    """
    from cdc_platform import row_history as rows
    from cdc_platform.lake.outages import outages

    platform = open_platform(config)
    source, chosen = one_table(platform, table)
    where = f"{source}/{chosen.id}"
    if not key and position is None:
        if history or window:
            option = "--history" if history else "--window"
            raise ConfigError(where, [(option, "it needs a row", "name the row by --key or --position")])
        with outages(where):
            shown = _summary(platform, source, chosen.id)
        print_json(shown) if as_json else print_summary(shown)
        return
    if key and position is not None:
        raise ConfigError(where, [("--key", "--position is given as well", "give one of the two")])
    told, windows = None, check_windows(platform, source, window)
    with outages(where):
        wanted = rows.what_is_wanted(platform, source, chosen.id, key or (), position)
        lineage = rows.row_lineage(platform, source, chosen.id, wanted)
        if history or windows:
            told = _history(platform, source, chosen.id, wanted, windows)
    if as_json:
        parts = {"table": where, **lineage_json(lineage)}
        print_json(parts if told is None else {**parts, "history": history_json(told)})
    else:
        print_lineage(where, lineage)
        if told is not None:
            print_history(told)
    if not (lineage.rows or lineage.tombstone or (told and (told.events or told.unreadable))):
        raise typer.Exit(ExitCode.FOUND)


def _history(
    platform: Platform, source: str, table_id: str, wanted: Any, windows: list[str] | None
) -> RowHistory:
    from cdc_platform.raw.files import AcceptedFile
    from cdc_platform.row_history import row_history

    with progress("reading raw files", None) as bar:

        def show(number: int, total: int, file: AcceptedFile) -> None:
            bar.begin(f"reading raw file {number} of {total}: {file.file.key}")

        return row_history(platform, source, table_id, wanted, windows, progress=show)


def _summary(platform: Platform, source: str, table_id: str) -> Mapping[str, Any]:
    from cdc_platform.lake.branch import holds_back, published_id
    from cdc_platform.lake.health import merge_history, table_health
    from cdc_platform.lake.lineage import snapshot_history

    table = platform.table(source, table_id)
    base = platform.lake.load(source, table_id)
    if base is None:
        where = f"{source}/{table_id}"
        raise MergeError("there is no base table yet", where=where, mend="merge its files first: cdc apply")
    told = summary_json(
        f"{source}/{table_id}",
        table,
        table_health(platform.lake, source, table),
        platform.applied(source, table_id),
        platform.accepted(source, table_id),
        snapshot_history(base),
        merge_history(platform.lake, source, table_id),
    )
    if not holds_back(base):
        return told
    published = published_id(base)
    return {**told, "published_snapshot_id": None if published is None else str(published)}
