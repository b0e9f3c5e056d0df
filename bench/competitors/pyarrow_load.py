"""pyarrow reading the LOAD files and writing the source's columns again, with the codec of base tables.

In batches. As a data set's scanner does it by default: reading ahead with as many threads as there are
cores, one writer; or, with the option ``threads``, a file per thread, each read and written by itself. It
makes no table, keeps no key unique and no order: what a load cannot be faster than by much.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.competitors.task import Answer, Task, serve, timed
from bench.lake import LOADS, BenchLake

_BATCH_ROWS = 131_072


def copy(task: Task) -> Answer:
    """Copy ``repeat`` times; the last copy is left for its check."""
    lake = BenchLake.of(task, LOADS)
    files, columns = lake.data.load_files, list(lake.data.variant.columns)
    target, threads = lake.folder / "copy", task.options.get("threads", 0)

    def scanned() -> None:
        scanner = ds.dataset(list(map(str, files))).scanner(columns=columns, batch_size=_BATCH_ROWS)
        _write(scanner.to_batches(), target / "copy.parquet")

    def each(path: Path) -> None:
        file = pq.ParquetFile(path)
        _write(file.iter_batches(_BATCH_ROWS, columns=columns, use_threads=False), target / path.name)

    def side_by_side() -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(each, files))

    runs = []
    for _ in range(task.repeat):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        runs.append(timed(side_by_side if threads else scanned))
    return Answer(runs, relation=f"read_parquet('{target}/*.parquet')")


def _write(batches: Iterable[pa.RecordBatch], path: Path) -> None:
    writer = None
    for batch in batches:
        if writer is None:
            writer = pq.ParquetWriter(path, batch.schema, compression="zstd")
        writer.write_batch(batch, row_group_size=_BATCH_ROWS)
    if writer is not None:
        writer.close()


if __name__ == "__main__":
    serve(copy)
