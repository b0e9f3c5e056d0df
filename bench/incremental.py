"""An incremental comparison after 1 % of the rows changed, beside a full one of the same table, in one run.

    python -m bench.incremental                10 million rows of 10 columns in PostgreSQL and in base

Base is made by the product from a full load and one file of changes, nine of ten of them updates: of keys
drawn from all over the table (``random``), then, with all made anew, of its newest rows (``recent``).
Both runs are what ``cdc reconcile`` does but for the results it writes. Wall time and processor time of this
process and of the source's server are measured; the machine may be shared, so the share is told of both.
``keys`` is a run that brings the proofs up to now; in ``keys_and_a_turn`` they are three hours old.
"""

from __future__ import annotations

import resource
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psutil  # type: ignore[import-untyped]
import psycopg
import pyarrow.parquet as pq
from pydantic import SecretStr

from bench.data import arguments, say
from bench.reconcile import COLUMNS, make_source
from bench.results import Results
from cdc_platform.config.model import (
    Connection,
    LakeConfig,
    PlatformConfig,
    RawOptions,
    SourceConfig,
    TableConfig,
    WindowOptions,
)
from cdc_platform.formats.dms_names import change_file_key, load_file_key
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform.pipeline import Platform, merge_table, take_in
from cdc_platform.reconcile.full import FullOptions, compare_full
from cdc_platform.reconcile.proofs import read_proofs, write_proofs
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.shop import ToldPlatform, log_position

_DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)
_RAW = {
    "timestamp_column": None,
    "change_sequence_column": None,
    "stream_position_column": None,
}
_KINDS = {
    "random": "abs(hashint8(id)::bigint) % 100000 < {share} * 100000",
    "recent": "id > {rows} * (1 - {share})",
}


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, make the table, and measure."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--kind", nargs="+", choices=list(_KINDS), default=list(_KINDS), help="which keys change"
    )
    parser.add_argument("--share", type=float, default=0.01, help="share of the rows that change")
    parser.add_argument("--repeat", type=int, default=3, help="runs of each kind")
    options = parser.parse_args(argv)
    folder, results = options.workdir.resolve() / "incremental", Results("incremental")
    for kind in options.kind:
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "raw").mkdir(parents=True)
        try:
            with EmbeddedPostgres(folder / "server", durable=False) as server:
                dsn = server.create_database("bench")
                what = {"rows": options.rows, "changed": options.share, "kind": kind}
                results.add(what, _measure(folder, dsn, options.repeat, **what))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _measure(folder: Path, dsn: str, repeat: int, rows: int, changed: float, kind: str) -> dict[str, Any]:
    platform = _platform(folder, dsn)
    make_source(dsn, rows)
    _write(
        dsn, folder / "raw" / load_file_key("public", "item", 1, extension="parquet"), "SELECT * FROM item"
    )
    _apply(platform)
    say(f"{rows:,} rows in the source and in base")
    full = [_timed(folder, lambda: _compare(platform, rows)) for _ in range(repeat)]
    changed_rows = _change(folder, dsn, _KINDS[kind].format(rows=rows, share=changed))
    _apply(platform)
    say(f"{changed_rows:,} {kind} rows changed")
    kept = read_proofs(platform.objects("bench", "item"))
    assert kept is not None
    measured: dict[str, Any] = {"changed_rows": changed_rows, "full": _best(full)}
    for name, age in (("keys", timedelta()), ("keys_and_a_turn", timedelta(hours=3))):
        older = {n: replace(one, verified_at=one.verified_at - age) for n, one in kept.segments.items()}
        runs = []
        for _ in range(repeat):
            write_proofs(platform.objects("bench", "item"), replace(kept, segments=older))
            runs.append(_timed(folder, lambda: _compare(platform, rows, incremental=True)))
        measured[name] = _best(runs)
        measured[f"{name}_share"] = {
            one: round(measured[name][one] / measured["full"][one], 4) for one in measured["full"]
        }
        say(f"{name}: {measured[name]} of full {measured['full']}: {measured[f'{name}_share']}")
    platform.lake.close()
    return measured


