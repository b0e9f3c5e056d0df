"""Growth: what a merge into 10 million rows costs, and into 100 million.

    python -m bench.growth                          # both kinds; 40 GB of disk and an hour
    python -m bench.growth --only recent --large 30000000
    python -m bench.growth --drop                   # remove the larger data sets after their measurement

``recent``: changes of the newest million keys of a bigint table, goal 1.5 times. ``uuid``: 10,000 changes at
random UUID keys, goal 2 times. Every result is compared with counts and sums of the raw files. Results:
bench/results/growth.json.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.competitors.task import Task
from bench.data import arguments, data_set, make_changes, say, spare
from bench.lake import BenchLake
from bench.measured import wording
from bench.merge_speed import COMPETITORS, measure
from bench.results import FOLDER, Results

NAME = "growth"
_REPEAT = 5


@dataclass(frozen=True, slots=True)
class Case:
    """A kind of key, which keys change, and how many."""

    key: str
    kind: str
    changes: tuple[int, ...]


CASES = {"recent": Case("bigint", "recent", (10_000, 100_000)), "uuid": Case("uuid", "random", (10_000,))}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--large", type=int, default=100_000_000, help="rows of the larger table")
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES), help="only these")
    parser.add_argument(
        "--changes", type=int, nargs="+", help="sizes of sets of changes, instead of a case's"
    )
    parser.add_argument("--repeat", type=int, default=_REPEAT, help="warm merges; the median is told")
    parser.add_argument("--timeout", type=float, default=1800, help="seconds a child may take")
    parser.add_argument("--drop", action="store_true", help="remove the larger data sets at the end")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args(argv)
    results = Results(NAME, folder=options.results)
    for name in options.only:
        case = CASES[name]
        for rows in (options.rows, options.large):
            spare(options.workdir, case.key, rows)
            lake = BenchLake(data_set(options.workdir, case.key, rows))
            lake.ensure_base(rebuild=options.rebuild)
            for changes in options.changes or case.changes:
                make_changes(lake.data, changes, case.kind)
                task = Task(str(options.workdir.resolve()), case.key, rows, changes, case.kind)
                measured = measure(lake, COMPETITORS["product"], task, options.repeat, options.timeout)
                results.add({"case": name, "rows": rows, "changes": changes}, measured)
                say(f"{name} {changes:,} changes into {rows:>11,} rows {wording(measured)}")
            if options.drop and rows == options.large:
                shutil.rmtree(lake.data.folder)


if __name__ == "__main__":
    main()
