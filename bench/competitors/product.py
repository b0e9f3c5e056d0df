"""The product's embedded engine: from DMS files on disk to the committed snapshot, all included.

That is: opening the configuration and the catalog, taking in, reading, the stale guard, tombstones,
file-scoped position deletes, the record of applied files, and the snapshot.
"""

from __future__ import annotations

from bench.competitors.task import Answer, Task, serve
from bench.lake import BenchLake, checked, merge_changes


def merge(task: Task) -> Answer:
    """Merge once cold (a fresh process, and no key index of the table yet), then ``repeat`` times warm."""
    lake = BenchLake.of(task)
    files = lake.data.change_files(task.changes, task.kind)
    runs, laps = [], []
    lake.forget_indexes()
    for _ in range(task.repeat + 1):
        lake.reset()
        lake.place(files)
        result, seconds = merge_changes(lake.config)
        checked(result, task.changes)
        runs.append(seconds)
        laps.append({name: round(lap, 4) for name, lap in result.seconds.items()})
    return Answer(runs[1:] or runs, cold=runs[0], details={"laps": laps})


if __name__ == "__main__":
    serve(merge)
