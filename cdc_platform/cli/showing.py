"""``cdc status``: where every table stands."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import typer

from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    SourceOption,
    print_json,
    print_table,
    stderr,
)
from cdc_platform.cli.selection import open_platform
from cdc_platform.words import and_more, counted

if TYPE_CHECKING:
    from cdc_platform.pipeline import TableStatus

#: Earlier windows that are named.
_MOST_WINDOWS = 3


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("status", rich_help_panel="Main job")(status)


def status(
    config: ConfigOption = DEFAULT_CONFIG, source: SourceOption = None, as_json: JsonOption = False
) -> None:
    """Show where every table stands: last window, lag, rows, verdict, quarantine.

    Reads no data. Exit code 1 when something is quarantined or the last verdict of a window is DIFFERENT, 3
    when a table cannot be read.

    [bold]Examples[/bold]

      cdc status

      cdc status --json | jq '.[] | select(.pending_files > 0)'
    """
    from cdc_platform.pipeline import status as table_statuses

    platform = open_platform(config)
    if source is not None:
        platform.source(source)
    statuses = list(table_statuses(platform, None if source is None else {source}))
    if as_json:
        print_json([one.as_dict() for one in statuses])
    else:
        rows = [
            (
                f"{one.source}/{one.table_id}",
                one.rows,
                one.last_window,
                None if one.error else one.pending_files,
                _age(one.lag_seconds),
                _verdict(one),
                None if one.error else one.quarantined_files + one.quarantined_rows,
            )
            for one in statuses
        ]
        columns = ["table", "rows", "last window", "pending", "age", "verdict", "quarantined"]
        print_table("", columns, rows)
        for one in statuses:
            for remark in _remarks(one):
                text = f"{one.source}/{one.table_id}: {remark}"
                stderr().print(text, highlight=False, markup=False, soft_wrap=True)
    failed = [one for one in statuses if one.error is not None]
    for one in failed:
        stderr().print(f"{one.source}/{one.table_id} failed: {one.error}", style="red", markup=False)
    if failed:
        raise typer.Exit(ExitCode.FAILED)
    if any(_found(one) for one in statuses):
        raise typer.Exit(ExitCode.FOUND)


def _found(one: TableStatus) -> bool:
    is_different = one.verdict == "DIFFERENT" or bool(one.windows_different)
    return is_different or bool(one.quarantined_files or one.quarantined_rows)


def _remarks(one: TableStatus) -> Iterator[str]:
    """Yield what the row of a table has no column for."""
    if one.unpublished:
        waiting = counted(one.unpublished, "snapshot")
        yield f"main waits, {waiting} behind; cdc publish --dry-run says why"
    if one.windows_different:
        found = and_more(one.windows_different[-_MOST_WINDOWS:], len(one.windows_different))
        mend = "cdc report shows what, cdc repair mends it, cdc reconcile --window compares it again"
        yield f"DIFFERENT in earlier windows: {found}; {mend}"


def _verdict(one: TableStatus) -> str | None:
    """Return the last verdict, with its window when newer ones are not reconciled yet."""
    if one.error is not None:
        return "cannot be read"
    if one.verdict is None or one.verdict_window == one.last_window:
        return one.verdict
    return f"{one.verdict} ({one.verdict_window})"


def _age(seconds: float | None) -> str | None:
    return None if seconds is None else str(timedelta(seconds=round(seconds)))
