"""The table mappings of a source's task: its active tables, and the columns that carry order and old keys."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import ConfigError

if TYPE_CHECKING:
    from cdc_platform.config.model import RawOptions, SourceConfig, TableConfig

_TEXT = {"type": "string", "length": 50}


def table_mappings(source: str, chosen: SourceConfig) -> dict[str, Any]:
    """Return the mappings document. Raises ConfigError when no table is active.

    Tables are selected by ``explicit`` rules: in ``include`` rules ``_`` and ``%`` would be wildcards.
    """
    tables = [table for table in chosen.tables if table.active]
    if not tables:
        path = f"sources.{source}.tables"
        mend = "set `active: true` on at least one, or add one (cdc discover)"
        raise ConfigError("cdc.yaml", [(path, "no table is active", mend)])
    for number, table in enumerate(chosen.tables):
        if not table.active or "%" not in table.name:
            continue
        mend = "set `active: false` on it, or rename it at the source"
        what = f"DMS takes the % in {table.name!r} for a wildcard, and selects no table by it"
        raise ConfigError("cdc.yaml", [(f"sources.{source}.tables[{number}].name", what, mend)])
    rules = [*_selections(tables), *_additions(chosen, tables)]
    return {
        "rules": [
            {**rule, "rule-id": str(number), "rule-name": f"{number}-{rule['rule-action']}"}
            for number, rule in enumerate(rules, 1)
        ]
    }


def _selections(tables: list[TableConfig]) -> Iterator[dict[str, Any]]:
    for table in tables:
        yield {
            "rule-type": "selection",
            "object-locator": {"schema-name": table.schema_name, "table-name": table.table_name},
            "rule-action": "explicit",
        }


def _additions(chosen: SourceConfig, tables: list[TableConfig]) -> Iterator[dict[str, Any]]:
    """Yield rules a schema at a time where all its tables are alike, else a table at a time."""
    for schema in dict.fromkeys(table.schema_name for table in tables):
        here = [table for table in tables if table.schema_name == schema]
        kinds = {_columns(chosen.raw_of(table)) for table in here}
        if len(kinds) == 1:
            yield from _rules({"schema-name": schema, "table-name": "%"}, kinds.pop())
            continue
        for table in here:
            locator = {"schema-name": schema, "table-name": table.table_name}
            yield from _rules(locator, _columns(chosen.raw_of(table)))


def _columns(raw: RawOptions) -> tuple[str | None, str | None, str | None]:
    return raw.change_sequence_column, raw.stream_position_column, raw.before_image_prefix


def _rules(
    locator: dict[str, str], columns: tuple[str | None, str | None, str | None]
) -> Iterator[dict[str, Any]]:
    sequence, stream, prefix = columns
    about = {"rule-type": "transformation", "rule-target": "column", "object-locator": locator}
    for name, expression in ((sequence, "$AR_H_CHANGE_SEQ"), (stream, "$AR_H_STREAM_POSITION")):
        if name is not None:
            yield {
                **about,
                "rule-action": "add-column",
                "value": name,
                "expression": expression,
                "data-type": _TEXT,
            }
    if prefix is not None:
        definition = {"column-prefix": prefix, "column-suffix": "", "column-filter": "pk-only"}
        yield {**about, "rule-action": "add-before-image-columns", "before-image-def": definition}
