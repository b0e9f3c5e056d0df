"""The settings of an endpoint object: defaults, extra connection attributes, what does not go together."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, cast

from cdc_platform.local.api_errors import invalid_combination, invalid_value
from cdc_platform.local.api_model import service_model

#: Engine names of the API, and the settings member that belongs to each.
SETTINGS_OF_ENGINE: dict[str, str] = {
    "postgres": "PostgreSQLSettings",
    "aurora-postgresql": "PostgreSQLSettings",
    "mysql": "MySQLSettings",
    "mariadb": "MySQLSettings",
    "aurora": "MySQLSettings",
    "oracle": "OracleSettings",
    "sqlserver": "MicrosoftSQLServerSettings",
    "azuredb": "MicrosoftSQLServerSettings",
    "babelfish": "MicrosoftSQLServerSettings",
    "sybase": "SybaseSettings",
    "db2": "IBMDb2Settings",
    "db2-zos": "IBMDb2Settings",
    "mongodb": "MongoDbSettings",
    "docdb": "DocDbSettings",
    "s3": "S3Settings",
    "dynamodb": "DynamoDbSettings",
    "kinesis": "KinesisSettings",
    "kafka": "KafkaSettings",
    "elasticsearch": "ElasticsearchSettings",
    "opensearch": "ElasticsearchSettings",
    "neptune": "NeptuneSettings",
    "redshift": "RedshiftSettings",
    "redis": "RedisSettings",
}

#: What S3Settings are when not given, as the API's own text says.
S3_DEFAULTS: dict[str, Any] = {
    "CsvRowDelimiter": "\\n",
    "CsvDelimiter": ",",
    "BucketFolder": "",
    "CompressionType": "none",
    "EncryptionMode": "sse-s3",
    "DataFormat": "csv",
    "EncodingType": "rle-dictionary",
    "DictPageSizeLimit": 1_048_576,
    "RowGroupLength": 10_000,
    "DataPageSize": 1_048_576,
    "ParquetVersion": "parquet-1-0",
    "EnableStatistics": True,
    "IncludeOpForFullLoad": False,
    "CdcInsertsOnly": False,
    "CdcInsertsAndUpdates": False,
    "TimestampColumnName": "",
    "ParquetTimestampInMillisecond": False,
    "DatePartitionEnabled": False,
    "DatePartitionSequence": "YYYYMMDD",
    "DatePartitionDelimiter": "SLASH",
    "UseCsvNoSupValue": False,
    "PreserveTransactions": False,
    "UseTaskStartTimeForFullLoadTimestamp": False,
    "CannedAclForObjects": "none",
    "AddColumnName": False,
    "CdcMaxBatchInterval": 60,
    "CdcMinFileSize": 32_000,
    "CsvNullValue": "NULL",
    "IgnoreHeaderRows": 0,
    "MaxFileSize": 1_048_576,
    "Rfc4180": True,
    "AddTrailingPaddingCharacter": False,
    "GlueCatalogGeneration": False,
}

_EXCLUDING = (
    ("CdcInsertsOnly", "CdcInsertsAndUpdates"),
    ("PreserveTransactions", "AddColumnName"),
    ("PreserveTransactions", "DatePartitionEnabled"),
    ("PreserveTransactions", "GlueCatalogGeneration"),
)
_ESCAPES = {"\\n": "\n", "\\r": "\r", "\\t": "\t"}
_YES, _NO = ("true", "y", "1"), ("false", "n", "0")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")


def checked_settings(engine: str, settings: Mapping[str, Any], attributes: str | None) -> dict[str, Any]:
    """Return the settings of an endpoint of ``engine`` with its extra connection attributes folded in.

    Raises ApiError when a value is not one DMS takes.
    """
    merged = dict(settings) | _from_attributes(engine, attributes)
    if engine != "s3":
        return merged
    complete = S3_DEFAULTS | merged
    _check_s3(complete)
    return complete


def _check_s3(settings: Mapping[str, Any]) -> None:
    for needed in ("BucketName", "ServiceAccessRoleArn"):
        if not settings.get(needed):
            raise invalid_value(f"S3Settings.{needed} is required for an S3 endpoint")
    if not _BUCKET.fullmatch(settings["BucketName"]):
        raise invalid_value(f"S3Settings.BucketName {settings['BucketName']!r} is not a bucket's name")
    for name in ("BucketFolder", "CdcPath"):
        if ".." in settings.get(name, "").split("/"):
            raise invalid_value(f"S3Settings.{name} must not climb out of the bucket")
    for one, other in _EXCLUDING:
        if settings[one] and settings[other]:
            raise invalid_combination(f"S3Settings.{one} and S3Settings.{other} exclude each other")
    if settings["PreserveTransactions"] and not settings.get("CdcPath"):
        raise invalid_combination("S3Settings.PreserveTransactions needs S3Settings.CdcPath")
    if not 1 <= settings["MaxFileSize"] <= 1_048_576:
        raise invalid_value("S3Settings.MaxFileSize must be from 1 to 1048576 KB")
    for name in ("CdcMaxBatchInterval", "CdcMinFileSize", "RowGroupLength", "DataPageSize"):
        if settings[name] < 1:
            raise invalid_value(f"S3Settings.{name} must be 1 or more")


def _from_attributes(engine: str, attributes: str | None) -> dict[str, Any]:
    """Read ``name=value;…``; names are those of the settings member, in any case."""
    if not attributes:
        return {}
    shape = service_model().shape_for(SETTINGS_OF_ENGINE[engine])
    members = {name.lower(): (name, member) for name, member in cast("Any", shape).members.items()}
    found: dict[str, Any] = {}
    for pair in filter(None, attributes.split(";")):
        name, equals, value = pair.partition("=")
        if not equals or name.strip().lower() not in members:
            raise invalid_value(f"The extra connection attribute {name.strip()!r} is not known for {engine}")
        member_name, member = members[name.strip().lower()]
        found[member_name] = _typed(member_name, member, value.strip())
    return found


def _typed(name: str, member: Any, value: str) -> Any:
    if member.type_name == "boolean":
        if value.lower() not in _YES + _NO:
            raise invalid_value(f"The extra connection attribute {name} is {value!r}; use true or false")
        return value.lower() in _YES
    if member.type_name == "integer":
        if not value.isdecimal():
            raise invalid_value(f"The extra connection attribute {name} is {value!r}; use a whole number")
        return int(value)
    choices = getattr(member, "enum", [])
    if choices:
        folded = {choice.lower(): choice for choice in choices}
        chosen = folded.get(value.lower().replace("_", "-"))
        if chosen is None:
            raise invalid_value(
                f"The extra connection attribute {name} is {value!r}; use {', '.join(choices)}"
            )
        return chosen
    return value


def unescaped(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return S3 settings with the delimiters as the characters they stand for."""
    return {
        name: _ESCAPES.get(value, value) if name in ("CsvRowDelimiter", "CsvDelimiter") else value
        for name, value in settings.items()
    }
