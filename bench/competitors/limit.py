"""What no merge can beat: read the key column of the candidate files, write the changed rows, by pyarrow.

With random keys every data file is a candidate. The changed rows are in memory before the clock starts.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from bench.competitors.task import Answer, Task, serve, timed
from bench.lake import BenchLake


def touch(task: Task) -> Answer:
    """Time the reading of the keys and the writing of the changed rows."""
    lake = BenchLake.of(task)
    key = list(lake.data.variant.key)
    paths = lake.data_file_paths()
    changes = pq.read_table(lake.data.change_files(task.changes, task.kind))
    kept = changes.filter(ds.field("Op") != "D").select([*lake.data.variant.columns, "cdc_change_seq"])
    target = lake.folder / "limit.parquet"

    def read() -> None:
        for path in paths:
            pq.read_table(path, columns=key)

    def write() -> None:
        pq.write_table(kept, target, compression="zstd")

    pq.read_table(paths[0], columns=key)
    parts = [(timed(read), timed(write)) for _ in range(task.repeat)]
    target.unlink()
    pa.default_memory_pool().release_unused()
    details = {"read": [read for read, _ in parts], "write": [write for _, write in parts]}
    return Answer([sum(one) for one in parts], details=details)


if __name__ == "__main__":
    serve(touch)
