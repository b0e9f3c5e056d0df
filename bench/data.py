"""Data sets: a table of N rows and sets of changes to it, as DMS leaves them on disk, with a lake over them.

    python -m bench.data --rows 10000000 --key bigint --changes 10000 100000 1000000

makes ``<workdir>/bigint-10000000/`` once, and again only what is missing:

    raw/public/booking/LOAD00000001.parquet …   the full load, a million rows a file
    changes/random-100000/2026…parquet …        a set of changes, the files of one merge
    cdc.yaml, warehouse/                        a lake of the product over raw/, see bench/lake.py

Changes are 75 % updates, 20 % deletes and 5 % inserts, one a key, of keys drawn from the whole table
(``random``) or from its newest rows (``recent``). Everything follows from the row's number by hashes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from bench.rows import VALUES, VARIANTS, Variant, key_sql, values_sql
from cdc_platform.formats.dms_names import change_file_key, load_file_key

SOURCE, SCHEMA, TABLE = "bench", "public", "booking"
WORKDIR = Path(os.environ.get("CDC_BENCH_WORKDIR", ".cdc/bench"))
SIZES = (10_000, 100_000, 1_000_000)
KINDS = ("random", "recent")

LOADED_AT = datetime(2026, 1, 5, tzinfo=UTC)
_LOAD_FILE_ROWS = 1_000_000
_CHANGE_FILE_ROWS = 250_000
#: DMS's RowGroupLength.
_GROUP_ROWS = 10_000
#: Raw files, base table and what spills while it is made.
_BYTES_PER_ROW = 350
_UPDATES, _INSERTS = 0.75, 0.05
#: ``recent`` changes fall on so many of the newest rows, whatever the table's size.
_RECENT_ROWS = 1_000_000
_HASHES = 2**64


@dataclass(frozen=True, slots=True)
class DataSet:
    """The files of one table below ``folder``."""

    folder: Path
    variant: Variant
    rows: int

    @property
    def raw(self) -> Path:
        """The raw location DMS writes to."""
        return self.folder / "raw"

    @property
    def table_folder(self) -> Path:
        """Where the table's raw files are."""
        return self.raw / SCHEMA / TABLE

    @property
    def load_files(self) -> list[Path]:
        """The files of the full load."""
        return sorted(self.table_folder.glob("LOAD*.parquet"))

    def change_folder(self, changes: int, kind: str = "random", series: int = 1) -> Path:
        """Where the files of a set of changes wait for their merge."""
        suffix = "" if series == 1 else f"-{series}"
        return self.folder / "changes" / f"{kind}-{changes}{suffix}"

    def change_files(self, changes: int, kind: str = "random", series: int = 1) -> list[Path]:
        """The files of a set of changes, oldest first."""
        return sorted(self.change_folder(changes, kind, series).glob("*.parquet"))


def data_set(workdir: Path, key: str, rows: int) -> DataSet:
    """Return the data set of that key and size, with its full load, which is made when it is not there."""
    found = DataSet(workdir.resolve() / f"{key}-{rows}", VARIANTS[key], rows)
    make_load(found)
    return found


