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
import fcntl
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import duckdb

from bench.dms_files import LOADED_AT, change_rows, load_rows, write_as_dms
from bench.rows import VARIANTS, Variant
from cdc_platform.formats.dms_names import change_file_key, load_file_key

SOURCE, SCHEMA, TABLE = "bench", "public", "booking"
WORKDIR = Path(os.environ.get("CDC_BENCH_WORKDIR", ".cdc/bench"))
SIZES = (10_000, 100_000, 1_000_000)
KINDS = ("random", "recent")

_LOAD_FILE_ROWS = 1_000_000
_CHANGE_FILE_ROWS = 250_000
#: Raw files, base table and what spills while it is made.
_BYTES_PER_ROW = 350
_UPDATES, _INSERTS = 0.75, 0.05
#: ``recent`` changes fall on so many of the newest rows, whatever the table's size.
_RECENT_ROWS = 1_000_000
_HASHES = 2**64
#: The data sets this process has locked.
_TAKEN: set[Path] = set()


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
    """Return the data set of that key and size, with its full load, which is made when it is not there.

    Only one process at a time gets it: two would put each other's table back.
    """
    found = DataSet(workdir.resolve() / f"{key}-{rows}", VARIANTS[key], rows)
    _take(found.folder)
    make_load(found)
    return found


def _take(folder: Path) -> None:
    """Lock a data set for as long as this process lives. Ends the run when another has it."""
    if folder in _TAKEN:
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    # never closed: the lock ends with the process
    lock = os.open(folder.parent / f".{folder.name}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise SystemExit(f"another run is using {folder} → wait for it, or give another --workdir") from None
    _TAKEN.add(folder)


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
            write_as_dms(path, load_rows(con, data.variant, start, min(start + height, data.rows)))
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
                write_as_dms(partial / name, change_rows(con, data.variant, start, end, at, series))
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
    # DuckDB makes an aggregate of at most a million rows of such a window
    con.execute("SET disabled_optimizers = 'top_n_window_elimination'")
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
