"""Memory: full loads of 10 and 100 million rows, and a merge of 5 million changes, each under 2 GiB.

    python -m bench.memory                          # 60 GB of disk and an hour
    python -m bench.memory --only load merge        # without the load of 100 million
    python -m bench.memory --memory-limit 1GB       # with another value of the one setting

The engine's one setting (``engine.memory_limit``) is at its default unless told otherwise. The peak is that
of a process which does nothing else, as the kernel counts it. Results: bench/results/memory.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.competitors.task import Task
from bench.data import arguments, data_set, make_changes, say, spare
from bench.full_load import load
from bench.lake import LOADS, BenchLake
from bench.measured import wording
from bench.merge_speed import Competitor, measure
from bench.results import FOLDER, Results

NAME = "memory"
CASES = ("load", "load-large", "merge")
_TIMEOUT = 7200


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", type=int, default=100_000_000, help="rows of the larger full load")
    parser.add_argument("--changes", type=int, default=5_000_000, help="changes of the merge")
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES), help="only these")
    parser.add_argument("--memory-limit", help="engine.memory_limit, e.g. 1GB; default the product's own")
    parser.add_argument("--drop", action="store_true", help="remove the larger data set at the end")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args(argv)
    results = Results(NAME, folder=options.results)
    engine = {"memory_limit": options.memory_limit} if options.memory_limit else {}
    for case in options.only:
        rows = options.large if case == "load-large" else options.rows
        spare(options.workdir, "bigint", rows)
        changes = options.changes if case == "merge" else 0
        task = Task(str(options.workdir.resolve()), "bigint", rows, changes, repeat=1, options=engine)
        measured = _merge(task, options.rebuild) if changes else _load(task)
        what = {"case": case, "rows": rows, "changes": changes, "memory_limit": options.memory_limit}
        results.add(what, measured)
        say(f"{case} {rows:,} rows, {changes:,} changes: {wording(measured)}")
        if options.drop and case == "load-large":
            shutil.rmtree(BenchLake.of(task).data.folder)


def _load(task: Task) -> dict[str, Any]:
    data = data_set(Path(task.workdir), task.key, task.rows)
    return load(BenchLake(data, LOADS), "product_load", task)


def _merge(task: Task, rebuild: bool) -> dict[str, Any]:
    lake = BenchLake(data_set(Path(task.workdir), task.key, task.rows))
    make_changes(lake.data, task.changes)
    lake.ensure_base(rebuild=rebuild)
    lake.write_config(**task.options)
    try:
        return measure(lake, Competitor("product", "product", 0), task, 0, _TIMEOUT)
    finally:
        lake.write_config()


if __name__ == "__main__":
    main()