def make_load(data: DataSet) -> None:
    """Write the files of the full load, unless they are all there."""
    marker = data.folder / "load.json"
    if marker.exists():
        return
    started = time.perf_counter()
    shutil.rmtree(data.folder, ignore_errors=True)
    data.table_folder.mkdir(parents=True)
    with _database() as con:
        height = min(_LOAD_FILE_ROWS, max(1, -(-data.rows // 2)))
        for number, start in enumerate(range(0, data.rows, height), 1):
            path = data.raw / load_file_key(SCHEMA, TABLE, number)
            _write(path, _load_rows(con, data.variant, start, min(start + height, data.rows)))
            stamp = (LOADED_AT + timedelta(seconds=number)).timestamp()
            os.utime(path, (stamp, stamp))
            say(f"{data.folder.name}: {min(start + height, data.rows):,} of {data.rows:,} rows", started)
    marker.write_text(json.dumps({"rows": data.rows, "key": data.variant.name}) + "\n")


def make_changes(data: DataSet, changes: int, kind: str = "random", series: int = 1) -> list[Path]:
    """Return the files of a set of changes, written when they are not there, oldest first.

    A later ``series`` is another set, later in time, over the same rows of the full load.
    """
    folder = data.change_folder(changes, kind, series)
    if not folder.exists():
        started = time.perf_counter()
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        with _database() as con:
            _choose(con, data.rows, changes, kind, series)
            for number, start in enumerate(range(0, changes, _CHANGE_FILE_ROWS)):
                at = _changed_at(series) + timedelta(minutes=number + 1)
                name = Path(change_file_key(SCHEMA, TABLE, at)).name
                end = min(start + _CHANGE_FILE_ROWS, changes)
                _write(partial / name, _change_rows(con, data.variant, start, end, at, series))
                os.utime(partial / name, (at.timestamp(), at.timestamp()))
        partial.replace(folder)
        say(f"{data.folder.name}: {changes:,} {kind} changes", started)
    return data.change_files(changes, kind, series)


def spare(workdir: Path, key: str, rows: int) -> None:
    """End the run when the disk has no room for a data set that is not there yet, its lake and its spill."""
    if (workdir / f"{key}-{rows}" / "pristine").exists():
        return
    workdir.mkdir(parents=True, exist_ok=True)
    needed, free = rows * _BYTES_PER_ROW, shutil.disk_usage(workdir).free
    if needed > free:
        raise SystemExit(
            f"{workdir} has {free / 2**30:.0f} GiB free, {rows:,} rows need about {needed / 2**30:.0f} → "
            "give another --workdir, or fewer rows"
        )


def counts_of(changes: int) -> dict[str, int]:
    """Return how many of a set of changes are updates, deletes and inserts."""
    updates, inserts = round(changes * _UPDATES), round(changes * _INSERTS)
    return {"U": updates, "D": changes - updates - inserts, "I": inserts}


def say(text: str, started: float | None = None) -> None:
    """Print a line of progress."""
    took = "" if started is None else f" ({time.perf_counter() - started:.1f} s)"
    print(f"→ {text}{took}", flush=True)


def _database() -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(config={"threads": 2, "memory_limit": "2GB"})
    con.execute("SET TimeZone = 'UTC'")
    return con


def _changed_at(series: int) -> datetime:
    return LOADED_AT + timedelta(days=1, hours=series)


def _choose(con: duckdb.DuckDBPyConnection, rows: int, changes: int, kind: str, series: int) -> None:
    """Make ``chosen`` (j, i, op): the changes in the order they happened."""
    counts = counts_of(changes)
    first = 0 if kind == "random" else max(0, rows - max(_RECENT_ROWS, 2 * changes))
    wanted, there = counts["U"] + counts["D"], rows - first
    if wanted > there:
        raise SystemExit(f"{changes:,} changes need more than the {there:,} rows there are")
    share = min(1.0, (wanted * 1.05 + 1_000) / there)
    draw, order = f"hash(i, {series}, {changes})", f"hash(i, {series}, {changes}, 1)"
    con.execute(
        f"""CREATE OR REPLACE TEMP TABLE chosen AS
        WITH drawn AS (
            SELECT i, row_number() OVER (ORDER BY {draw}) AS n FROM range({first}, {rows}) r(i)
            WHERE {draw} <= {min(int(share * _HASHES), _HASHES - 1)}::UBIGINT),
        changed AS (
            SELECT i, CASE WHEN n <= {counts["U"]} THEN 'U' ELSE 'D' END AS op FROM drawn WHERE n <= {wanted}
            UNION ALL
            SELECT i, 'I' FROM range({rows}, {rows + counts["I"]}) r(i))
        SELECT row_number() OVER (ORDER BY {order}) - 1 AS j, i, op FROM changed"""
    )


def _load_rows(
    con: duckdb.DuckDBPyConnection, variant: Variant, start: int, end: int
) -> pa.RecordBatchReader:
    transferred = f"TIMESTAMP '{LOADED_AT:%Y-%m-%d %H:%M:%S}' + to_microseconds(i + 1)"
    before = ", ".join(f"NULL AS BI_{name}" for name in variant.key)
    query = (
        f"SELECT {transferred} AS dms_timestamp, {key_sql(variant)}, {values_sql(0)}, "
        f"NULL AS cdc_change_seq, NULL AS cdc_stream_position, {before} FROM range({start}, {end}) r(i)"
    )
    return _as_dms(con.execute(query).to_arrow_reader(_GROUP_ROWS * 10), _schema(variant, has_op=False))


def _change_rows(
    con: duckdb.DuckDBPyConnection, variant: Variant, start: int, end: int, at: datetime, series: int
) -> pa.RecordBatchReader:
    """Return rows ``start`` to ``end`` of the changes: a delete carries only its key."""
    begin = f"TIMESTAMP '{at - timedelta(minutes=1):%Y-%m-%d %H:%M:%S}'"
    moment = f"({begin} + to_microseconds((j - {start}) * 60000000 // {end - start}))"
    values = ", ".join(f"CASE WHEN op <> 'D' THEN v.{name} END AS {name}" for name in VALUES)
    before = ", ".join(f"CASE WHEN op <> 'I' THEN v.{name} END AS BI_{name}" for name in variant.key)
    sequence = (
        f"strftime({moment}, '%Y%m%d%H%M%S') || '00' || lpad((j + {series * 10**10})::VARCHAR, 19, '0')"
    )
    query = f"""SELECT op AS Op, {moment} AS dms_timestamp, {", ".join(variant.key)}, {values},
            {sequence} AS cdc_change_seq, '0/' || hex(16777216 + j * 96) AS cdc_stream_position, {before}
        FROM (SELECT j, i, op, {key_sql(variant)}, {values_sql(series)} FROM chosen
              WHERE j >= {start} AND j < {end}) v ORDER BY j"""
    return _as_dms(con.execute(query).to_arrow_reader(_GROUP_ROWS * 10), _schema(variant, has_op=True))


def _schema(variant: Variant, *, has_op: bool) -> pa.Schema:
    text = pa.string()
    heads: list[Any] = [pa.field("Op", text)] if has_op else []
    heads.append(pa.field("dms_timestamp", text, nullable=False))
    added = [pa.field(name, text) for name in ("cdc_change_seq", "cdc_stream_position")]
    before = [pa.field(f"BI_{name}", kind) for name, kind in variant.types.items()]
    own = [pa.field(name, kind) for name, kind in variant.columns.items()]
    return pa.schema([*heads, *own, *added, *before])


def _as_dms(rows: pa.RecordBatchReader, schema: pa.Schema) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for batch in rows:
            yield pa.RecordBatch.from_arrays(
                [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)],
                schema=schema,
            )

    return pa.RecordBatchReader.from_batches(schema, batches())


def _write(path: Path, rows: pa.RecordBatchReader) -> None:
    """Write as DMS: no Arrow schema in the footer, 10,000 rows in a group, no compression."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with pq.ParquetWriter(partial, rows.schema, compression="none", store_schema=False) as writer:
        for batch in rows:
            writer.write_batch(batch, row_group_size=_GROUP_ROWS)
    partial.replace(path)


def arguments(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options every script has."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=10_000_000, help="rows of the table (default 10,000,000)")
    parser.add_argument(
        "--workdir",
        type=Path,
        default=WORKDIR,
        help="where data sets are kept between runs (default %(default)s)",
    )
    parser.add_argument("--rebuild", action="store_true", help="make the base tables anew, by this code")
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Make data sets, and the product's base table over each."""
    from bench.lake import BenchLake

    parser = arguments(__doc__ or "")
    parser.add_argument("--key", nargs="+", choices=list(VARIANTS), default=["bigint"], help="kinds of key")
    parser.add_argument(
        "--changes", type=int, nargs="*", default=list(SIZES), help="sizes of sets of changes"
    )
    parser.add_argument("--kind", nargs="+", choices=KINDS, default=["random"], help="which keys change")
    parser.add_argument("--no-base", action="store_true", help="write the files only, merge no full load")
    options = parser.parse_args(argv)
    for key in options.key:
        data = data_set(options.workdir, key, options.rows)
        for kind in options.kind:
            for changes in options.changes:
                make_changes(data, changes, kind)
        if not options.no_base:
            BenchLake(data).ensure_base(rebuild=options.rebuild)
        say(f"{data.folder} is ready")


if __name__ == "__main__":
    main()
