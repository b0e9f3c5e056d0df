"""Where a source's raw files are, how they are written, and how they are cut into windows."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Literal

from pydantic import Field

from cdc_platform.config.base import Model


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


_KEYS = {"daily": re.compile(r"\d{4}-\d\d-\d\d"), "hourly": re.compile(r"\d{4}-\d\d-\d\d-\d\d:\d\d")}


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

    def is_key(self, key: str) -> bool:
        """Whether ``key`` is one of a window of this length.

        >>> options = WindowOptions(every="hourly", start=date(2026, 1, 1))
        >>> options.is_key("2026-01-31-13:00"), options.is_key("2026-01-31")
        (True, False)
        """
        return _KEYS[self.every].fullmatch(key) is not None

    def bounds(self, key: str) -> tuple[datetime, datetime]:
        """Return the half-open interval of window ``key``."""
        begin = datetime.strptime(key, self.key_format).replace(tzinfo=UTC)
        return begin, begin + self.length
