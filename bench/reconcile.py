"""Full reconciliation beside what it must not cost more than, in one run.

    python -m bench.reconcile                  10 million rows of 10 columns in Parquet and Iceberg, then
                                               1 million rows of 10 columns in PostgreSQL and Parquet

The first is measured with an export in the order of base and one in no order, against a plain scan of all
columns of both sides, in turns: by the engine, which counts each column's values and hands nothing over, by
the engine into Arrow batches, and by pyarrow into such; the second in processor seconds of the source's
backend against a binary COPY of the same rows, in full and by keys and versions (``id`` and ``ordered_at``)
alone.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from pydantic import SecretStr
from pyiceberg.types import (
    BooleanType,
    DecimalType,
    DoubleType,
    IntegerType,
    LongType,
    StringType,
    TimestamptzType,
)

from bench.data import arguments, say
from bench.results import Results
from bench.tables import Columns, made_table
from cdc_platform.config.model import Connection, LakeConfig, PlatformConfig
from cdc_platform.events import CONTROL_COLUMNS, GENERATION, OP, POSITION
from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.live_rows import live_sql
from cdc_platform.lake.read import open_workspace
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.naming import sql_text
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.keys_and_versions import keys_and_versions
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.postgres import PostgresReader, PostgresSnapshot
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.pairs import nothing_on_its_way

COLUMNS: Columns = {
    "id": (LongType(), "i"),
    "store": (IntegerType(), "(i % 100)::INTEGER"),
    "quantity": (IntegerType(), "(hash(i) % 50)::INTEGER"),
    "amount": (DecimalType(12, 2), "(hash(i + 1) % 1000000 / 100)::DECIMAL(12, 2)"),
    "ratio": (DoubleType(), "hash(i + 3) / 1e19"),
    "status": (StringType(), "['new', 'paid', 'sent', 'done'][1 + i % 4]"),
    "note": (StringType(), "'note ' || (hash(i + 2) % 1000000)"),
    "ordered_at": (TimestamptzType(), "TIMESTAMPTZ '2024-01-01 00:00:00+00' + to_seconds(i % 30000000)"),
    "paid_at": (TimestamptzType(), "CASE WHEN i % 5 > 0 THEN TIMESTAMPTZ '2024-01-02' + to_seconds(i) END"),
    "flag": (BooleanType(), "CASE WHEN i % 7 > 0 THEN i % 3 = 0 END"),
}
_ITEM = """CREATE TABLE item AS SELECT i AS id, (i % 100)::int AS store, (i % 50)::int AS quantity,
    ((i * 7919 % 1000000) / 100.0)::numeric(12,2) AS amount, i / 3.0::float8 AS ratio,
    (ARRAY['new','paid','sent','done'])[1 + i % 4] AS status, 'note ' || (i * 31 % 1000000) AS note,
    TIMESTAMPTZ '2024-01-01' + i * interval '1 s' AS ordered_at,
    CASE WHEN i % 5 > 0 THEN TIMESTAMPTZ '2024-01-02' + i * interval '1 s' END AS paid_at,
    CASE WHEN i % 7 > 0 THEN i % 3 = 0 END AS flag
    FROM generate_series(1::bigint, {rows}) i"""


#: How an export's rows lie, beside base's: as they do there, or row groups as several threads were done.
_IN_ORDER, _IN_NO_ORDER = "in the order of base", "in no order"
#: A column that changes with every change of a row.
_VERSION = "ordered_at"
_UTC = pa.timestamp("us", tz="UTC")
_TYPES: dict[str, pa.DataType] = {
    "id": pa.int64(), "store": pa.int32(), "quantity": pa.int32(), "amount": pa.decimal128(12, 2),
    "ratio": pa.float64(), "status": pa.string(), "note": pa.string(), "ordered_at": _UTC,
    "paid_at": _UTC, "flag": pa.bool_(),
}  # fmt: skip
_BASE = pa.schema(list(_TYPES.items()))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, make the sides, and measure both cases."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--source-rows", type=int, default=1_000_000, help="rows in PostgreSQL")
    parser.add_argument("--repeat", type=int, default=7, help="runs of each kind")
    options = parser.parse_args(argv)
    folder = options.workdir.resolve() / "reconcile"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    results = Results("reconcile")
    try:
        with open_lake(PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"))) as lake:
            _measure_lake(lake, folder, options.rows, options.repeat, results)
            _measure_postgres(lake, folder, options.source_rows, options.repeat, results)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure_lake(lake: Lake, folder: Path, rows: int, repeat: int, results: Results) -> None:
    table, files = made_table(lake, "item", {**COLUMNS, OP: (StringType(), "'I'")}, rows)
    connection = open_workspace(lake, iceberg=True)
    paths = tuple(local_path(file.file_path) for file in files)
    view = BaseView(live_sql(table), table.schema().as_arrow(), 1, files=paths)
    say(f"{rows:,} rows on either side")
    for order, is_kept in ((_IN_ORDER, "true"), (_IN_NO_ORDER, "false")):
        export = folder / f"{is_kept}.parquet"
        connection.execute(f"SET preserve_insertion_order = {is_kept}")
        connection.execute(
            f"COPY (SELECT {', '.join(COLUMNS)} FROM {view.relation}) "
            f"TO {sql_text(str(export))} (COMPRESSION zstd)"
        )
        connection.execute("SET preserve_insertion_order = false")
        measured = _beside_scans(lake, connection, view, export, rows, repeat)
        results.add({"sides": "Parquet and Iceberg", "rows": rows, "export": order}, measured)
        say(f"an export {order}: {measured}")
    connection.close()


def _beside_scans(
    lake: Lake, connection: duckdb.DuckDBPyConnection, view: BaseView, export: Path, rows: int, repeat: int
) -> dict[str, float]:
    """Measure three kinds of plain scans of both sides, and the comparison."""
    reader, there = ParquetReader(lake, str(export)), f"read_parquet({sql_text(str(export))})"
    names, counts = ", ".join(COLUMNS), ", ".join(f"count({name})" for name in COLUMNS)

    def scan() -> None:
        for side in (view.relation, there):
            connection.execute(f"SELECT {counts} FROM {side}").fetchall()

    def arrow_scan() -> None:
        for paths in (list(view.files), [str(export)]):
            for _ in ds.dataset(paths, format="parquet").to_batches(columns=list(COLUMNS)):
                pass

    def handed_over() -> None:
        for side in (view.relation, there):
            for _ in connection.execute(f"SELECT {names} FROM {side}").to_arrow_reader(131_072):
                pass

    steps = scan, handed_over, arrow_scan, lambda: _compare(connection, view, reader, rows)
    scans, handed, arrow_scans, compared = _best_in_turns(steps, repeat)
    return {
        "scan_seconds": scans,
        "scan_to_arrow_seconds": handed,
        "pyarrow_scan_seconds": arrow_scans,
        "seconds": compared,
        "times_a_scan": round(compared / scans, 2),
        "times_a_scan_to_arrow": round(compared / handed, 2),
        "times_a_pyarrow_scan": round(compared / arrow_scans, 2),
    }


def _compare(
    connection: duckdb.DuckDBPyConnection,
    view: BaseView,
    reader: SourceReader,
    rows: int,
    version: str | None = None,
) -> FullComparison:
    """Compare in full, or keys and the column ``version`` alone; every row must be equal."""
    plan = reader.plan("public", "item", ("id",), view.columns)
    if version is not None:
        plan = keys_and_versions(plan, version)
    options = FullOptions(keys_only=version is not None, version_column=version)
    observe = nothing_on_its_way(connection)
    run = FullRun(view, ("id",), connection, reader, plan, observe, None, options, "bench")
    found = run.compare()
    fault = f"{found.verdict.value}: {found.comparison.reason}"
    assert (found.verdict, found.comparison.tally.matched) == (Verdict.MATCH, rows), fault
    return found


class _MeasuredReader(PostgresReader):
    """A reader that says how long the source's processor worked for a snapshot."""

    processor_seconds = 0.0

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        with super().snapshot() as snapshot:
            pid = snapshot._connection.info.backend_pid
            before = _processor_seconds(pid)
            yield snapshot
            self.processor_seconds = _processor_seconds(pid) - before


