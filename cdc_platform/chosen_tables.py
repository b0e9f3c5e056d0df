"""Which tables a command or a job works on, from what a person wrote."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.pipeline import Platform


def chosen_tables(
    platform: Platform, source: str | None, table_ids: Iterable[str] | None, option: str = "--table"
) -> list[tuple[str, TableConfig]]:
    """Return (source, table) of the active tables that are named; all of them where none is.

    A table goes by ``id``, which means the tables of that id of every source, or by ``source/id``. Raises
    ConfigError for a source or table that is not there, or is not active; ``option`` named the tables.
    """
    if source is not None:
        platform.source(source)
    wanted = set(table_ids or ())
    tables = list(platform.tables(None if source is None else {source}))
    names = {(name, table.id): {table.id, f"{name}/{table.id}"} for name, table in tables}
    unknown = wanted.difference(*names.values())
    if unknown:
        several = len({name for name, _ in tables}) > 1
        there = ", ".join(sorted(f"{name}/{one}" if several else one for name, one in names)) or "none"
        mistakes = [(option, f"there is no active table {name!r}", f"active: {there}") for name in unknown]
        raise ConfigError(str(platform.config.base_folder / "cdc.yaml"), sorted(mistakes))
    return [(name, table) for name, table in tables if not wanted or wanted & names[name, table.id]]
