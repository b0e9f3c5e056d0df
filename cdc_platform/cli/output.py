"""What every command prints with: tables and progress for people, JSON for machines, on the right stream.

Results go to stdout, everything about the way there to stderr, so that ``--json`` can be piped.
"""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

ConfigOption = Annotated[
    Path,
    typer.Option("--config", "-c", envvar="CDC_CONFIG", help="The configuration file."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for a machine to read.")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
SourceOption = Annotated[str | None, typer.Option("--source", "-s", help="Only this source.")]
TableOption = Annotated[
    list[str] | None,
    typer.Option(
        "--table",
        "-t",
        help="Only this table: source/id, or an id, which means the table of every source that has one; may "
        "be given several times.",
    ),
]
WindowOption = Annotated[
    list[str] | None,
    typer.Option("--window", "-w", help="Only this window, e.g. 2026-01-31; may be given several times."),
]

DEFAULT_CONFIG = Path("cdc.yaml")
_PIPE_WIDTH = 240
#: How often a log that is no terminal is told of progress.
TELL_EVERY_SECONDS = 10.0
COLOURS = {
    "MATCH": "green",
    "DIFFERENT": "bold red",
    "ERROR": "bold red",
    "IN_FLIGHT": "yellow",
    "UNVERIFIED": "yellow",
}


#: What is written for our own signs where the terminal's encoding has none of them.
_PLAINER = {"–": "-", "—": "-", "…": "...", "→": "->", "·": "|"}
_PLAINLY = "cdc-plainly"


def print_plainly_where_needed() -> None:
    """Let stdout and stderr write every text: what their encoding lacks as a plainer sign, or escaped."""
    codecs.register_error(_PLAINLY, _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_PLAINLY)


def _plainly(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    escaped = (_PLAINER.get(sign) or sign.encode("ascii", "backslashreplace").decode() for sign in lacking)
    return "".join(escaped), error.end


def stdout() -> Console:
    """Return the console for results."""
    return _console(sys.stdout)


def stderr() -> Console:
    """Return the console for progress and remarks."""
    return _console(sys.stderr)


def _console(stream: TextIO) -> Console:
    """Return a console that folds lines for a terminal, and leaves them whole for a file or a pipe."""
    if stream.isatty():
        return Console(file=stream)
    return Console(file=stream, width=_PIPE_WIDTH, soft_wrap=True)


def print_json(value: object) -> None:
    """Print ``value`` as JSON; dataclasses, times, decimals and enums become what JSON has."""
    has_every_sign = codecs.lookup(sys.stdout.encoding).name == "utf-8"
    print(json.dumps(plain(value), indent=2, ensure_ascii=not has_every_sign))


def plain(value: object) -> Any:
    """Return ``value`` made of what JSON has.

    >>> plain({"at": Decimal("1.50"), "tables": ("a",)})
    {'at': '1.50', 'tables': ['a']}
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(item) for item in value]
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    return str(value)


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows for people: numbers to the right, verdicts in colour."""
    table = Table(title=title or None, title_justify="left", header_style="bold", box=None, pad_edge=False)
    for at, name in enumerate(columns):
        numeric = bool(rows) and all(isinstance(row[at], (int, float, Decimal, type(None))) for row in rows)
        table.add_column(name, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell(value) for value in row))
    stdout().print(table)


def cell(value: object) -> Text:
    """Return a table cell: thousands separated, nothing for None, a verdict in its colour."""
    if value is None:
        return Text("–", style="dim")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, int):
        return Text(f"{value:,}")
    text = str(value.value) if isinstance(value, Enum) else str(value)
    return Text(text, style=COLOURS.get(text, ""))


@contextmanager
def progress(description: str, total: int | None) -> Iterator[_Steps]:
    """Show a bar on stderr while the ``with`` runs; where that is no terminal, a line now and then."""
    console = stderr()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        yield _Steps(bar, bar.add_task(description, total=total), console)


class _Steps:
    """The steps of one progress bar."""

    def __init__(self, bar: Progress, task: TaskID, console: Console) -> None:
        self._bar, self._task, self._console = bar, task, console
        self._told_at = time.monotonic()

    def begin(self, what: str) -> None:
        """Say what is being worked on."""
        self._bar.update(self._task, description=what)
        self._tell()

    def done(self, steps: int = 1) -> None:
        """Move the bar on."""
        self._bar.advance(self._task, steps)
        self._tell()

    def ended(self, what: str) -> None:
        """Say what was done, and move the bar on."""
        self._bar.update(self._task, description=what, advance=1)
        self._tell()

    def _tell(self) -> None:
        """Write a line into a log, so that whoever follows it sees that work goes on."""
        if self._console.is_terminal or time.monotonic() - self._told_at < TELL_EVERY_SECONDS:
            return
        self._told_at = time.monotonic()
        task = self._bar.tasks[0]
        of = f" ({task.completed:.0f} of {task.total:.0f})" if task.total is not None else ""
        self._console.print(f"{task.description}{of}", highlight=False, markup=False)
