"""When the rows of a LOAD file were transferred, as the file's own timestamp column says."""

from __future__ import annotations

import csv
import gzip
import io
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.config.model import RawOptions
from cdc_platform.errors import RawFileError
from cdc_platform.raw.files import RawFile
from cdc_platform.raw.store import RawStore

#: How much of a CSV file is looked at for its first record.
_HEAD_BYTES = 1 << 20


def transfer_time(store: RawStore, raw: RawOptions, file: RawFile, extension: str) -> datetime | None:
    """Return the earliest transfer time of a LOAD file's rows, from its footer or first record.

    None when the task writes no timestamp column, or the file cannot be read: reading it in earnest tells.
    """
    column = raw.timestamp_column
    if column is None:
        return None
    try:
        with store.open(file) as opened:
            if extension.startswith("parquet"):
                return _parsed(_from_parquet(opened, column))
            return _parsed(_from_csv(opened.read(_HEAD_BYTES), raw, column, zipped=extension.endswith("gz")))
    except (RawFileError, pa.ArrowException, OSError, EOFError, UnicodeDecodeError, csv.Error):
        return None


def _from_parquet(opened: pa.NativeFile, column: str) -> Any:
    parquet = pq.ParquetFile(opened)
    names = parquet.schema_arrow.names
    if column not in names or parquet.metadata.num_rows == 0:
        return None
    index = names.index(column)
    groups = [parquet.metadata.row_group(number) for number in range(parquet.metadata.num_row_groups)]
    statistics = [group.column(index).statistics for group in groups]
    told: list[str] = [str(one.min) for one in statistics if one is not None and one.has_min_max]
    if len(told) == len(groups):
        return min(told)
    return parquet.read_row_group(0, [column]).column(0)[0].as_py()


def _from_csv(head: bytes, raw: RawOptions, column: str, *, zipped: bool) -> str | None:
    if zipped:
        with gzip.GzipFile(fileobj=io.BytesIO(head)) as unzipped:
            head = unzipped.read1(_HEAD_BYTES)
    text = head.decode("utf-8", errors="replace").replace(raw.csv.row_delimiter, "\n")
    records = csv.reader(io.StringIO(text), delimiter=raw.csv.delimiter)
    first = next(records, [])
    if raw.csv.header:
        index = first.index(column) if column in first else len(first)
        first = next(records, [])
    else:
        index = int(raw.include_op_for_full_load)
    return first[index] if index < len(first) else None


def _parsed(text: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(text)).replace(tzinfo=UTC)
    except ValueError:
        return None
