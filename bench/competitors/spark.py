"""Spark's ``MERGE INTO`` on the same Iceberg table, merge-on-read, in a local session of two threads.

The session is warm: it has merged the same changes once before the clock starts. The changes are read from
DMS's files within the statement; the stale guard is in its conditions.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from bench.competitors.iceberg_changes import position_sql
from bench.competitors.task import Answer, Task, serve, timed
from bench.data import SOURCE, TABLE
from bench.lake import BenchLake
from bench.rows import VALUES, Variant
from cdc_platform.pipeline import Platform
from cdc_platform.spark.session import spark_session, stop_session

_MODES = ", ".join(f"'write.{action}.mode' = 'merge-on-read'" for action in ("merge", "update", "delete"))
_MEMORY = "4g"


def merge(task: Task) -> Answer:
    """Start a session, merge once to warm it, then ``repeat`` times."""
    lake = BenchLake.of(task)
    files = lake.data.change_files(task.changes, task.kind)
    lake.reset()
    platform = Platform.open(lake.config)
    started = time.perf_counter()
    session = spark_session(platform.config, threads=2, memory=_MEMORY)
    session_seconds = time.perf_counter() - started
    try:
        runs = [_merge_once(session, lake, platform, files) for _ in range(task.repeat + 1)]
    finally:
        stop_session(session)
        platform.lake.close()
        shutil.rmtree(Path("spark-warehouse"), ignore_errors=True)
    return Answer(runs[1:] or runs, cold=runs[0], details={"session": session_seconds, "memory": _MEMORY})


def _merge_once(session: Any, lake: BenchLake, platform: Platform, files: list[Path]) -> float:
    lake.reset()
    name = f"{platform.config.lake.catalog.name}.{SOURCE}.{TABLE}"
    session.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('format-version' = '2', {_MODES})")
    generation = session.sql(f"SELECT max(_cdc_generation) FROM {name}").collect()[0][0]

    def merge() -> None:
        session.read.parquet(*map(str, files)).createOrReplaceTempView("dms")
        session.sql(_statement(lake.data.variant, name, generation))

    return timed(merge)


def _statement(variant: Variant, name: str, generation: int) -> str:
    columns = [*variant.key, *VALUES]
    control = {
        "_cdc_op": "Op",
        "_cdc_generation": f"{generation}L",
        "_cdc_position": position_sql("DECIMAL(38, 0)"),
        "_cdc_committed_at": "CAST(dms_timestamp AS TIMESTAMP)",
    }
    source = ", ".join([*(f"{sql} AS {column}" for column, sql in control.items()), *columns])
    newer = "s._cdc_position > t._cdc_position"
    values = [*control, *columns]
    return f"""MERGE INTO {name} t USING (SELECT {source} FROM dms) s
        ON {" AND ".join(f"t.{column} = s.{column}" for column in variant.key)}
        WHEN MATCHED AND s._cdc_op = 'D' AND {newer} THEN DELETE
        WHEN MATCHED AND {newer} THEN UPDATE SET {", ".join(f"t.{c} = s.{c}" for c in values)}
        WHEN NOT MATCHED AND s._cdc_op <> 'D' THEN
            INSERT ({", ".join(values)}) VALUES ({", ".join(f"s.{c}" for c in values)})"""


if __name__ == "__main__":
    serve(merge)
