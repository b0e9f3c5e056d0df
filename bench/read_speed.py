"""Reading a base table with position deletes: our own reader beside pyiceberg's, in one run.

    python -m bench.read_speed                 10 million rows of 10 columns, 0.9 million of them deleted

Both give the whole table as one Arrow table; then one column; then the count. Seconds of the clock and of the
processors (which other work on the machine does not stretch) of the best of some reads, taken in turns.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.types import (
    BooleanType,
    DateType,
    DecimalType,
    DoubleType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)

from bench.data import arguments, say
from bench.results import Results
from cdc_platform.config.model import LakeConfig, PlatformConfig
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.data_files import DataFileWriter, write_position_deletes
from cdc_platform.lake.read import scan
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta

_COLUMNS: dict[str, tuple[PrimitiveType, str]] = {
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


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, make the table, read it in turns, and print the ratios."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--deleted", type=int, default=900_000, help="rows deleted by position")
    parser.add_argument("--repeat", type=int, default=3, help="reads of each kind")
    options = parser.parse_args(argv)
    folder = options.workdir.resolve() / "read-speed"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with open_lake(PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"))) as lake:
            table = _make(lake, options.rows, options.deleted)
            say(f"{options.rows:,} rows, {options.deleted:,} of them deleted")
            figures = _measure(lake, table, options.repeat)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    Results("read_speed").add({"rows": options.rows, "deleted": options.deleted}, figures)


def _make(lake: Lake, rows: int, deleted: int) -> Table:
    lake.ensure_namespace(_SOURCE)
    fields = [NestedField(n, name, kind) for n, (name, (kind, _)) in enumerate(_COLUMNS.items(), 1)]
    properties = {"format-version": "2", "write.target-file-size-bytes": str(32 * 1024 * 1024)}
    table = lake.catalog.create_table(
        lake.identifier(_SOURCE, _TABLE), Schema(*fields), properties=properties
    )
    selected = ", ".join(f"{sql} AS {name}" for name, (_, sql) in _COLUMNS.items())
    transaction = table.transaction()
    writer = DataFileWriter(transaction.table_metadata, table.io, table.location_provider())
    with duckdb.connect() as con:
        con.execute("SET TimeZone = 'UTC'")
        batches = con.execute(f"SELECT {selected} FROM range({rows}) r(i)").to_arrow_reader(65_536)
        files = tuple(writer.write(batches))
    commit_row_delta(transaction, table, RowDelta(files))
    table = lake.catalog.load_table(table.name())
    random = Random(1)
    deletes = []
    for file in files:
        share = deleted * file.record_count // rows
        positions = pa.array(sorted(random.sample(range(file.record_count), share)), pa.int64())
        deletes.append(write_position_deletes(file, positions, table.io))
    commit_row_delta(table.transaction(), table, RowDelta(deletes=tuple(deletes)))
    return lake.catalog.load_table(table.name())


def _measure(lake: Lake, table: Table, repeat: int) -> dict[str, Any]:
    readers: dict[str, tuple[Callable[[], pa.Table], Callable[[], pa.Table]]] = {
        "all columns": (
            lambda: scan(lake, _SOURCE, _TABLE).read_all(),
            lambda: table.scan().to_arrow(),
        ),
        "one column": (
            lambda: scan(lake, _SOURCE, _TABLE, columns=["id"]).read_all(),
            lambda: table.scan(selected_fields=("id",)).to_arrow(),
        ),
    }
    figures: dict[str, Any] = {}
    for name, (ours, theirs) in readers.items():
        mine, others = [], []
        for _ in range(repeat):
            mine.append(_timed(ours))
            others.append(_timed(theirs))
        assert mine[0][2] == others[0][2], "the readers do not agree"
        for at, kind in enumerate(("clock", "processor")):
            fast, slow = min(one[at] for one in mine), min(one[at] for one in others)
            figures[f"{name}, {kind}"] = {"ours": fast, "pyiceberg": slow, "ratio": round(slow / fast, 1)}
            say(f"{name}, {kind} seconds: ours {fast:.2f}, pyiceberg {slow:.2f}, ratio {slow / fast:.1f}")
    return figures


def _timed(read: Callable[[], pa.Table]) -> tuple[float, float, int]:
    started, used = time.perf_counter(), time.process_time()
    rows = len(read())
    return round(time.perf_counter() - started, 3), round(time.process_time() - used, 3), rows


if __name__ == "__main__":
    main()
