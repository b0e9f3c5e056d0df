"""``cdc show``: the rows of a base table, as it is or as it was."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    print_json,
    print_table,
    stderr,
)
from cdc_platform.cli.row_formats import RowFormat, cells, write_file, write_rows
from cdc_platform.cli.selection import moment, one_table, open_platform
from cdc_platform.errors import ConfigError, MergeError

if TYPE_CHECKING:
    from pyiceberg.table import Table

    from cdc_platform.lake.shown import ShownRows

#: Rows shown where no limit is given.
_FEW = 20
#: The most rows of a table for people, which is laid out whole.
_MOST_LAID_OUT = 10_000

TableArgument = Annotated[str, typer.Argument(help="The table: its id, or source/id.", metavar="TABLE")]
ColumnsOption = Annotated[
    list[str] | None,
    typer.Option("--columns", help="Only these columns, e.g. id,status; may be given several times."),
]
WhereOption = Annotated[
    str | None,
    typer.Option("--where", help="Only rows of this SQL condition.", metavar="CONDITION"),
]
LimitOption = Annotated[
    int | None,
    typer.Option("--limit", "-n", min=0, help=f"At most so many rows, 0 for all; {_FEW} on the screen."),
]
AtOption = Annotated[
    str | None,
    typer.Option(
        "--at", help="As of this snapshot, or time, e.g. 2026-01-31T13:00 (UTC).", metavar="ID|TIME"
    ),
]
FormatOption = Annotated[RowFormat | None, typer.Option("--format", "-f", help="How to print the rows.")]
OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", help="Write all rows into this .parquet, .csv, .json or .jsonl file."),
]
CountOption = Annotated[bool, typer.Option("--count", help="Only say how many rows there are.")]
PendingOption = Annotated[
    bool, typer.Option("--pending", help="As merges left it, where main still waits for verdicts.")
]
DeletedOption = Annotated[bool, typer.Option("--deleted", help="With the rows soft deletes kept.")]
ControlOption = Annotated[bool, typer.Option("--control", help="With the control columns, _cdc_….")]


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("show", rich_help_panel="Main job")(show)


def show(
    table: TableArgument,
    columns: ColumnsOption = None,
    where: WhereOption = None,
    limit: LimitOption = None,
    at: AtOption = None,
    form: FormatOption = None,
    output: OutputOption = None,
    count: CountOption = False,
    deleted: DeletedOption = False,
    pending: PendingOption = False,
    control: ControlOption = False,
    config: ConfigOption = DEFAULT_CONFIG,
    as_json: JsonOption = False,
) -> None:
    """Show rows of a base table: some of them, counted, as of any snapshot, or all into a file.

    Rows come in no particular order. [bold]--where[/bold] takes one SQL condition over the table's columns,
    as DuckDB writes it, without a query in it. A table is read only as far as is needed: the first rows cost
    a row group, and counting all reads no data file. Rows that [bold]delete_mode: soft[/bold] kept are left
    out; [bold]--deleted[/bold] shows them too, with _cdc_op = 'D'. The control columns say which event gave a
    row its value; [bold]cdc inspect[/bold] follows it to the raw file.

    [bold]Examples[/bold]

      cdc show productorder

      cdc show productorder --columns order_id,status --where "status = 'paid' AND quantity > 3"

      cdc show productorder --count --at 2026-01-31T13:00

      cdc show retail/productorder --limit 0 --format csv > productorder.csv

      cdc show productorder --output productorder.parquet
    """
    from cdc_platform.lake.outages import outages
    from cdc_platform.lake.shown import Asked, FirstRows, shown_rows

    platform = open_platform(config)
    source, chosen = one_table(platform, table)
    name = f"{source}/{chosen.id}"
    # a count needs no screen
    form = _format(form, output, as_json, None if count else limit)
    wanted = tuple(one.strip() for given in columns or () for one in given.split(",") if one.strip())
    with outages(name):
        load = platform.lake.load if pending else platform.lake.load_published
        base = load(source, chosen.id)
        if base is None:
            mend = "merge its files first: cdc apply"
            raise MergeError("there is no base table yet", where=name, mend=mend)
        asked = Asked(wanted, where, control, deleted)
        rows = shown_rows(platform.lake, base, chosen, asked, _snapshot(name, base, at))
        if count:
            number = rows.count()
            print_json({"table": name, "rows": number}) if as_json else print(number)
        elif output is not None:
            written = write_file(form, rows.schema, FirstRows(rows, limit or None), output)
            stderr().print(f"{written:,} rows of {name} in {output}", highlight=False, markup=False)
        else:
            _print(form, rows, _FEW if limit is None else limit)


def _print(form: RowFormat, rows: ShownRows, limit: int) -> None:
    """Print at most ``limit`` rows, all for 0, and say on stderr what is left out."""
    from cdc_platform.lake.shown import FirstRows

    first = FirstRows(rows, limit or None)
    if form is RowFormat.TABLE:
        print_table("", rows.columns, cells(first))
    else:
        write_rows(form, rows.schema, first, sys.stdout.buffer)
        sys.stdout.buffer.flush()
    if not first.has_more:
        return
    told = f"{limit:,} rows, and there are more, which --count counts"
    if rows.is_counted_cheaply:
        total = rows.count()
        told = f"{limit:,} of {total:,} rows, {total - limit:,} more"
    stderr().print(f"{told}; for all: --output FILE, or --limit 0 -f csv", style="dim", highlight=False)


def _format(form: RowFormat | None, output: Path | None, as_json: bool, limit: int | None) -> RowFormat:
    """Return the format the options come to. Raises ConfigError for those that do not go together."""
    chosen = RowFormat.JSON if as_json and form is None else form
    if output is not None:
        files = ", ".join(f".{one}" for one in RowFormat if one is not RowFormat.TABLE)
        suffix = output.suffix.removeprefix(".").lower()
        if suffix not in set(RowFormat) - {RowFormat.TABLE}:
            raise _mistake(
                "--output", f"{output.name!r} does not say the format", f"end it in one of {files}"
            )
        if not output.parent.is_dir():
            raise _mistake("--output", f"there is no folder {output.parent}", "make it first")
        if chosen not in (None, RowFormat(suffix)):
            raise _mistake("--format", f"the file's name says {suffix}", "leave --format out")
        return RowFormat(suffix)
    if chosen is RowFormat.PARQUET:
        raise _mistake("--format", "Parquet is not for the screen", "name a file: --output rows.parquet")
    chosen = chosen or RowFormat.TABLE
    if chosen is RowFormat.TABLE and limit is not None and not 0 < limit <= _MOST_LAID_OUT:
        what = f"a table on the screen has 1 to {_MOST_LAID_OUT:,} rows"
        raise _mistake("--limit", what, "print more as --format csv or jsonl, or write them by --output")
    return chosen


def _snapshot(where: str, base: Table, at: str | None) -> int | None:
    """Return the snapshot that is meant, None for the current one."""
    from cdc_platform.lake.rollback import find_snapshot

    if at is None:
        return None
    # a year alone is four digits; a snapshot's number is much longer
    if at.isdecimal() and len(at) > len("20260131"):
        return find_snapshot(base, snapshot_id=int(at)).snapshot_id
    return find_snapshot(base, before=moment(where, "--at", at)).snapshot_id


def _mistake(option: str, what: str, mend: str) -> ConfigError:
    return ConfigError("cdc show", [(option, what, mend)])
