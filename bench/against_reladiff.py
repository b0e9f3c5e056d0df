"""A whole table of PostgreSQL compared with its copy: by the product, and by reladiff, in one run.

    python -m bench.against_reladiff                1 million rows of 10 columns
    python -m bench.against_reladiff --only equal   one of the cases

The cases: equal; 8 rows changed, far apart; 1,000 rows changed that stand together; 1,000 rows changed,
spread evenly over the table; 1,000 rows so spread deleted in the source. All differing keys must be found.

reladiff needs ``make bench-env``. It compares with the same rows in a DuckDB file, the product with them in
Parquet, in row groups as base has them. The columns are of types reladiff compares rightly: no floating
point, no NULL in a timestamp.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg.conninfo import conninfo_to_dict
from pydantic import SecretStr

from bench.children import OTHER_PYTHON, run_child
from bench.competitors.task import Task
from bench.data import arguments, say
from bench.reconcile import make_source, write_base
from bench.results import Results
from cdc_platform.config.model import Connection, LakeConfig, PlatformConfig
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.naming import sql_text
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform_tests.reconcile.pairs import nothing_on_its_way

#: How many rows differ, and by which statement.
_CASES: dict[str, tuple[int, str]] = {
    "equal": (0, ""),
    "8 rows, far apart": (8, "UPDATE item SET note = 'other' WHERE id % ({rows} / 8) = 7"),
    "1,000 rows together": (1000, "UPDATE item SET note = 'other' WHERE id > {rows} - 1000"),
    "1,000 rows, spread": (1000, "UPDATE item SET note = 'other' WHERE id % ({rows} / 1000) = 7"),
    "1,000 rows lost, spread": (1000, "DELETE FROM item WHERE id % ({rows} / 1000) = 7"),
}
_TABLE = """CREATE TABLE item AS SELECT i AS id, (i % 100)::int AS store, (i % 50)::int AS quantity,
    ((i * 7919 % 1000000) / 100.0)::numeric(12,2) AS amount, (i * 31)::bigint AS reference,
    (ARRAY['new','paid','sent','done'])[1 + i % 4] AS status, 'note ' || (i * 31 % 1000000) AS note,
    TIMESTAMP '2024-01-01' + i * interval '1 s' AS ordered_at,
    TIMESTAMP '2024-01-02' + i * interval '1 s' AS paid_at, i % 3 = 0 AS flag
    FROM generate_series(1::bigint, {rows}) i"""
_TYPES: dict[str, pa.DataType] = {
    "id": pa.int64(), "store": pa.int32(), "quantity": pa.int32(), "amount": pa.decimal128(12, 2),
    "reference": pa.int64(), "status": pa.string(), "note": pa.string(),
    "ordered_at": pa.timestamp("us"), "paid_at": pa.timestamp("us"), "flag": pa.bool_(),
}  # fmt: skip
_BASE = pa.schema(list(_TYPES.items()))


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and measure the cases."""
    parser = arguments(__doc__ or "")
    parser.set_defaults(rows=1_000_000)
    parser.add_argument("--repeat", type=int, default=3, help="runs of each")
    parser.add_argument("--only", nargs="+", default=list(_CASES), choices=list(_CASES), help="cases")
    options = parser.parse_args(argv)
    folder = options.workdir.resolve() / "against-reladiff"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        with (
            open_lake(PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"))) as lake,
            EmbeddedPostgres(folder / "server", durable=False) as server,
        ):
            dsn = server.create_database("bench")
            _measure(lake, folder, dsn, options.rows, options.repeat, options.only)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(lake: Lake, folder: Path, dsn: str, rows: int, repeat: int, cases: list[str]) -> None:
    reader, results = PostgresReader(Connection(dsn=SecretStr(dsn))), Results("against_reladiff")
    make_source(dsn, rows, _TABLE)
    with psycopg.connect(dsn, autocommit=True) as connection:
        base, file = write_base(reader, folder / "base.parquet", _BASE), folder / "copy.duckdb"
        with duckdb.connect(str(file)) as copy:
            there = f"read_parquet({sql_text(str(base))})"
            copy.execute(f"CREATE TABLE item AS SELECT {', '.join(_BASE.names)} FROM {there}")
        for case in cases:
            wanted, change = _CASES[case]
            make_source(dsn, rows, _TABLE)
            if change:
                connection.execute(change.format(rows=rows))
                connection.execute("VACUUM ANALYZE item")
            ours, theirs = _ours(lake, base, reader, repeat, wanted), _theirs(dsn, file, repeat, wanted)
            measured = {"seconds": ours, "reladiff_seconds": theirs, "times_faster": round(theirs / ours, 2)}
            results.add({"rows": rows, "case": case, "differing": wanted}, measured)
            say(f"{rows:,} rows, {case}: {measured}")


def _ours(lake: Lake, base: Path, reader: PostgresReader, repeat: int, wanted: int) -> float:
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        workspace = open_workspace(lake)
        view = BaseView(f"read_parquet({sql_text(str(base))})", pq.read_schema(base), 1)
        plan = reader.plan("public", "item", ("id",), view.columns)
        observe = nothing_on_its_way(workspace)
        run = FullRun(view, ("id",), workspace, reader, plan, observe, None, FullOptions(), "bench")
        found = run.compare().comparison.tally
        workspace.close()
        seconds.append(round(time.perf_counter() - started, 3))
        assert found.different == wanted, found
    return min(seconds)


def _theirs(dsn: str, file: Path, repeat: int, wanted: int) -> float:
    parts: dict[str, Any] = dict(conninfo_to_dict(dsn))
    os.environ["PGPASSWORD"] = parts.pop("password", "")
    source = {name: parts[name] for name in ("host", "port", "user", "dbname") if name in parts}
    options = {"source": source, "file": str(file), "columns": _BASE.names[1:]}
    task = Task(str(file.parent), "id", 0, repeat=repeat, options=options)
    outcome = run_child("bench.competitors.reladiff", task, python=OTHER_PYTHON)
    assert outcome.answer is not None, outcome.failure
    assert outcome.answer.details["differing"] == wanted, outcome.answer.details
    return round(min(outcome.answer.seconds), 3)


if __name__ == "__main__":
    main()
