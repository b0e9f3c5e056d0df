"""The product's full load: from DMS's LOAD files on disk to the committed base table, in one merge."""

from __future__ import annotations

from bench.competitors.task import Answer, Task, serve
from bench.lake import LOADS, BenchLake
from cdc_platform.formats import dms_reader
from cdc_platform.lake import merge

#: Imported by the first load otherwise; the clock is not to run meanwhile.
_LIBRARIES = (dms_reader, merge)


def load(task: Task) -> Answer:
    """Load ``repeat`` times, each into a new lake; the last one is left for its check."""
    lake = BenchLake.of(task, LOADS)
    runs, laps = [], []
    for _ in range(task.repeat):
        lake.remove()
        lake.write_config(**task.options)
        result, seconds = lake.load()
        runs.append(seconds)
        laps.append({name: round(lap, 3) for name, lap in result.seconds.items()})
    return Answer(runs, details={"laps": laps})


if __name__ == "__main__":
    serve(load)
