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


def _configured_partitions(config: TableConfig) -> list[str]:
    parsed = (parse_partition_field(field) for field in config.partition_by)
    return [
        f"{transform}[{width}]({safe_name(column)})" if width else f"{transform}({safe_name(column)})"
        for transform, width, column in parsed
    ]


def _partitions(table: Table) -> list[str]:
    schema = table.schema()
    return [f"{field.transform}({schema.find_column_name(field.source_id)})" for field in table.spec().fields]
