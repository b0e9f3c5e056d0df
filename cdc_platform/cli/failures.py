"""Work on many tables where one that fails does not hold up the others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import typer

from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.output import progress, stderr
from cdc_platform.errors import CdcError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def done_for_each(
    items: list[_Item], doing: str, name: Callable[[_Item], str], work: Callable[[_Item], _Result]
) -> tuple[dict[str, _Result], dict[str, CdcError]]:
    """Do ``work`` on every item under a progress bar; return results and failures by the items' names."""
    results: dict[str, _Result] = {}
    failures: dict[str, CdcError] = {}
    with progress(doing, len(items)) as bar:
        for item in items:
            where = name(item)
            bar.begin(f"{doing} {where}")
            try:
                results[where] = work(item)
            except CdcError as error:
                failures[where] = error
            bar.done()
    return results, failures


def texts(failures: dict[str, CdcError]) -> dict[str, str]:
    """Return the failures as JSON has them."""
    return {where: str(error) for where, error in failures.items()}


def exit_with_failures(failures: dict[str, CdcError]) -> None:
    """Tell every failure on stderr and exit with FAILED, for the first of them, when there is one."""
    for where, error in failures.items():
        stderr().print(f"{where} failed: {error}", style="red", highlight=False, markup=False)
    for error in failures.values():
        raise typer.Exit(ExitCode.FAILED) from error


def exit_if_found(is_found: bool, remark: str = "") -> None:
    """Exit with FOUND, and ``remark`` on stderr, when something was."""
    if not is_found:
        return
    if remark:
        stderr().print(remark, style="yellow")
    raise typer.Exit(ExitCode.FOUND)
