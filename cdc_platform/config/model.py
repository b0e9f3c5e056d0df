"""The model of ``cdc.yaml``: sources → tables, the lake, the engine, notifications.

Every model is frozen and refuses unknown keys. Secrets are only ever ``${ENV}`` references, resolved when
the file is loaded (see :mod:`cdc_platform.config.load`) and held as ``SecretStr``.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from cdc_platform.naming import safe_name


class Model(BaseModel):
    """A frozen part of the configuration that refuses keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class DeleteMode(StrEnum):
    """What a delete does to the base row: remove it, or keep it with ``_cdc_op = 'D'``."""

    HARD = "hard"
    SOFT = "soft"


class Images(StrEnum):
    """Whether an update carries every column or only the changed ones (the others NULL)."""

    FULL = "full"
    PARTIAL = "partial"


class NoKey(StrEnum):
    """How a table without a merge key is kept: every row that ever came, or the multiset of live rows."""

    APPEND = "append"
    MULTISET = "multiset"


class FileFormat(StrEnum):
    """What the DMS S3 endpoint's ``DataFormat`` says."""

    PARQUET = "parquet"
    CSV = "csv"


class CsvOptions(Model):
    """The CSV settings of the DMS S3 endpoint, under DMS's own defaults."""

    delimiter: str = Field(",", description="CsvDelimiter")
    row_delimiter: str = Field("\n", description="CsvRowDelimiter")
    null_value: str = Field("NULL", description="CsvNullValue; an unquoted empty field is NULL as well")
    no_sup_value: str | None = Field(None, description="CsvNoSupValue: marks columns the log did not carry")
    header: bool = Field(False, description="AddColumnName")
    rfc4180: bool = Field(True, description="Rfc4180: quotes around fields that need them")


class RawOptions(Model):
    """Where DMS leaves the files of a source and how its S3 endpoint is set."""

    location: str = Field(description="folder or s3://bucket/prefix that holds <schema>/<table>/")
    format: FileFormat = FileFormat.PARQUET
    timestamp_column: str | None = Field("dms_timestamp", description="TimestampColumnName, null when unset")
    change_sequence_column: str | None = Field(
        "cdc_change_seq", description="column filled with $AR_H_CHANGE_SEQ, null when the task writes none"
    )
    stream_position_column: str | None = Field(
        "cdc_stream_position", description="column filled with $AR_H_STREAM_POSITION, null when none"
    )
    before_image_prefix: str | None = Field(
        "BI_", description="column-prefix of add-before-image-columns, null when the task adds none"
    )
    include_op_for_full_load: bool = Field(False, description="IncludeOpForFullLoad")
    cdc_inserts_only: bool = Field(False, description="CdcInsertsOnly")
    date_partition_delimiter: Literal["slash", "dash", "underscore", "none"] | None = Field(
        None, description="DatePartitionDelimiter when DatePartitionEnabled, else null"
    )
    csv: CsvOptions = CsvOptions()


class WindowOptions(Model):
    """How a source's raw files are cut into partitions."""

    every: Literal["daily", "hourly"] = "daily"
    start: date = Field(description="first window, UTC; files older than this are refused by name")

    @property
    def length(self) -> timedelta:
        """The length of one window."""
        return timedelta(days=1) if self.every == "daily" else timedelta(hours=1)

    @property
    def key_format(self) -> str:
        """The strftime format of a partition key."""
        return "%Y-%m-%d" if self.every == "daily" else "%Y-%m-%d-%H:%M"

    def key_of(self, moment: datetime) -> str:
        """Return the key of the window ``moment`` (tz-aware) falls into."""
        utc = moment.astimezone(UTC)
        floor = utc.replace(minute=0, second=0, microsecond=0)
        return (floor if self.every == "hourly" else floor.replace(hour=0)).strftime(self.key_format)

    def bounds(self, key: str) -> tuple[datetime, datetime]:
        """Return the half-open interval of window ``key``."""
        begin = datetime.strptime(key, self.key_format).replace(tzinfo=UTC)
        return begin, begin + self.length


class Connection(Model):
    """How reconciliation and discovery reach the source database."""

    dsn: SecretStr | None = Field(None, description="a libpq URL or keyword string; give this or the parts")
    host: str | None = None
    port: int = Field(5432, ge=1, le=65535)
    database: str | None = None
    user: str | None = None
    password: SecretStr | None = None
    sslmode: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Connection:
        if self.dsn is None and not (self.host and self.database and self.user):
            raise ValueError("give `dsn`, or `host`, `database` and `user`")
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


_TRANSFORM = re.compile(
    r"^(?:(?P<name>[a-z]+)\(\s*(?:(?P<width>\d+)\s*,\s*)?(?P<column>[^)]+?)\s*\)|(?P<plain>[^()]+))$"
)
TRANSFORMS = ("identity", "year", "month", "day", "hour", "bucket", "truncate", "void")


class ColumnConfig(Model):
    """A source column's name and type: needed for CSV without a header, an override otherwise."""

    name: str
    type: str = Field(description="an Iceberg type: int, long, decimal(p,s), timestamptz, string, …")
    nullable: bool = True


