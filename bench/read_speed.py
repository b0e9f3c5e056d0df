"""Reading a base table with position deletes: our own readers beside pyiceberg's and DuckDB's, in one run.

    python -m bench.read_speed                 10 million rows of 10 columns, 0.9 million of them deleted

Each gives the whole table as one Arrow table; then passes it by as a stream; then hands it to SQL that hashes
all columns of every row, as reconciliation and compaction do; then one column; then the count; then the first
rows. Seconds of the clock and of the processors (which other work on the machine stretches
less) of the best of some reads, taken in turns, after one that does not count.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

import pyarrow as pa
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    LongType,
    StringType,
    TimestamptzType,
)

from bench.data import arguments, say
from bench.results import Results
from bench.tables import Columns, made_table
from cdc_platform.config.model import LakeConfig, PlatformConfig
from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.data_files import write_position_deletes
from cdc_platform.lake.live_batches import live_row_count
from cdc_platform.lake.live_rows import live_files
from cdc_platform.lake.read import open_workspace, scan
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta
from cdc_platform.naming import quoted, sql_text

_COLUMNS: Columns = {
    "id": (LongType(), "i"),
    "customer": (LongType(), "(hash(i) % 1000000)::BIGINT"),
    "status": (StringType(), "['new', 'paid', 'sent', 'done'][1 + i % 4]"),
    "amount": (DecimalType(12, 2), "(hash(i + 1) % 1000000 / 100)::DECIMAL(12, 2)"),
    "note": (StringType(), "'note ' || (hash(i + 2) % 1000000)"),
    "at": (TimestamptzType(), "TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_seconds(i % 30000000)"),
    "day": (DateType(), "DATE '2024-01-01' + (i % 365)::INTEGER"),
    "ratio": (DoubleType(), "hash(i + 3) / 1e19"),
    "flag": (BooleanType(), "i % 3 = 0"),
    "code": (StringType(), "md5((i % 1000)::VARCHAR)"),
}
_SOURCE, _TABLE = "bench", "booking"
_FIRST = 20
_BATCH = 65_536
_Readers = Mapping[str, Mapping[str, Callable[[], int]]]


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, make the table and read it in turns."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--deleted", type=int, default=900_000, help="rows deleted by position")
    parser.add_argument("--repeat", type=int, default=3, help="reads of each kind")
    parser.add_argument("--read", action="append", help="only this, e.g. 'all columns'; several times")
    options = parser.parse_args(argv)
    folder = options.workdir.resolve() / "read-speed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with open_lake(PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"))) as lake:
            table = _make(lake, options.rows, options.deleted)
            say(f"{options.rows:,} rows, {options.deleted:,} of them deleted")
            what = {"rows": options.rows, "deleted": options.deleted}
            readers = _readers(lake, table)
            wanted = {name: readers[name] for name in options.read or readers}
            _measure(Results("read_speed"), what, wanted, options.repeat)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _make(lake: Lake, rows: int, deleted: int) -> Table:
    properties = {"format-version": "2", "write.target-file-size-bytes": str(32 * 1024 * 1024)}
    table, files = made_table(lake, _TABLE, _COLUMNS, rows, properties)
    random = Random(1)
    deletes = []
    for file in files:
        share = deleted * file.record_count // rows
        positions = pa.array(sorted(random.sample(range(file.record_count), share)), pa.int64())
        deletes.append(write_position_deletes(file, positions, table.io))
    commit_row_delta(table.transaction(), table, RowDelta(deletes=tuple(deletes)))
    return lake.catalog.load_table(table.name())


def _readers(lake: Lake, table: Table) -> _Readers:
    """Return what is read, and by whom: each gives the rows it read or counted."""
    con = open_workspace(lake, iceberg=True)
    there = f"iceberg_scan({sql_text(local_path(table.metadata_location))})"

    def ours(*columns: str) -> int:
        return len(scan(lake, _SOURCE, _TABLE, columns=columns or None).read_all())

    by_field_id = live_files(table).sql()

    def by_sql(columns: str) -> int:
        return len(con.execute(f"SELECT {columns} FROM {by_field_id}").to_arrow_table())

    def first() -> int:
        stream = scan(lake, _SOURCE, _TABLE)
        return len(next(stream).slice(0, _FIRST))

    def duckdb_rows(what: str, limit: str = "") -> int:
        return len(con.execute(f"SELECT {what} FROM {there}{limit}").to_arrow_table())

    hashed = f"SELECT count(*), bit_xor(hash({', '.join(map(quoted, _COLUMNS))})) FROM "

    def hashed_of(batches: pa.RecordBatchReader) -> int:
        con.register("streamed", batches)
        try:
            return hashed_in("streamed")
        finally:
            con.unregister("streamed")

    def hashed_in(relation: str) -> int:
        return int((con.execute(hashed + relation).fetchone() or [0])[0])

    return {
        "all columns": {
            "ours": ours,
            "ours by SQL": lambda: by_sql("*"),
            "pyiceberg": lambda: len(table.scan().to_arrow()),
            "iceberg_scan": lambda: duckdb_rows("*"),
        },
        "all columns, streamed": {
            "ours": lambda: _passed(scan(lake, _SOURCE, _TABLE)),
            "ours by SQL": lambda: _passed(
                con.execute(f"SELECT * FROM {by_field_id}").to_arrow_reader(_BATCH)
            ),
            "pyiceberg": lambda: _passed(table.scan().to_arrow_batch_reader()),
            "iceberg_scan": lambda: _passed(con.execute(f"SELECT * FROM {there}").to_arrow_reader(_BATCH)),
        },
        "all columns, hashed by SQL": {
            "ours": lambda: hashed_of(scan(lake, _SOURCE, _TABLE)),
            "ours by SQL": lambda: hashed_in(by_field_id),
            "pyiceberg": lambda: hashed_of(table.scan().to_arrow_batch_reader()),
            "iceberg_scan": lambda: hashed_in(there),
        },
        "one column": {
            "ours": lambda: ours("id"),
            "ours by SQL": lambda: by_sql("id"),
            "pyiceberg": lambda: len(table.scan(selected_fields=("id",)).to_arrow()),
            "iceberg_scan": lambda: duckdb_rows("id"),
        },
        "count": {
            "ours": lambda: live_row_count(live_files(table), table.io),
            "pyiceberg": lambda: table.scan().count(),
            "iceberg_scan": lambda: int((con.execute(f"SELECT count(*) FROM {there}").fetchone() or [0])[0]),
        },
        "first rows": {
            "ours": first,
            "pyiceberg": lambda: len(table.scan(limit=_FIRST).to_arrow()),
            "iceberg_scan": lambda: duckdb_rows("*", f" LIMIT {_FIRST}"),
        },
    }


def _passed(batches: pa.RecordBatchReader) -> int:
    """Return the rows of a stream of which nothing is kept."""
    return sum(batch.num_rows for batch in batches)


def _measure(results: Results, table: dict[str, int], readers: _Readers, repeat: int) -> None:
    for read, by_whom in readers.items():
        for whole in by_whom.values():
            whole()  # what is loaded and opened once is no one's read
        taken: dict[str, list[_Taken]] = {name: [] for name in by_whom}
        for _ in range(repeat):
            for name, one in by_whom.items():
                taken[name].append(_timed(one))
        counts = {each.rows for mine in taken.values() for each in mine}
        assert len(counts) == 1, f"the readers do not agree: {read} {counts}"
        for name, mine in taken.items():
            best = min(each.seconds for each in mine)
            processor = min(each.processor_seconds for each in mine)
            worst = max(each.seconds for each in mine)
            results.add(
                {**table, "read": read, "competitor": name},
                {"seconds": best, "worst_seconds": worst, "processor_seconds": processor, "reads": repeat},
            )
            say(f"{read}, {name}: {best:.3f} s (at worst {worst:.3f}), processor {processor:.3f} s")


@dataclass(frozen=True, slots=True)
class _Taken:
    """What one read took."""

    seconds: float
    processor_seconds: float
    rows: int


def _timed(read: Callable[[], int]) -> _Taken:
    started, used = time.perf_counter(), time.process_time()
    rows = read()
    return _Taken(round(time.perf_counter() - started, 4), round(time.process_time() - used, 4), rows)


if __name__ == "__main__":
    main()