def _measure_postgres(lake: Lake, folder: Path, rows: int, repeat: int, results: Results) -> None:
    with EmbeddedPostgres(folder / "server", durable=False) as server:
        dsn = server.create_database("bench")
        make_source(dsn, rows)
        reader = _MeasuredReader(Connection(dsn=SecretStr(dsn)))
        base = write_base(reader, folder / "base.parquet", _BASE)
        workspace = open_workspace(lake)
        view = BaseView(f"read_parquet({sql_text(str(base))})", pq.read_schema(base), 1)
        copies = []
        modes: dict[str | None, tuple[list[float], list[float]]] = {None: ([], []), _VERSION: ([], [])}
        for _ in range(repeat):
            copies.append(_copy(dsn))
            for version, (seconds, processor) in modes.items():
                started = time.perf_counter()
                _compare(workspace, view, reader, rows, version)
                seconds.append(round(time.perf_counter() - started, 3))
                processor.append(reader.processor_seconds)
        workspace.close()
    for version, (seconds, processor) in modes.items():
        measured = {
            "seconds": min(seconds),
            "source_processor_seconds": round(min(processor), 3),
            "copy_processor_seconds": round(min(copies), 3),
            "times_a_copy": round(min(processor) / min(copies), 2),
        }
        sides = "PostgreSQL and Parquet" + (", keys and versions" if version else "")
        results.add({"sides": sides, "rows": rows}, measured)
        say(f"{rows:,} rows, {sides}: {measured}")


