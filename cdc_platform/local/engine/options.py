"""What the S3 target endpoint and the task settings ask for, checked, under DMS's own defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cdc_platform.errors import LocalServiceError

_ESCAPES = {"\\n": "\n", "\\r\\n": "\r\n", "\\r": "\r", "\\t": "\t"}
_DATE_SEQUENCES = ("YYYYMMDD", "YYYYMMDDHH", "YYYYMM", "MMYYYYDD", "DDMMYYYY")
_DELIMITERS = {"SLASH": "/", "DASH": "-", "UNDERSCORE": "_", "NONE": ""}


@dataclass(frozen=True, slots=True)
class FileOptions:
    """The S3Settings that shape files."""

    bucket: str
    folder: str
    is_parquet: bool
    is_compressed: bool
    timestamp_column: str | None
    load_timestamp_is_task_start: bool
    has_op_on_load: bool
    inserts_only: bool
    inserts_and_updates: bool
    parquet_version: str
    parquet_dictionary: bool
    parquet_statistics: bool
    parquet_milliseconds: bool
    row_group_rows: int
    page_bytes: int
    dictionary_bytes: int
    csv_delimiter: str
    csv_row_delimiter: str
    csv_null: str
    csv_header: bool
    csv_quotes: bool
    csv_no_sup_value: str | None
    max_load_file_bytes: int
    max_batch_seconds: float
    min_change_file_bytes: int
    date_sequence: str | None
    date_delimiter: str
    time_zone: ZoneInfo | None

    @property
    def has_op_on_changes(self) -> bool:
        """Whether change files have the Op column: insert-only tasks without IncludeOpForFullLoad do not."""
        return self.has_op_on_load or not self.inserts_only

    @property
    def ops(self) -> frozenset[str]:
        """The ops that reach the files."""
        return frozenset("I" if self.inserts_only else "IU" if self.inserts_and_updates else "IUD")

    @property
    def extension(self) -> str:
        """The end of every file name."""
        if self.is_parquet:
            return "parquet"
        return "csv.gz" if self.is_compressed else "csv"


@dataclass(frozen=True, slots=True)
class TaskOptions:
    """The task settings the engine acts on."""

    prepare_mode: str
    stop_after_load: bool
    stop_after_cached: bool
    lob_limit: int | None
    cuts_lobs: bool
    stops_on_table_error: bool
    boolean_as_boolean: bool


def parse_file_options(settings: Mapping[str, Any]) -> FileOptions:
    """Check S3Settings. Raises LocalServiceError for a value or a feature this engine does not write."""
    _refuse_unsupported(settings)
    given = {name: value for name, value in settings.items() if value is not None}
    encoding = _choice(given, "EncodingType", "rle-dictionary", ("plain", "plain-dictionary"))
    version = _choice(given, "ParquetVersion", "parquet-1-0", ("parquet-2-0",))
    return FileOptions(
        bucket=str(given["BucketName"]),
        folder=str(given.get("BucketFolder") or "").strip("/"),
        is_parquet=_choice(given, "DataFormat", "csv", ("parquet",)) == "parquet",
        is_compressed=_choice(given, "CompressionType", "none", ("gzip",)) == "gzip",
        timestamp_column=str(given.get("TimestampColumnName") or "").strip() or None,
        load_timestamp_is_task_start=_flag(given, "UseTaskStartTimeForFullLoadTimestamp"),
        has_op_on_load=_flag(given, "IncludeOpForFullLoad"),
        inserts_only=_flag(given, "CdcInsertsOnly"),
        inserts_and_updates=_flag(given, "CdcInsertsAndUpdates"),
        parquet_version="1.0" if version == "parquet-1-0" else "2.6",
        parquet_dictionary=encoding != "plain",
        parquet_statistics=_flag(given, "EnableStatistics", default=True),
        parquet_milliseconds=_flag(given, "ParquetTimestampInMillisecond"),
        row_group_rows=_number(given, "RowGroupLength", 10_000),
        page_bytes=_number(given, "DataPageSize", 1024 * 1024),
        dictionary_bytes=_number(given, "DictPageSizeLimit", 1024 * 1024),
        csv_delimiter=_unescaped(given, "CsvDelimiter", ","),
        csv_row_delimiter=_unescaped(given, "CsvRowDelimiter", "\n"),
        csv_null=str(given.get("CsvNullValue", "NULL")),
        csv_header=_flag(given, "AddColumnName"),
        csv_quotes=_flag(given, "Rfc4180", default=True),
        csv_no_sup_value=given.get("CsvNoSupValue") if _flag(given, "UseCsvNoSupValue") else None,
        max_load_file_bytes=1024 * _number(given, "MaxFileSize", 1024 * 1024),
        max_batch_seconds=_number(given, "CdcMaxBatchInterval", 60, least=0),
        min_change_file_bytes=1024 * _number(given, "CdcMinFileSize", 32_000),
        date_sequence=_date_sequence(given),
        date_delimiter=_DELIMITERS[
            _choice(given, "DatePartitionDelimiter", "SLASH", _DELIMITERS, upper=True)
        ],
        time_zone=_time_zone(given),
    )


def parse_task_options(settings: Mapping[str, Any], source: Mapping[str, Any]) -> TaskOptions:
    """Check ReplicationTaskSettings and the source endpoint's PostgreSQLSettings."""
    load = settings.get("FullLoadSettings") or {}
    metadata = settings.get("TargetMetadata") or {}
    if _flag(metadata, "FullLobMode"):
        raise _refusal("FullLobMode", True, "S3 targets take limited LOB mode only")
    limit = _number(metadata, "LobMaxSize", 32) * 1024 if _flag(metadata, "LimitedSizeLobMode") else None
    modes = ("TRUNCATE_BEFORE_LOAD", "DROP_AND_CREATE")
    errors = settings.get("ErrorBehavior") or {}
    others = ("SUSPEND_TABLE", "STOP_TASK")
    truncation = _choice(errors, "DataTruncationErrorPolicy", "LOG_ERROR", others, upper=True)
    stopping = (str(errors.get(name)).upper() for name in ("DataErrorPolicy", "TableErrorPolicy"))
    return TaskOptions(
        prepare_mode=_choice(load, "TargetTablePrepMode", "DO_NOTHING", modes, upper=True),
        stop_after_load=_flag(load, "StopTaskCachedChangesNotApplied"),
        stop_after_cached=_flag(load, "StopTaskCachedChangesApplied"),
        lob_limit=limit,
        cuts_lobs=truncation == "LOG_ERROR",
        stops_on_table_error=truncation == "STOP_TASK" or "STOP_TASK" in stopping,
        boolean_as_boolean=_flag(source.get("PostgreSQLSettings") or {}, "MapBooleanAsBoolean"),
    )


