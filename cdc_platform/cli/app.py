"""The commands of ``cdc`` put together, and the way each of them ends."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated, NoReturn

import typer

from cdc_platform import __version__
from cdc_platform.cli import (
    applying,
    configure,
    inspecting,
    maintaining,
    publishing,
    quarantine,
    reconciling,
    repairing,
    reporting,
    rolling_back,
    services,
    showing,
    sources,
    table_rows,
)
from cdc_platform.cli.exits import report_fault
from cdc_platform.cli.output import print_plainly_where_needed

_EPILOG = (
    "Exit codes: 0 fine · 1 done, and differences or quarantined input were found · "
    "2 wrong usage or configuration · 3 could not be done · 130 interrupted. "
    "Start with: cdc demo"
)

app = typer.Typer(
    name="cdc",
    help="Database changes into Iceberg tables that are proven equal to the source.",
    epilog=_EPILOG,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"cdc-platform {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of a fault; may stand anywhere.")
    ] = False,
) -> None:
    """Read the options that stand before a command; both act elsewhere."""


services.register(app)
applying.register(app)
maintaining.register(app)
reconciling.register(app)
reporting.register(app)
publishing.register(app)
repairing.register(app)
showing.register(app)
table_rows.register(app)
inspecting.register(app)
rolling_back.register(app)
sources.register(app)
configure.register(app)
quarantine.register(app)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run ``cdc`` with ``arguments`` (default: the command line's) and exit with its code."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    print_plainly_where_needed()
    try:
        app([argument for argument in given if argument != "--debug"], prog_name="cdc")
    except (Exception, KeyboardInterrupt) as error:
        sys.exit(int(report_fault(error, debug=debug)))
    except SystemExit as end:
        # these two Typer takes for the user's wish to end, and says nothing of what it means
        cause = getattr(end.__context__, "__cause__", None)
        if isinstance(cause, KeyboardInterrupt | EOFError):
            sys.exit(int(report_fault(cause, debug=debug)))
        if debug and isinstance(cause, Exception):
            report_fault(cause, debug=debug)
        raise
    sys.exit(0)