def make_source(dsn: str, rows: int, statement: str = _ITEM) -> None:
    """Make the table ``item`` of so many rows in PostgreSQL, anew where it is there."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS item")
        connection.execute(statement.format(rows=rows))
        connection.execute("ALTER TABLE item ADD PRIMARY KEY (id)")
        connection.execute("VACUUM ANALYZE item")


def write_base(reader: PostgresReader, path: Path, schema: pa.Schema) -> Path:
    """Write the rows of the source's table ``item`` as base has them."""
    plan = reader.plan("public", "item", ("id",), schema)
    with reader.snapshot() as snapshot:
        table = pa.Table.from_batches(snapshot.rows_between(None, None, plan)).cast(schema)
    for field, value in ((OP, "I"), (GENERATION, 1), (POSITION, Decimal(0))):
        kind = CONTROL_COLUMNS.field(field).type
        table = table.append_column(field, pa.repeat(pa.scalar(value, kind), len(table)))
    pq.write_table(table, path, row_group_size=131_072)
    return path


def _copy(dsn: str) -> float:
    """Return the backend's processor seconds of a binary COPY of the whole table that nobody decodes."""
    with psycopg.connect(dsn) as connection, connection.cursor() as cursor:
        pid = connection.info.backend_pid
        before = _processor_seconds(pid)
        with cursor.copy("COPY item TO STDOUT (FORMAT BINARY)") as copy:
            for _ in copy:
                pass
        return _processor_seconds(pid) - before


def _processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _best_in_turns(steps: Sequence[Callable[[], Any]], repeat: int) -> list[float]:
    """Return the least seconds of each step; in turns, so that what else the machine does hits all alike."""
    taken: list[list[float]] = [[] for _ in steps]
    for _ in range(repeat):
        for step, seconds in zip(steps, taken, strict=True):
            started = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - started)
    return [round(min(seconds), 3) for seconds in taken]


if __name__ == "__main__":
    main()
