"""Data files and position-delete files: Parquet written with Iceberg field ids and full metrics.

A stream of record batches, sorted by partition, becomes data files of about the table's target size, in
bounded memory: one file is open at a time.
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterable, Iterator
from typing import IO, Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pyiceberg.conversions import to_bytes
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import (
    data_file_statistics_from_parquet_metadata,
    parquet_path_to_id_mapping,
    schema_to_pyarrow,
)
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table.locations import LocationProvider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, StringType

from cdc_platform.lake.partition_paths import data_location, partition_key
from cdc_platform.lake.statistics import columns_with_statistics, statistics_plan

#: Columns that carry a row's partition values through the sort are named by this and the field's number.
PARTITION_PREFIX = "_cdc_partition_"

#: Uncompressed Arrow bytes per byte of Parquet, to aim at the target file size while writing.
_INFLATION = 4
_TARGET_FILE_SIZE = "write.target-file-size-bytes"
_DEFAULT_TARGET = 128 * 1024 * 1024
_ROW_GROUP = 131_072
_ROW_GROUP_BYTES = 64 * 1024 * 1024
_SAMPLE_ROWS = 16_384
_MOST_DISTINCT = 0.3

#: Of so few rows a delete file is written twice as quickly without zstd, whose workings cost more to set up.
_FEW_POSITIONS = 10_000

_PATH_ID = 2147483546
_POSITION_ID = 2147483545
_DELETE_SCHEMA = pa.schema(
    [
        # Written as the dictionary it is: text of each row would be most of the work. Readers see plain text.
        pa.field(
            "file_path",
            pa.dictionary(pa.int32(), pa.string()),
            nullable=False,
            metadata={"PARQUET:field_id": str(_PATH_ID)},
        ),
        pa.field("pos", pa.int64(), nullable=False, metadata={"PARQUET:field_id": str(_POSITION_ID)}),
    ]
)


class DataFileWriter:
    """Writes batches into data files of one table, a new file per partition and per target size."""

    def __init__(
        self,
        metadata: TableMetadata,
        io: FileIO,
        locations: LocationProvider,
        *,
        rows_per_file: int | None = None,
    ) -> None:
        self._rows_per_file = rows_per_file
        self._metadata = metadata
        self._io = io
        self._locations = locations
        self._spec = metadata.spec()
        self._schema = metadata.schema()
        self._arrow = schema_to_pyarrow(self._schema)
        self._statistics = statistics_plan(self._schema, metadata.properties)
        self._paths = parquet_path_to_id_mapping(self._schema)
        self._target = int(metadata.properties.get(_TARGET_FILE_SIZE, _DEFAULT_TARGET)) * _INFLATION
        self._uuid = uuid.uuid4()
        self._numbers = itertools.count()
        self._open: _OpenFile | None = None
        #: Every path this writer began, to remove when the commit certainly failed.
        self.paths: list[str] = []

    def write(self, batches: Iterable[pa.RecordBatch]) -> Iterator[DataFile]:
        """Write all batches; rows of one partition must be adjacent. Yield each finished file."""
        for batch in batches:
            for values, rows in self._runs(batch):
                if self._open is not None and (self._open.values != values or self._is_full(self._open)):
                    yield self._finish()
                if self._open is None:
                    self._open = self._begin(values)
                self._open.append(self._aligned(rows))
        if self._open is not None:
            yield self._finish()

    def _is_full(self, file: _OpenFile) -> bool:
        if self._rows_per_file is not None:
            return file.rows >= self._rows_per_file
        return file.arrow_bytes >= self._target

    def _runs(self, batch: pa.RecordBatch) -> Iterator[tuple[tuple[Any, ...], pa.Table]]:
        """Cut a batch where the partition changes."""
        table = pa.Table.from_batches([batch])
        names = [name for name in table.column_names if name.startswith(PARTITION_PREFIX)]
        rows = table.drop_columns(names) if names else table
        start = 0
        for end in [*_boundaries(table.select(names)), len(table)] if len(table) else []:
            values = tuple(table[name][start].as_py() for name in names)
            yield values, rows.slice(start, end - start)
            start = end

    def _aligned(self, rows: pa.Table) -> pa.Table:
        """Return ``rows`` with the table's columns in its order, those not written being NULL."""
        columns = [
            rows.column(field.name).cast(field.type)
            if field.name in rows.column_names
            else pa.nulls(len(rows), field.type)
            for field in self._arrow
        ]
        return pa.Table.from_arrays(columns, schema=self._arrow)

    def _begin(self, values: tuple[Any, ...]) -> _OpenFile:
        key = partition_key(self._spec, self._schema, values) if self._spec.fields else None
        name = f"{next(self._numbers):05d}-{self._uuid}.parquet"
        path = data_location(self._locations, name, key)
        self.paths.append(path)
        return _OpenFile(self._io, path, self._arrow, values, key.partition if key else Record())

    def _finish(self) -> DataFile:
        assert self._open is not None
        file, self._open = self._open, None
        footer, size = file.close()
        statistics = data_file_statistics_from_parquet_metadata(footer, self._statistics, self._paths)
        data_file = DataFile.from_args(
            content=DataFileContent.DATA,
            file_path=file.path,
            file_format=FileFormat.PARQUET,
            partition=file.partition,
            file_size_in_bytes=size,
            **statistics.to_serialized_dict(),
        )
        data_file.spec_id = self._spec.spec_id
        return data_file