class TableConfig(Model):
    """One source table and its base table."""

    name: str = Field(description="schema.table as DMS names them in the raw folder")
    id: str = Field("", description="safe name of the table in asset keys and the lake; default from `name`")
    merge_key: tuple[str, ...] = Field((), description="columns that identify a row; empty: see `no_key`")
    no_key: NoKey | None = Field(None, description="append or multiset, when there is no merge key")
    partition_by: tuple[str, ...] = Field((), description="e.g. day(created_at), bucket(16, id), region")
    active: bool = True
    delete_mode: DeleteMode = DeleteMode.HARD
    images: Images = Images.FULL
    columns: tuple[ColumnConfig, ...] = ()
    tombstone_horizon_days: int = Field(30, ge=1, description="how late an event may come after a delete")
    owners: tuple[str, ...] = ()
    raw: RawOptions | None = Field(None, description="overrides the source's raw options for this table")

    @field_validator("name")
    @classmethod
    def _schema_dot_table(cls, name: str) -> str:
        schema, dot, table = name.partition(".")
        if not (schema and dot and table):
            raise ValueError(f"{name!r} is not schema.table")
        return name

    @field_validator("partition_by")
    @classmethod
    def _known_transforms(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            parse_partition_field(field)
        return fields

    @model_validator(mode="after")
    def _complete(self) -> TableConfig:
        if not self.id:
            object.__setattr__(self, "id", safe_name(self.table_name))
        if safe_name(self.id) != self.id:
            raise ValueError(f"id {self.id!r} is not a safe name; {safe_name(self.id)!r} is")
        if self.merge_key and self.no_key:
            raise ValueError("`merge_key` and `no_key` exclude each other")
        if self.active and not self.merge_key and not self.no_key:
            raise ValueError("an active table needs `merge_key`, or `no_key: append` or `multiset`")
        return self

    @property
    def schema_name(self) -> str:
        """The source schema."""
        return self.name.partition(".")[0]

    @property
    def table_name(self) -> str:
        """The source table, without its schema."""
        return self.name.partition(".")[2]

    @property
    def safe_key(self) -> tuple[str, ...]:
        """The merge key under the names its columns have in events and in base."""
        return tuple(safe_name(column) for column in self.merge_key)


def parse_partition_field(text: str) -> tuple[str, int | None, str]:
    """Return (transform, width, source column) of ``day(at)``, ``bucket(16, id)`` or a plain column.

    Raises ValueError with the transforms there are.
    """
    found = _TRANSFORM.match(text.strip())
    if found is None:
        raise ValueError(
            f"{text!r} is not a partition field; write column, day(column) or bucket(16, column)"
        )
    if found["plain"]:
        return "identity", None, found["plain"].strip()
    name, width = found["name"], found["width"]
    if name not in TRANSFORMS:
        raise ValueError(f"unknown transform {name!r} in {text!r}; there are {', '.join(TRANSFORMS)}")
    if (name in ("bucket", "truncate")) != (width is not None):
        raise ValueError(
            f"{text!r}: bucket and truncate take a width first, as in bucket(16, id); others take none"
        )
    return name, int(width) if width else None, found["column"]


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
        seen: dict[str, str] = {}
        for table in self.tables:
            if table.id in seen:
                raise ValueError(
                    f"tables {seen[table.id]!r} and {table.name!r} share id {table.id!r}; set another `id`"
                )
            seen[table.id] = table.name
        return self

    def raw_of(self, table: TableConfig) -> RawOptions:
        """Return the raw options that hold for ``table``."""
        return table.raw or self.raw


class SqlCatalog(Model):
    """An Iceberg catalog in an SQL database: SQLite in the warehouse folder by default."""

    type: Literal["sql"] = "sql"
    name: str = "cdc"
    uri: str | None = Field(None, description="SQLAlchemy URL; default sqlite in the warehouse folder")
    properties: dict[str, str] = {}


class GlueCatalog(Model):
    """The AWS Glue catalog."""

    type: Literal["glue"] = "glue"
    name: str = "cdc"
    properties: dict[str, str] = {}


class LakeConfig(Model):
    """The catalog and the warehouse that hold the base tables."""

    catalog: Annotated[SqlCatalog | GlueCatalog, Field(discriminator="type")] = SqlCatalog()
    warehouse: str = Field(".cdc/warehouse", description="folder or s3://bucket/prefix")
    namespace: str = Field("{source}", description="Iceberg namespace of a source's tables")


class EngineConfig(Model):
    """What executes a merge. One setting bounds its memory."""

    type: Literal["embedded", "spark", "glue", "emr-serverless", "emr-eks", "emr"] = "embedded"
    memory_limit: str = Field("2GB", pattern=r"^\d+(\.\d+)?\s*(MB|GB|MiB|GiB)$")
    threads: int = Field(2, ge=1)
    temp_directory: str | None = Field(None, description="where it spills; default beside the warehouse")


class Notifications(Model):
    """Where alerts go."""

    sns_topic_arn: str | None = None
    webhook_url: SecretStr | None = None


class PlatformConfig(Model):
    """The whole of ``cdc.yaml``."""

    version: Literal[1] = 1
    lake: LakeConfig = LakeConfig()
    engine: EngineConfig = EngineConfig()
    state: str = Field(".cdc/state.sqlite", description="SQLite file or dynamodb://<table>")
    notifications: Notifications = Notifications()
    sources: dict[str, SourceConfig] = {}

    #: The folder relative paths start from: that of cdc.yaml.
    base_folder: Path = Field(Path(), exclude=True)

    @field_validator("sources")
    @classmethod
    def _safe_source_names(cls, sources: dict[str, SourceConfig]) -> dict[str, SourceConfig]:
        for name in sources:
            if safe_name(name) != name:
                raise ValueError(f"source name {name!r} is not a safe name; {safe_name(name)!r} is")
        return sources

    def path_of(self, location: str) -> str:
        """Return ``location`` as a URL, or as an absolute path below the configuration's folder."""
        if "://" in location:
            return location
        return str((self.base_folder / location).resolve())