def _refuse_unsupported(settings: Mapping[str, Any]) -> None:
    if not settings.get("BucketName"):
        raise _refusal("BucketName", None, "name the target bucket")
    if _flag(settings, "CdcInsertsOnly") and _flag(settings, "CdcInsertsAndUpdates"):
        raise _refusal("CdcInsertsOnly", True, "set it or CdcInsertsAndUpdates, not both")
    for name in ("PreserveTransactions", "GlueCatalogGeneration", "AddTrailingPaddingCharacter"):
        if _flag(settings, name):
            raise _refusal(name, True, "this engine does not do it; leave it out")
    if settings.get("CdcPath"):
        raise _refusal("CdcPath", settings["CdcPath"], "this engine does not do it; leave it out")


def _date_sequence(given: Mapping[str, Any]) -> str | None:
    if not _flag(given, "DatePartitionEnabled"):
        return None
    return _choice(given, "DatePartitionSequence", "YYYYMMDD", _DATE_SEQUENCES, upper=True)


def _time_zone(given: Mapping[str, Any]) -> ZoneInfo | None:
    name = given.get("DatePartitionTimezone")
    if not name:
        return None
    try:
        return ZoneInfo(str(name))
    except (ZoneInfoNotFoundError, ValueError) as fault:
        raise _refusal("DatePartitionTimezone", name, "give an Area/Location name") from fault


def _flag(given: Mapping[str, Any], name: str, *, default: bool = False) -> bool:
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool):
        return value
    if str(value).lower() in ("true", "false"):
        return str(value).lower() == "true"
    raise _refusal(name, value, "give true or false")


def _number(given: Mapping[str, Any], name: str, default: int, *, least: int = 1) -> int:
    value = given.get(name)
    try:
        number = default if value is None else int(value)
    except (TypeError, ValueError) as fault:
        raise _refusal(name, value, "give a whole number") from fault
    if number < least:
        raise _refusal(name, value, f"give a number from {least}")
    return number


def _choice(given: Mapping[str, Any], name: str, default: str, others: Any, *, upper: bool = False) -> str:
    text = str(given.get(name) or default)
    value = text.upper() if upper else text.lower()
    known = sorted({default, *others})
    if value not in known:
        raise _refusal(name, text, f"use one of {', '.join(known)}")
    return value


def _unescaped(given: Mapping[str, Any], name: str, default: str) -> str:
    text = str(given.get(name) or default)
    return _ESCAPES.get(text, text)


def _refusal(name: str, value: object, mend: str) -> LocalServiceError:
    return LocalServiceError(f"{name} is {value!r}", where="endpoint and task settings", mend=mend)
