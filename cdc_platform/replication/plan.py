"""Which DMS objects replicate a source: pure, from ``cdc.yaml`` alone.

The S3 settings are pinned to what this platform reads best (change sequence, stream position, before images
of keys, load rows stamped with the task's start), and to what loses nothing: the target's files are never
dropped or truncated by DMS, and a table that cannot be written is suspended rather than cut short.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cdc_platform.errors import ConfigError
from cdc_platform.replication.client import source_config
from cdc_platform.replication.mappings import table_mappings
from cdc_platform.replication.source_endpoint import SourceConnection, source_connection

if TYPE_CHECKING:
    from cdc_platform.config.model import PlatformConfig, RawOptions, SourceConfig

#: Stands where AWS wants a role and a stand-in on this machine wants none.
_NO_ROLE = "arn:aws:iam::000000000000:role/not-needed-here"

#: DMS keeps LobMaxSize × rows of a batch in memory; larger values suspend the table (never cut silently).
_LOB_MAX_KB = 1024


@dataclass(frozen=True, slots=True)
class EndpointPlan:
    """A DMS endpoint: the members CreateEndpoint takes, the password apart."""

    identifier: str
    kind: str
    engine: str
    members: Mapping[str, Any]
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TaskPlan:
    """A replication task: table mappings and settings as the API's own JSON documents."""

    identifier: str
    migration_type: str
    table_mappings: Mapping[str, Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ReplicationPlan:
    """Everything DMS needs to replicate one source. Printing it shows no password."""

    source: str
    instance_identifier: str
    instance_class: str
    origin: EndpointPlan
    target: EndpointPlan
    task: TaskPlan

    def as_json(self) -> str:
        """Return the plan as a document to read, without secrets."""
        ends = {
            name: {"EndpointIdentifier": end.identifier, "EngineName": end.engine, **end.members}
            | ({"Password": "***"} if end.password else {})
            for name, end in (("source", self.origin), ("target", self.target))
        }
        document = {
            "replication instance": {
                "ReplicationInstanceIdentifier": self.instance_identifier,
                "ReplicationInstanceClass": self.instance_class,
            },
            "endpoints": ends,
            "task": {
                "ReplicationTaskIdentifier": self.task.identifier,
                "MigrationType": self.task.migration_type,
                "TableMappings": self.task.table_mappings,
                "ReplicationTaskSettings": self.task.settings,
            },
        }
        return json.dumps(document, indent=2)


def plan_replication(config: PlatformConfig, source: str, *, raw_root: Path | None = None) -> ReplicationPlan:
    """Plan the DMS objects of a source.

    ``raw_root`` is where a local DMS keeps its buckets (see :func:`~cdc_platform.replication.raw_root_of`);
    without it, a folder location is taken as a bucket of its parent folder.
    Raises ConfigError when ``cdc.yaml`` does not say enough.
    """
    chosen = source_config(config, source)
    _check_one_target(source, chosen)
    connection = source_connection(source, chosen)
    stem = dms_identifier(source)
    return ReplicationPlan(
        source=source,
        instance_identifier=chosen.dms.instance or f"{stem}-cdc",
        instance_class=chosen.dms.instance_class,
        origin=_origin(f"{stem}-source", connection),
        target=_target(f"{stem}-raw", config, source, chosen, raw_root),
        task=TaskPlan(
            identifier=task_identifier(config, source),
            migration_type=chosen.dms.migration_type,
            table_mappings=table_mappings(source, chosen),
            settings=_TASK_SETTINGS,
        ),
    )


def task_identifier(config: PlatformConfig, source: str) -> str:
    """Return the identifier of the task that replicates a source."""
    return source_config(config, source).dms.task or f"{dms_identifier(source)}-cdc"


def dms_identifier(name: str) -> str:
    """Return ``name`` as DMS allows identifiers: letters, digits and single hyphens, a letter first.

    >>> dms_identifier("sales_eu"), dms_identifier("_2024")
    ('sales-eu', 's-2024')
    """
    text = re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")
    return text if text[:1].isalpha() else f"s-{text}"


def _check_one_target(source: str, chosen: SourceConfig) -> None:
    for index, table in enumerate(chosen.tables):
        other = table.raw
        if table.active and other is not None and _target_part(other) != _target_part(chosen.raw):
            path = f"sources.{source}.tables[{index}].raw"
            raise ConfigError(
                "cdc.yaml",
                [
                    (
                        path,
                        "differs from the source's raw options",
                        "one task writes one target; use a source each",
                    )
                ],
            )


def _target_part(raw: RawOptions) -> dict[str, Any]:
    columns = {"change_sequence_column", "stream_position_column", "before_image_prefix"}
    return raw.model_dump(exclude=columns)


def _origin(identifier: str, connection: SourceConnection) -> EndpointPlan:
    members: dict[str, Any] = {
        "ServerName": connection.host,
        "Port": connection.port,
        "DatabaseName": connection.database,
        "Username": connection.user,
        "SslMode": connection.ssl_mode,
    }
    return EndpointPlan(identifier, "source", connection.engine, members, connection.password)


def _target(
    identifier: str, config: PlatformConfig, source: str, chosen: SourceConfig, raw_root: Path | None
) -> EndpointPlan:
    bucket, folder = _bucket_and_folder(config, source, chosen, raw_root)
    settings = {
        "BucketName": bucket,
        "BucketFolder": folder,
        "ServiceAccessRoleArn": _role(source, chosen),
        "CdcMaxBatchInterval": chosen.dms.max_batch_interval_seconds,
        "CdcMinFileSize": chosen.dms.min_file_size_kb,
        **_format_settings(chosen.raw),
    }
    return EndpointPlan(identifier, "target", "s3", {"S3Settings": settings})


def _role(source: str, chosen: SourceConfig) -> str:
    given = chosen.dms.service_access_role_arn
    if given is None and chosen.raw.location.startswith("s3://") and chosen.dms.endpoint_url is None:
        path = f"sources.{source}.dms.service_access_role_arn"
        raise ConfigError("cdc.yaml", [(path, "is missing", "name the role DMS writes the bucket with")])
    return given or _NO_ROLE


def _bucket_and_folder(
    config: PlatformConfig, source: str, chosen: SourceConfig, raw_root: Path | None
) -> tuple[str, str]:
    location = config.path_of(chosen.raw.location)
    path = f"sources.{source}.raw.location"
    if "://" in location:
        parts = urlsplit(location)
        if parts.scheme != "s3":
            raise ConfigError("cdc.yaml", [(path, f"{location!r} is not on S3", "give s3://bucket/prefix")])
        return parts.netloc, parts.path.strip("/")
    folder = Path(location).resolve()
    root = (raw_root or folder.parent).resolve()
    if root == folder or root not in folder.parents:
        mend = f"give a folder below {root}, where the local DMS writes"
        raise ConfigError("cdc.yaml", [(path, f"{folder} is not where the DMS writes", mend)])
    bucket, *rest = folder.relative_to(root).parts
    return bucket, "/".join(rest)


def _format_settings(raw: RawOptions) -> dict[str, Any]:
    settings: dict[str, Any] = {
        "DataFormat": raw.format.value,
        "TimestampColumnName": raw.timestamp_column or "",
        "IncludeOpForFullLoad": raw.include_op_for_full_load,
        "CdcInsertsOnly": raw.cdc_inserts_only,
        "UseTaskStartTimeForFullLoadTimestamp": True,
        "ParquetTimestampInMillisecond": False,
        "DatePartitionEnabled": raw.date_partition_delimiter is not None,
    }
    if raw.date_partition_delimiter is not None:
        settings["DatePartitionSequence"] = "YYYYMMDD"
        settings["DatePartitionDelimiter"] = raw.date_partition_delimiter.upper()
    if raw.format.value == "csv":
        settings |= {
            "CsvDelimiter": raw.csv.delimiter,
            "CsvRowDelimiter": raw.csv.row_delimiter,
            "CsvNullValue": raw.csv.null_value,
            "AddColumnName": raw.csv.header,
            "Rfc4180": raw.csv.rfc4180,
            "UseCsvNoSupValue": raw.csv.no_sup_value is not None,
        }
        if raw.csv.no_sup_value is not None:
            settings["CsvNoSupValue"] = raw.csv.no_sup_value
    return settings


_TASK_SETTINGS: dict[str, Any] = {
    "TargetMetadata": {
        "SupportLobs": True,
        "FullLobMode": False,
        "LimitedSizeLobMode": True,
        "LobMaxSize": _LOB_MAX_KB,
        "BatchApplyEnabled": False,
    },
    "FullLoadSettings": {
        "TargetTablePrepMode": "DO_NOTHING",
        "StopTaskCachedChangesApplied": False,
        "StopTaskCachedChangesNotApplied": False,
    },
    "ChangeProcessingDdlHandlingPolicy": {
        "HandleSourceTableDropped": False,
        "HandleSourceTableTruncated": False,
        "HandleSourceTableAltered": True,
    },
    "ErrorBehavior": {
        "DataErrorPolicy": "SUSPEND_TABLE",
        "DataTruncationErrorPolicy": "SUSPEND_TABLE",
        "TableErrorPolicy": "SUSPEND_TABLE",
        "FailOnNoTablesCaptured": True,
        "FailOnTransactionConsistencyBreached": True,
    },
    "Logging": {"EnableLogging": True},
}
