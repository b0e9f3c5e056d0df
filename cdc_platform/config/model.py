"""The model of ``cdc.yaml``: sources → tables, the lake, the engine, notifications.

Every model is frozen and refuses unknown keys. Secrets are only ever ``${ENV}`` references, resolved when
the file is loaded (see :mod:`cdc_platform.config.load`) and held as ``SecretStr``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from cdc_platform.config.base import Model, mistake
from cdc_platform.config.maintenance import MaintenanceOptions
from cdc_platform.config.partition_fields import TRANSFORMS, parse_partition_field
from cdc_platform.config.raw_options import CsvOptions, FileFormat, RawOptions, WindowOptions
from cdc_platform.config.repair import RepairOptions
from cdc_platform.config.tables import (
    ColumnConfig,
    DeleteMode,
    Images,
    NoKey,
    Publish,
    TableConfig,
)
from cdc_platform.naming import safe_name

__all__ = [
    "TRANSFORMS",
    "ColumnConfig",
    "Connection",
    "CsvOptions",
    "DeleteMode",
    "DmsOptions",
    "EngineConfig",
    "FileFormat",
    "GlueCatalog",
    "Images",
    "LakeConfig",
    "MaintenanceOptions",
    "Model",
    "NoKey",
    "Notifications",
    "PlatformConfig",
    "PreparedOptions",
    "Publish",
    "RawOptions",
    "RepairOptions",
    "SourceConfig",
    "SqlCatalog",
    "TableConfig",
    "WindowOptions",
    "bytes_of",
    "parse_partition_field",
]


class Connection(Model):
    """How reconciliation and discovery reach the source database."""

    dsn: SecretStr | None = Field(None, description="a libpq URL or keyword string; give this or the parts")
    dsn_file: str | None = Field(None, description="a file that holds the dsn; read when cdc.yaml is loaded")
    host: str | None = None
    port: int = Field(5432, ge=1, le=65535)
    database: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    sslmode: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Connection:
        if self.dsn is None and self.dsn_file is None and not (self.host and self.database and self.user):
            mend = "give `dsn`, `dsn_file`, or `host`, `database` and `user`"
            raise mistake("the connection is not complete", mend)
        return self


class DmsOptions(Model):
    """The DMS objects that replicate a source; ``cdc replicate`` makes them from this."""

    task: str | None = Field(None, description="replication task identifier; default <source>-cdc")
    instance: str | None = Field(None, description="replication instance identifier; default <source>-cdc")
    instance_class: str = "dms.t3.medium"
    endpoint_url: str | None = Field(None, description="a DMS endpoint other than AWS's own (laptop)")
    region: str | None = None
    migration_type: Literal["full-load", "cdc", "full-load-and-cdc"] = "full-load-and-cdc"
    max_batch_interval_seconds: int = Field(60, ge=1, description="CdcMaxBatchInterval")
    min_file_size_kb: int = Field(32000, ge=1, description="CdcMinFileSize")
    service_access_role_arn: str | None = Field(None, description="role DMS uses to write the bucket")


DUPLICATE_TABLE = "duplicate_table"


def duplicate_tables(names_and_ids: Sequence[tuple[str, str]]) -> list[tuple[int, str, str]]:
    """Return (index, what, mend) of every table whose name or id an earlier table of the source has."""
    found: list[tuple[int, str, str]] = []
    names: set[str] = set()
    ids: dict[str, str] = {}
    for index, (name, table_id) in enumerate(names_and_ids):
        if name in names:
            found.append((index, f"table {name!r} is listed twice", "remove one of the two"))
        elif table_id in ids:
            clash = f"tables {ids[table_id]!r} and {name!r} share the id {table_id!r}"
            found.append((index, clash, "set another `id` on one of them"))
        names.add(name)
        ids.setdefault(table_id, name)
    return found


class SourceConfig(Model):
    """One operational database and the tables taken from it."""

    engine: Literal["postgresql", "mysql", "sqlserver", "oracle", "mongodb"] = "postgresql"
    raw: RawOptions
    window: WindowOptions
    connection: Connection | None = None
    dms: DmsOptions = DmsOptions()
    owners: tuple[str, ...] = ()
    tables: tuple[TableConfig, ...] = ()

    @model_validator(mode="after")
    def _ids_are_unique(self) -> SourceConfig:
        for index, what, mend in duplicate_tables([(table.name, table.id) for table in self.tables]):
            raise mistake(f"tables[{index}]: {what}", mend, kind=DUPLICATE_TABLE)
        return self

    @model_validator(mode="after")
    def _can_be_found_equal(self) -> SourceConfig:
        held = [table.name for table in self.tables if table.publish is Publish.ON_MATCH]
        if held and (self.connection is None or self.engine != "postgresql"):
            what = f"{held[0]} publishes on MATCH, which needs a source that can be read"
            raise mistake(what, "give a PostgreSQL `connection`, or remove `publish`")
        return self

    def raw_of(self, table: TableConfig) -> RawOptions:
        """Return the raw options that hold for ``table``."""
        return table.raw or self.raw


class SqlCatalog(Model):
    """An Iceberg catalog in an SQL database: SQLite in the warehouse folder by default."""

    type: Literal["sql"] = "sql"
    name: str = "cdc"
    uri: str | None = Field(None, description="SQLAlchemy URL; default sqlite in the warehouse folder")
    properties: dict[str, str] = Field(default_factory=dict)


class GlueCatalog(Model):
    """The AWS Glue catalog."""

    type: Literal["glue"] = "glue"
    name: str = "cdc"
    properties: dict[str, str] = Field(default_factory=dict)


class LakeConfig(Model):
    """The catalog and the warehouse that hold the base tables."""

    catalog: Annotated[SqlCatalog | GlueCatalog, Field(discriminator="type")] = SqlCatalog()
    warehouse: str = Field(".cdc/warehouse", description="folder or s3://bucket/prefix")
    namespace: str = Field("{source}", description="Iceberg namespace of a source's tables")


#: A size as DuckDB reads it. The loader says it in words, editors check it as they type.
MEMORY_SIZE = r"^\d+(\.\d+)?\s*(MB|GB|MiB|GiB)$"


_UNITS = {"MB": 10**6, "GB": 10**9, "MiB": 2**20, "GiB": 2**30}


def bytes_of(size: str) -> int:
    """Return the bytes of a size as :data:`MEMORY_SIZE` has it.

    >>> bytes_of("1.5 GB")
    1500000000
    """
    number = size.rstrip("MGiB ")
    return int(float(number) * _UNITS[size[len(number) :].strip()])


#: The engine cannot work with less.
LEAST_MEMORY = 64 * 10**6


class EngineConfig(Model):
    """What executes a merge. One setting bounds its memory."""

    type: Literal["embedded", "spark", "glue", "emr-serverless", "emr-eks", "emr"] = "embedded"
    memory_limit: str = Field(
        "2GB",
        pattern=MEMORY_SIZE,
        description="memory of a merge, 64MB at least; beyond, the engine spills",
    )
    threads: int = Field(2, ge=1)
    temp_directory: str | None = Field(None, description="where it spills; default beside the warehouse")
    key_index_limit: str = Field(
        "8GB",
        pattern=MEMORY_SIZE,
        description="disk for key indexes, beside the folder it spills to; 0GB: none",
    )

    @field_validator("memory_limit")
    @classmethod
    def _enough(cls, size: str) -> str:
        if bytes_of(size) < LEAST_MEMORY:
            raise mistake(
                f"{size!r} is too small for any merge", f"give it {LEAST_MEMORY // 10**6}MB at least"
            )
        return size


class Notifications(Model):
    """Where alerts go."""

    sns_topic_arn: str | None = None
    webhook_url: SecretStr | None = None


class PreparedOptions(Model):
    """The dbt project that makes the prepared layer from base tables."""

    project: str = Field(description="folder of the dbt project; its manifest is in target/")
    database: str = Field(".cdc/prepared.duckdb", description="DuckDB file the prepared models go to")
    memory_limit: str = Field("1GB", pattern=MEMORY_SIZE)


class PlatformConfig(Model):
    """The whole of ``cdc.yaml``."""

    version: Literal[1] = 1
    lake: LakeConfig = LakeConfig()
    engine: EngineConfig = EngineConfig()
    state: str = Field(".cdc/state.sqlite", description="SQLite file or dynamodb://<table>")
    maintenance: MaintenanceOptions = MaintenanceOptions()
    repair: RepairOptions = RepairOptions()
    notifications: Notifications = Notifications()
    prepared: PreparedOptions | None = None
    sources: dict[str, SourceConfig] = Field(default_factory=dict)

    #: The folder relative paths start from: that of cdc.yaml.
    base_folder: Path = Field(Path(), exclude=True)

    @field_validator("sources")
    @classmethod
    def _safe_source_names(cls, sources: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        for name in sources:
            if safe_name(name) != name:
                raise mistake(f"source name {name!r} is not a safe name", f"write {safe_name(name)!r}")
        return sources

    def path_of(self, location: str) -> str:
        """Return ``location`` as a URL, or as an absolute path below the configuration's folder."""
        if "://" in location:
            return location
        return str((self.base_folder / location).resolve())
