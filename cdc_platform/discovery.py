"""Tables that DMS writes and ``cdc.yaml`` does not have yet, described as far as the source can be asked.

A found table is inactive: a person looks at its merge key before anything is merged.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cdc_platform.config.model import ColumnConfig, FileFormat, SourceConfig, TableConfig
from cdc_platform.errors import SourceUnavailable
from cdc_platform.naming import safe_name

if TYPE_CHECKING:
    import psycopg

    from cdc_platform.pipeline import Platform
    from cdc_platform.reconcile.sources import SourceTable


@dataclass(frozen=True, slots=True)
class Discovery:
    """The tables found in a source's raw location. ``remarks``: table name → what could not be told of it.

    ``unreachable`` says why the source's own catalog could not be asked, '' when it could.
    """

    tables: tuple[TableConfig, ...]
    remarks: Mapping[str, str]
    unreachable: str = ""


def discover(platform: Platform, source: str) -> Discovery:
    """Return the tables in the raw location that the configuration lacks, each with its key and columns.

    Columns are given where the files do not carry their names: CSV without a header.
    """
    from cdc_platform.raw.intake import discover_tables

    settings = platform.source(source)
    known = {table.name for table in settings.tables}
    names = [name for name in discover_tables(platform.raw_store(source)) if name not in known]
    described, remarks, unreachable = _described(settings, names) if names else ({}, {}, "")
    taken = {table.id for table in settings.tables}
    tables = []
    for name in names:
        table = _table(name, described.get(name), settings, taken)
        taken.add(table.id)
        tables.append(table)
        if not table.merge_key and name not in remarks:
            remarks[name] = unreachable or "it has no primary key: set merge_key or no_key"
    return Discovery(tuple(tables), remarks, unreachable)


def _described(
    settings: SourceConfig, names: list[str]
) -> tuple[dict[str, SourceTable], dict[str, str], str]:
    """Ask the source's catalog for every table; tell which it could not describe, and why."""
    from cdc_platform.reconcile.postgres import describe
    from cdc_platform.reconcile.postgres_session import connect, pin_settings

    if settings.connection is None or settings.engine != "postgresql":
        return {}, {}, "the source cannot be asked: it has no `connection`"
    found: dict[str, SourceTable] = {}
    remarks: dict[str, str] = {}
    try:
        connection: psycopg.Connection[tuple[Any, ...]] = connect(settings.connection)
        pin_settings(connection)
    except SourceUnavailable as error:
        return {}, {}, f"the source cannot be asked: {error.what}"
    with closing(connection):
        for name in names:
            schema, _, table = name.partition(".")
            try:
                found[name] = describe(connection, schema, table)
            except SourceUnavailable as error:
                remarks[name] = error.what
    return found, remarks, ""


def _table(name: str, described: SourceTable | None, settings: SourceConfig, taken: set[str]) -> TableConfig:
    schema, _, table = name.partition(".")
    short = safe_name(table)
    columns: tuple[ColumnConfig, ...] = ()
    if described and settings.raw.format is FileFormat.CSV and not settings.raw.csv.header:
        columns = _columns(described)
    return TableConfig(
        name=name,
        id=short if short not in taken else safe_name(f"{schema}_{table}"),
        merge_key=described.primary_key if described else (),
        active=False,
        columns=columns,
    )


def _columns(described: SourceTable) -> tuple[ColumnConfig, ...]:
    from cdc_platform.reconcile.postgres_types import iceberg_type

    return tuple(
        ColumnConfig(name=column.name, type=iceberg_type(column), nullable=column.nullable)
        for column in described.columns
    )