class _OpenFile:
    """A Parquet file being written."""

    def __init__(
        self, io: FileIO, path: str, schema: pa.Schema, values: tuple[Any, ...], partition: Record
    ) -> None:
        self.path = path
        self.values = values
        self.partition = partition
        self.arrow_bytes = 0
        self.rows = 0
        self._schema = schema
        # pyiceberg's streams have no common base with Python's; pyarrow only needs them to write and close.
        self._stream = cast(IO[Any], io.new_output(path).create(overwrite=True))
        self._writer: pq.ParquetWriter | None = None
        self._waiting: list[pa.Table] = []
        self._waiting_bytes = 0

    def append(self, rows: pa.Table) -> None:
        self._waiting.append(rows)
        size = rows.nbytes
        self.rows += len(rows)
        self.arrow_bytes += size
        self._waiting_bytes += size
        waiting = sum(map(len, self._waiting))
        if waiting >= _ROW_GROUP or self._waiting_bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def close(self) -> tuple[pq.FileMetaData, int]:
        self._flush()
        assert self._writer is not None
        self._writer.close()
        size = self._stream.tell()
        self._stream.close()
        return self._writer.writer.metadata, size

    def _flush(self) -> None:
        """Write what waits as one row group."""
        rows = pa.concat_tables(self._waiting) if self._waiting else self._schema.empty_table()
        if self._writer is None:
            self._writer = pq.ParquetWriter(
                self._stream,
                self._schema,
                compression="zstd",
                store_decimal_as_integer=True,
                use_dictionary=cast(Any, _repetitive_columns(rows)),
                write_statistics=columns_with_statistics(self._schema),
            )
        if len(rows):
            self._writer.write_table(rows, row_group_size=len(rows))
        self._waiting, self._waiting_bytes = [], 0


def _repetitive_columns(rows: pa.Table) -> list[str]:
    """Return the columns worth a dictionary: building one of a unique column costs most of its writing."""
    sample = rows.slice(0, _SAMPLE_ROWS)
    return [
        name
        for name in sample.column_names
        if pc.count_distinct(sample.column(name)).as_py() <= len(sample) * _MOST_DISTINCT
    ]


def _boundaries(values: pa.Table) -> list[int]:
    """Return the row numbers at which any column differs from the row before, NULLs being alike."""
    found: set[int] = set()
    for column in values.columns:
        whole = column.combine_chunks()
        before, after = whole.slice(0, max(len(whole) - 1, 0)), whole.slice(1)
        unequal = pc.fill_null(pc.not_equal(before, after), pa.scalar(False))
        one_null = pc.not_equal(pc.is_null(before), pc.is_null(after))
        differs: Any = pc.or_(cast(Any, unequal), cast(Any, one_null))
        changed: list[Any] = pc.indices_nonzero(differs).to_pylist()
        found.update(index + 1 for index in changed)
    return sorted(found)


def write_position_deletes(data_file: DataFile, positions: pa.Array[Any], io: FileIO) -> DataFile:
    """Write the delete file of one data file and return its entry; ``positions`` ascend, without repeats."""
    path = f"{data_file.file_path.rpartition('/')[0]}/{uuid.uuid4()}-deletes.parquet"
    rows = len(positions)
    file_paths = pa.DictionaryArray.from_arrays(
        pa.repeat(pa.scalar(0, pa.int32()), rows), [data_file.file_path]
    )
    table = pa.Table.from_arrays([file_paths, positions], schema=_DELETE_SCHEMA)
    with io.new_output(path).create(overwrite=True) as stream:
        pq.write_table(
            table,
            cast(IO[Any], stream),
            compression="zstd" if rows > _FEW_POSITIONS else "snappy",
            store_schema=False,
            use_dictionary=cast(Any, ["file_path"]),
        )
        size = stream.tell()
    bound = to_bytes(StringType(), data_file.file_path)
    first, last = positions[0].as_py(), positions[-1].as_py()
    delete_file = DataFile.from_args(
        content=DataFileContent.POSITION_DELETES,
        file_path=path,
        file_format=FileFormat.PARQUET,
        partition=data_file.partition,
        record_count=rows,
        file_size_in_bytes=size,
        value_counts={_PATH_ID: rows, _POSITION_ID: rows},
        null_value_counts={_PATH_ID: 0, _POSITION_ID: 0},
        lower_bounds={_PATH_ID: bound, _POSITION_ID: to_bytes(LongType(), first)},
        upper_bounds={_PATH_ID: bound, _POSITION_ID: to_bytes(LongType(), last)},
    )
    delete_file.spec_id = data_file.spec_id
    return delete_file