def _platform(folder: Path, dsn: str) -> ToldPlatform:
    source = SourceConfig(
        raw=RawOptions(location=str(folder / "raw"), **_RAW),
        window=WindowOptions(start=_DAY.date()),
        connection=Connection(dsn=SecretStr(dsn)),
        tables=(TableConfig(name="public.item", merge_key=("id",)),),
    )
    lake = LakeConfig(warehouse="warehouse")
    platform = ToldPlatform(PlatformConfig(base_folder=folder, lake=lake, sources={"bench": source}))
    platform.captured = lambda: log_position(dsn)
    return platform


def _write(dsn: str, path: Path, query: str, **more: str) -> int:
    """Write what ``query`` gives as a raw file; ``more`` are types of columns before the table's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = path.with_suffix(".csv")
    copying = f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)"
    with psycopg.connect(dsn) as connection, text.open("wb") as file, connection.cursor() as cursor:  # noqa: SIM117
        with cursor.copy(copying) as copy:
            for block in copy:
                file.write(block)
    # Iceberg's names of types are also DuckDB's
    kinds = {**more, **{name: str(kind) for name, (kind, _) in COLUMNS.items()}}
    with duckdb.connect() as engine:
        engine.execute("SET TimeZone = 'UTC'")
        engine.execute(
            f"COPY (FROM read_csv('{text}', header = true, columns = {kinds})) "
            f"TO '{path}' (FORMAT parquet, COMPRESSION uncompressed)"
        )
    text.unlink()
    return int(pq.read_metadata(path).num_rows)


def _change(folder: Path, dsn: str, where: str) -> int:
    """Change these rows in the source, every tenth by deleting it, and write what changed as DMS would."""
    where, tenth = f"WHERE {where}", "hashint8(id + 1) % 10 = 0"
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"CREATE TABLE gone AS SELECT * FROM item {where} AND {tenth}")
        connection.execute(f"DELETE FROM item {where} AND {tenth}")
        connection.execute(f"UPDATE item SET quantity = quantity + 1, note = note || ' changed' {where}")
        connection.execute("VACUUM ANALYZE item")
    key = change_file_key("public", "item", _DAY + timedelta(minutes=10), extension="parquet")
    query = " UNION ALL ".join(
        f'SELECT \'{op}\' AS "Op", id AS "BI_id", * FROM {rows}'
        for op, rows in (("U", f"item {where}"), ("D", "gone"))
    )
    return _write(dsn, folder / "raw" / key, query, Op="string", BI_id="long")


def _apply(platform: Platform) -> None:
    take_in(platform, "bench")
    merge_table(platform, "bench", "item")


def _compare(platform: Platform, rows: int, **options: Any) -> Reconciliation:
    found = compare_full(platform, "bench", "item", FullOptions(**options))
    assert found.verdict is Verdict.MATCH, found.sentence
    return found


def _timed(folder: Path, step: Callable[[], Reconciliation]) -> dict[str, float]:
    started, before, source = time.perf_counter(), _own_seconds(), _source_seconds(folder)
    step()
    return {
        "seconds": round(time.perf_counter() - started, 3),
        "processor_seconds": round(_own_seconds() - before + _source_seconds(folder) - source, 3),
        "source_processor_seconds": round(_source_seconds(folder) - source, 3),
    }


def _own_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _source_seconds(folder: Path) -> float:
    """Return the processor time of the source's server, of sessions that ended as well."""
    (pid_file,) = (folder / "server").rglob("postmaster.pid")
    postmaster = psutil.Process(int(pid_file.read_text().split()[0]))
    total = 0.0
    for process in [postmaster, *postmaster.children()]:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
        if process == postmaster:
            total += used.children_user + used.children_system
    return float(total)


def _best(runs: Sequence[dict[str, float]]) -> dict[str, float]:
    return {kind: min(run[kind] for run in runs) for kind in runs[0]}


if __name__ == "__main__":
    main()
