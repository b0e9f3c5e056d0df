"""Which tables and windows a command works on, from its options."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, time
from pathlib import Path
from typing import TYPE_CHECKING

from cdc_platform.cli.output import stderr
from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.pipeline import Platform


def open_platform(config: Path) -> Platform:
    """Open the platform of ``cdc.yaml`` at ``config``. Raises ConfigError; a missing version is told."""
    from cdc_platform.pipeline import Platform

    platform = Platform.open(config)
    if "version" not in platform.config.model_fields_set:
        remark = f"{config}: version is missing, taken for 1 → start the file with `version: 1`"
        stderr().print(remark, style="yellow", highlight=False, markup=False)
    return platform


def one_table(platform: Platform, name: str) -> tuple[str, TableConfig]:
    """Return the table that ``id`` or ``source/id`` names, also one that is not active.

    Raises ConfigError when it is none or several.
    """
    source, slash, table_id = name.rpartition("/")
    sources = {source: platform.source(source)} if slash else platform.config.sources
    found = [(one, table) for one, its in sources.items() for table in its.tables if table.id == table_id]
    if not found:
        there = ", ".join(sorted(table.id for its in sources.values() for table in its.tables)) or "none"
        raise ConfigError("cdc", [("TABLE", f"there is no table {table_id!r}", f"tables: {there}")])
    if len(found) > 1:
        names = " or ".join(f"{one}/{table.id}" for one, table in found)
        raise ConfigError("cdc", [("TABLE", f"{name!r} is a table of several sources", f"write {names}")])
    return found[0]


def moment(where: str, option: str, text: str) -> datetime:
    """Return the time an option gives, UTC where it names no zone. Raises ConfigError naming the form."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError as error:
        form = "write it as 2026-01-31T13:00 or 2026-01-31T13:00+01:00"
        raise ConfigError(where, [(option, f"{text!r} is no time", form)]) from error
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def check_windows(platform: Platform, source: str, windows: Iterable[str] | None) -> list[str] | None:
    """Return ``windows`` when each is a window key of the source. Raises ConfigError naming the form."""
    if windows is None:
        return None
    options = platform.source(source).window
    for window in windows:
        try:
            begins, ends = options.bounds(window)
        except ValueError as error:
            form = "2026-01-31" if options.every == "daily" else "2026-01-31-13:00"
            what = f"{window!r} is not a window of {source}"
            raise ConfigError("cdc", [("--window", what, f"write it as {form}")]) from error
        if ends.date() < options.start or (ends.date() == options.start and ends.time() == time()):
            what = f"{window!r} is before the first window of {source}, {options.start}"
            mend = f"choose a later one, or set sources.{source}.window.start to an earlier day"
            raise ConfigError("cdc", [("--window", what, mend)])
        if begins > datetime.now(UTC):
            what = f"{window!r} has not begun: there is nothing in it to say anything of"
            raise ConfigError("cdc", [("--window", what, "choose an earlier one; windows are in UTC")])
    return list(windows)
