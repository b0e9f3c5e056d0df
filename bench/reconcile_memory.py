"""Memory of a full comparison: every row of base against DMS's full load, 10 and 100 million rows.

    python -m bench.reconcile_memory                       # 40 GB of disk; half an hour to make the tables
    python -m bench.reconcile_memory --rows-of 10000000 --memory-limit 512MB
    python -m bench.reconcile_memory --key uuid            # another kind of key

The engine's one setting (``engine.memory_limit``) is at its default unless told otherwise; every row must be
found equal. The peak is that of a process which does nothing else.
Results: bench/results/reconcile_memory.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.children import run_child
from bench.competitors.task import Task
from bench.data import arguments, data_set, say, spare
from bench.lake import BenchLake
from bench.measured import told, wording
from bench.results import FOLDER, Results
from bench.rows import VARIANTS

NAME = "reconcile_memory"
_TIMEOUT = 7200


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--rows-of", type=int, nargs="+", default=[10_000_000, 100_000_000], help="rows of each table"
    )
    parser.add_argument("--key", choices=list(VARIANTS), default="bigint", help="kind of key")
    parser.add_argument("--memory-limit", help="engine.memory_limit, e.g. 1GB; default the product's own")
    parser.add_argument("--drop", action="store_true", help="remove each data set after its measurement")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args(argv)
    results = Results(NAME, folder=options.results)
    engine = {"memory_limit": options.memory_limit} if options.memory_limit else {}
    for rows in options.rows_of:
        spare(options.workdir, options.key, rows)
        lake = BenchLake(data_set(options.workdir, options.key, rows))
        lake.ensure_base(rebuild=options.rebuild)
        lake.reset()
        task = Task(str(options.workdir.resolve()), options.key, rows, options=engine, repeat=1)
        outcome = run_child("bench.competitors.product_reconcile", task, timeout=_TIMEOUT)
        measured = told(outcome, lambda answer: None)
        results.add({"key": options.key, "rows": rows, "memory_limit": options.memory_limit}, measured)
        say(f"{options.key} {rows:,} rows compared: {wording(measured)}")
        if options.drop:
            shutil.rmtree(lake.data.folder)


if __name__ == "__main__":
    main()
