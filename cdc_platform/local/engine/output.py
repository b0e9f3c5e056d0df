"""Files being written: under a dot name beside their place, so that nobody sees half of one."""

from __future__ import annotations

import gzip
import os
import secrets
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.local.engine.csv_text import csv_header, csv_rows
from cdc_platform.local.engine.options import FileOptions
from cdc_platform.local.engine.shape import FileBatch

PARTIAL = ".partial"


class _Writer(Protocol):
    def write(self, batch: FileBatch) -> None: ...

    def close(self) -> None: ...


class OutputFile:
    """One file under way. ``text_bytes`` counts what was put in before encoding, as DMS's limits do."""

    def __init__(self, folder: Path, schema: pa.Schema, options: FileOptions) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f".{secrets.token_hex(8)}{PARTIAL}"
        self.rows = 0
        self.text_bytes = 0
        make = _ParquetWriter if options.is_parquet else _CsvWriter
        self._writer: _Writer = make(self.path, schema, options)

    def write(self, batch: FileBatch, text_bytes: int) -> None:
        """Append rows."""
        self._writer.write(batch)
        self.rows += batch.rows.num_rows
        self.text_bytes += text_bytes

    def finish(self) -> Path:
        """Complete the file on disk, still under its dot name."""
        self._writer.close()
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        return self.path

    def discard(self) -> None:
        """Give the file up."""
        self._writer.close()
        self.path.unlink(missing_ok=True)


class _ParquetWriter:
    def __init__(self, path: Path, schema: pa.Schema, options: FileOptions) -> None:
        self._group_rows = options.row_group_rows
        settings: dict[str, Any] = {
            "version": options.parquet_version,
            "use_dictionary": options.parquet_dictionary,
            "write_statistics": options.parquet_statistics,
            "compression": "gzip" if options.is_compressed else "none",
            "data_page_size": options.page_bytes,
            "dictionary_pagesize_limit": options.dictionary_bytes,
            # what DMS writes carries no Arrow schema; readers see Parquet's own types
            "store_schema": False,
        }
        if options.parquet_milliseconds:
            settings |= {"coerce_timestamps": "ms", "allow_truncated_timestamps": True}
        self._writer = pq.ParquetWriter(path, schema, **settings)

    def write(self, batch: FileBatch) -> None:
        self._writer.write_table(pa.Table.from_batches([batch.rows]), row_group_size=self._group_rows)

    def close(self) -> None:
        self._writer.close()


class _CsvWriter:
    def __init__(self, path: Path, schema: pa.Schema, options: FileOptions) -> None:
        self._options = options
        self._file: Any = gzip.GzipFile(path, "wb") if options.is_compressed else path.open("wb")
        if options.csv_header:
            self._file.write(csv_header(schema, options))

    def write(self, batch: FileBatch) -> None:
        self._file.write(csv_rows(batch, self._options))

    def close(self) -> None:
        self._file.close()
