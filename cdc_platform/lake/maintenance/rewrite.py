"""Writing the live rows of a group of files anew, sorted, and proving that they are the same rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table

from cdc_platform.errors import MergeError
from cdc_platform.lake.base_files import BaseFile, target_size
from cdc_platform.lake.data_files import PARTITION_PREFIX, DataFileWriter, write_position_deletes
from cdc_platform.lake.live_rows import FILE, POS, LiveFiles, deleted_places_sql
from cdc_platform.lake.maintenance.compaction_plan import Group, sort_columns
from cdc_platform.lake.maintenance.proof import Digest, digest, require_same
from cdc_platform.lake.partitions import partition_expressions
from cdc_platform.naming import quoted

_BATCH_ROWS = 65_536


@dataclass(slots=True)
class Rewrite:
    """The files a group became; ``places`` says where each of their rows was."""

    group: Group
    files: tuple[DataFile, ...]
    proof: Digest
    #: (:data:`FILE`, :data:`POS`) of each row written, in the order of the files and rows.
    places: pa.Table
    #: Every path written for it, to remove when the commit certainly failed.
    paths: list[str] = field(default_factory=list)

    def deletes_of(
        self, con: duckdb.DuckDBPyConnection, now: Sequence[BaseFile], table: Table
    ) -> list[DataFile]:
        """Write delete files for the rows deleted since the group was read; ``now`` are its files today.

        A row is looked up by its old place. Raises MergeError when one is not among those written.
        """
        con.register("moved", self.places)
        con.execute(
            f"CREATE OR REPLACE TEMP TABLE gone_since AS SELECT DISTINCT * FROM ({deleted_places_sql(now)}) "
            f"ANTI JOIN ({deleted_places_sql(self.group.files)}) USING ({FILE}, {POS})"
        )
        query = f"SELECT m.number FROM moved m SEMI JOIN gone_since USING ({FILE}, {POS}) ORDER BY m.number"
        numbers = con.execute(query).to_arrow_table().column(0).combine_chunks()
        wanted = con.execute("SELECT count(*) FROM gone_since").fetchone()
        con.unregister("moved")
        if wanted is None or wanted[0] != len(numbers):
            raise MergeError(
                f"{wanted[0] if wanted else 0} rows were deleted since they were read, but {len(numbers)} of "
                "them were rewritten; nothing was committed",
                where=".".join(table.name()),
                mend="report it: the table's delete files name rows that are not in its data files",
            )
        return list(self._written_deletes(numbers, table))

    def _written_deletes(self, numbers: pa.Array[Any], table: Table) -> Iterator[DataFile]:
        start = 0
        for file in self.files:
            low, high = (_first_from(numbers, limit) for limit in (start, start + file.record_count))
            if high > low:
                positions = pc.subtract(numbers.slice(low, high - low), start)
                delete = write_position_deletes(file, positions, table.io)
                self.paths.append(delete.file_path)
                yield delete
            start += file.record_count

    def remove(self, table: Table) -> None:
        """Remove every file written. Only for a rewrite that is certainly in no snapshot."""
        for path in self.paths:
            with suppress(Exception):
                table.io.delete(path)


def rewrite(con: duckdb.DuckDBPyConnection, table: Table, live: LiveFiles, group: Group) -> Rewrite:
    """Write the live rows of ``group`` anew. Raises MergeError, and leaves no file, when a row changed."""
    columns = [column.name for column in live.schema.fields]
    before = digest(con, live.sql(columns, files=group.files), columns)
    writer = DataFileWriter(
        table.metadata, table.io, table.location_provider(), rows_per_file=_rows_per_file(table, group)
    )
    places: list[pa.Table] = []
    try:
        batches = con.execute(_sorted_rows(con, table, live, group)).to_arrow_reader(_BATCH_ROWS)
        files = tuple(writer.write(_placed(batches, places)))
        written = LiveFiles(live.schema, tuple(BaseFile(n, file, ()) for n, file in enumerate(files)))
        after = digest(con, written.sql(columns), columns)
        require_same(before, after, where=".".join(table.name()))
    except BaseException:
        for path in writer.paths:
            with suppress(Exception):
                table.io.delete(path)
        raise
    moved = pa.concat_tables(places) if places else _NO_PLACES
    ones = pa.repeat(pa.scalar(1, pa.int64()), len(moved))
    numbered = moved.append_column("number", pc.subtract(pc.cumulative_sum(ones), 1))
    return Rewrite(group, files, after, numbered, list(writer.paths))


_NO_PLACES = pa.table({FILE: pa.array([], pa.int32()), POS: pa.array([], pa.int64())})


def _sorted_rows(con: duckdb.DuckDBPyConnection, table: Table, live: LiveFiles, group: Group) -> str:
    rows = live.sql(files=group.files, with_place=True)
    query = f"SELECT * FROM {rows}"
    partitions = partition_expressions(con, table.spec(), table.schema(), query)
    names = [f"{PARTITION_PREFIX}{number}" for number in range(len(partitions))]
    extra = "".join(f", {value} AS {name}" for name, value in zip(names, partitions, strict=True))
    order = ", ".join([*names, *map(quoted, sort_columns(table))])
    return f"SELECT *{extra} FROM {rows}" + (f" ORDER BY {order}" if order else "")


def _placed(batches: pa.RecordBatchReader, places: list[pa.Table]) -> Iterator[pa.RecordBatch]:
    """Pass batches on, and keep where their rows were."""
    for batch in batches:
        places.append(pa.Table.from_batches([batch]).select([FILE, POS]))
        yield batch


def _rows_per_file(table: Table, group: Group) -> int:
    """Return the rows that make a file of the table's target size, by what the group's rows take now."""
    return max(1, target_size(table) * max(group.rows, 1) // max(group.bytes, 1))


def _first_from(numbers: pa.Array[Any], limit: int) -> int:
    """Return the index of the first of the ascending ``numbers`` that is not below ``limit``."""
    low, high = 0, len(numbers)
    while low < high:
        middle = (low + high) // 2
        if numbers[middle].as_py() < limit:
            low = middle + 1
        else:
            high = middle
    return low
