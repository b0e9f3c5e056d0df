"""Whether a base table is still what ``cdc.yaml`` declares."""

from __future__ import annotations

from collections.abc import Iterator

from pyiceberg.table import Table

from cdc_platform.config.model import TableConfig
from cdc_platform.config.partition_fields import parse_partition_field
from cdc_platform.formats.types import iceberg_type_of, parse_iceberg_type
from cdc_platform.naming import safe_name


def configured_differences(table: Table, config: TableConfig) -> Iterator[tuple[str, str, str]]:
    """Yield (what, as configured, as in base) for every disagreement.

    A declared column that no file has carried yet is one: it is not in base.
    """
    fields = {field.name: field for field in table.schema().fields}
    for column in config.safe_key:
        if column not in fields:
            yield f"merge key column {column}", "in base", "missing"
    for declared in config.columns:
        name = safe_name(declared.name)
        wanted = iceberg_type_of(parse_iceberg_type(declared.type))
        there = str(fields[name].field_type) if name in fields else "missing"
        if there.replace(" ", "") != wanted.replace(" ", ""):
            yield f"column {name}", wanted, there
    wanted_fields, there_fields = _configured_partitions(config), _partitions(table)
    if wanted_fields != there_fields:
        yield "partition fields", ", ".join(wanted_fields) or "none", ", ".join(there_fields) or "none"


def not_taken_over(table: Table | None, config: TableConfig) -> tuple[str, ...]:
    """Return, for a person, what ``cdc.yaml`` declares and an existing table does not become by merging."""
    if table is None:
        return ()
    wanted, there = _configured_partitions(config), _partitions(table)
    if wanted == there:
        return ()
    return (
        f"partition_by of {config.name} is [{', '.join(wanted)}] in cdc.yaml, the table has "
        f"[{', '.join(there)}]: it stays as it is; to change it rebuild the table: give it a new `id`, then "
        "cdc apply (docs/configuration.md, Partitions)",
    )


def _configured_partitions(config: TableConfig) -> list[str]:
    parsed = (parse_partition_field(field) for field in config.partition_by)
    return [_written(transform, width, safe_name(column)) for transform, width, column in parsed]


def _partitions(table: Table) -> list[str]:
    """Return the table's partition fields as ``partition_by`` has them."""
    schema = table.schema()
    found = []
    for field in table.spec().fields:
        transform, _, width = str(field.transform).rstrip("]").partition("[")
        column = schema.find_column_name(field.source_id) or f"dropped column {field.source_id}"
        found.append(_written(transform, int(width) if width else None, column))
    return found


def _written(transform: str, width: int | None, column: str) -> str:
    if transform == "identity":
        return column
    return f"{transform}({width}, {column})" if width else f"{transform}({column})"
