"""pyarrow reading the LOAD files and writing the source's columns again, with the codec of base tables.

In batches, reading ahead with as many threads as there are cores, as a data set's scanner does by default.
It makes no table, keeps no key unique and no order: what a load cannot be faster than by much.
"""

from __future__ import annotations

import shutil

import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.competitors.task import Answer, Task, serve, timed
from bench.lake import LOADS, BenchLake

_BATCH_ROWS = 131_072
_FILE_ROWS = 2_000_000


def copy(task: Task) -> Answer:
    """Copy ``repeat`` times; the last copy is left for its check."""
    lake = BenchLake.of(task, LOADS)
    files, columns = list(map(str, lake.data.load_files)), list(lake.data.variant.columns)
    target = lake.folder / "copy"

    def once() -> None:
        rows, number, writer = 0, 0, None
        for batch in ds.dataset(files).scanner(columns=columns, batch_size=_BATCH_ROWS).to_batches():
            if writer is None or rows >= _FILE_ROWS:
                if writer is not None:
                    writer.close()
                rows, number = 0, number + 1
                writer = pq.ParquetWriter(target / f"{number:05d}.parquet", batch.schema, compression="zstd")
            writer.write_batch(batch, row_group_size=_BATCH_ROWS)
            rows += batch.num_rows
        if writer is not None:
            writer.close()

    runs = []
    for _ in range(task.repeat):
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        runs.append(timed(once))
    return Answer(runs, relation=f"read_parquet('{target}/*.parquet')")


if __name__ == "__main__":
    serve(copy)
