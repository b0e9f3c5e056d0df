"""How sources and tables appear in Dagster: asset keys, partitions, groups, pools, owners, tags."""

from __future__ import annotations

import re
from datetime import UTC, datetime, time
from typing import TYPE_CHECKING

import dagster as dg

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cdc_platform.config.model import PlatformConfig, SourceConfig, TableConfig

_TAG_VALUE = re.compile(r"[^A-Za-z0-9_.-]+")


def raw_key(source: str, table_id: str) -> dg.AssetKey:
    """Return the key of the asset that stands for a table's raw files."""
    return dg.AssetKey(["raw", source, table_id])


def base_key(source: str, table_id: str) -> dg.AssetKey:
    """Return the key of a table's base table."""
    return dg.AssetKey(["base", source, table_id])


def reconciliation_key(source: str, table_id: str) -> dg.AssetKey:
    """Return the key of the comparison of a table's source, raw files and base table."""
    return dg.AssetKey(["reconciliation", source, table_id])


def maintenance_key(source: str, table_id: str) -> dg.AssetKey:
    """Return the key of the maintenance of a table's base table."""
    return dg.AssetKey(["maintenance", source, table_id])


def replication_key(source: str) -> dg.AssetKey:
    """Return the key of the replication task that feeds a source's raw files."""
    return dg.AssetKey(["replication", source])


def window_partitions(source: SourceConfig) -> dg.TimeWindowPartitionsDefinition:
    """Return the windows of ``source``, the running one included.

    Raw, base, reconciliation and their checks all share this value, so that a window is one partition key
    through the whole chain.
    """
    start = datetime.combine(source.window.start, time(), tzinfo=UTC)
    if source.window.every == "hourly":
        return dg.HourlyPartitionsDefinition(start_date=start, timezone="UTC", end_offset=1)
    return dg.DailyPartitionsDefinition(start_date=start, timezone="UTC", end_offset=1)


def namespace_of(config: PlatformConfig, source: str) -> str:
    """Return the Iceberg namespace that holds the base tables of ``source``."""
    return config.lake.namespace.format(source=source)


def commit_pool(config: PlatformConfig, source: str, table: TableConfig) -> str:
    """Return the pool that lets one step at a time write a base table."""
    return f"iceberg/{namespace_of(config, source)}.{table.id}"


def source_pool(source: str) -> str:
    """Return the pool that bounds how many steps query a source database at once."""
    return f"source/{source}"


def owners_of(source: SourceConfig, table: TableConfig) -> Sequence[str]:
    """Return the table's owners, else the source's, in the form Dagster takes (an e-mail or team:name)."""
    owners = table.owners or source.owners
    return [owner if "@" in owner or owner.startswith("team:") else f"team:{owner}" for owner in owners]


def tags_of(source: str, table: TableConfig) -> dict[str, str]:
    """Return tags to search assets by; values are cut to what Dagster allows."""
    name = _TAG_VALUE.sub("_", table.name)[:63]
    return {"cdc/source": source[:63], "cdc/table": table.id[:63], "cdc/source_table": name}


def table_of(config: SourceConfig, table_id: str) -> TableConfig:
    """Return the configuration of a table by its id."""
    return next(table for table in config.tables if table.id == table_id)


def active_tables(source: SourceConfig) -> tuple[TableConfig, ...]:
    """Return the tables that become assets."""
    return tuple(table for table in source.tables if table.active)


def has_replication(source: SourceConfig) -> bool:
    """Return whether ``cdc.yaml`` says how to reach the DMS that feeds ``source``."""
    dms = source.dms
    return any(value is not None for value in (dms.endpoint_url, dms.region, dms.task, dms.instance))
