"""Full load: the product against pyarrow reading and writing the same rows with the same codec.

    python -m bench.full_load                # 10 million rows: 5 minutes
    python -m bench.full_load --only product --key uuid

pyarrow reads as its data sets do by default (``pyarrow``), and with a thread per file (``pyarrow-threads``).
Each is a child process of its own; all results are compared with counts and sums of the raw files. The goal
is 1.3 times pyarrow's time. Results: bench/results/full_load.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import verify
from bench.children import run_child
from bench.competitors.task import Answer, Task
from bench.data import arguments, data_set, say
from bench.lake import LOADS, BenchLake
from bench.measured import told, wording
from bench.results import FOLDER, Results
from bench.rows import VARIANTS

NAME = "full_load"
THREADS = 2
#: What is measured → its module and options.
LOADERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "pyarrow": ("pyarrow_load", {}),
    "pyarrow-threads": ("pyarrow_load", {"threads": THREADS}),
    "product": ("product_load", {}),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--key", nargs="+", choices=list(VARIANTS), default=["bigint"], help="kinds of key")
    parser.add_argument("--only", nargs="+", choices=list(LOADERS), default=list(LOADERS), help="only these")
    parser.add_argument("--repeat", type=int, default=1, help="loads in each child; the median is told")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args(argv)
    results = Results(NAME, folder=options.results)
    for key in options.key:
        data = data_set(options.workdir, key, options.rows)
        lake = BenchLake(data, LOADS)
        for name in options.only:
            module, settings = LOADERS[name]
            workdir = str(options.workdir.resolve())
            task = Task(workdir, key, options.rows, repeat=options.repeat, options=dict(settings))
            measured = load(lake, module, task)
            results.add({"rows": options.rows, "key": key, "competitor": name}, measured)
            say(f"{key} {options.rows:,} rows {name:<15} {wording(measured)}")


def load(lake: BenchLake, module: str, task: Task) -> dict[str, object]:
    """Run one full load and check its rows; the lake it went into is removed."""

    def wrong(answer: Answer) -> str | None:
        return verify.difference(lake, verify.expected(lake.data, 0), answer.relation)

    BenchLake(lake.data).remove_changes()
    try:
        return told(run_child(f"bench.competitors.{module}", task), wrong)
    finally:
        lake.remove()


if __name__ == "__main__":
    main()
