"""Merge speed: the product against what users would pick instead, side by side in one run.

    python -m bench.merge_speed                                  # everything: 45 minutes on 2 quiet cores
    python -m bench.merge_speed --only product limit --key uuid  # again, only these
    python -m bench.merge_speed --resume                         # go on with a run that was interrupted

Each measurement is a child process of its own. The clock runs from DMS's files on disk to the committed
table, with libraries (and Spark's session) warm; the first merge of a fresh process is told as well.
Each result is compared with counts and sums that DuckDB makes from the raw files alone: a competitor whose
table is wrong has no time. The results go to bench/results/merge_speed.json, tables to docs/performance.md
by ``python -m bench.report``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench import verify
from bench.children import OTHER_PYTHON, run_child
from bench.competitors.task import Answer, Task
from bench.data import SIZES, arguments, data_set, make_changes, say
from bench.lake import BenchLake
from bench.measured import told, wording
from bench.results import FOLDER, Results
from bench.rows import VARIANTS

NAME = "merge_speed"


@dataclass(frozen=True, slots=True)
class Competitor:
    """A program of bench/competitors and how it is measured."""

    name: str
    module: str
    #: How often a warm run is repeated in one child, when the command line does not say.
    repeat: int
    largest: int = SIZES[-1]
    deletes: bool = True
    is_checked: bool = True
    python: Path | None = None


COMPETITORS = {
    one.name: one
    for one in (
        Competitor("product", "product", 3),
        Competitor("limit", "limit", 3, is_checked=False),
        Competitor("delta-rs", "delta_rs", 1, python=OTHER_PYTHON),
        Competitor("spark", "spark", 1),
        Competitor("upsert", "upsert", 1, largest=10_000, deletes=False),
        Competitor("rewrite", "rewrite", 1),
    )
}


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    options = _parsed(argv)
    results = Results(NAME, folder=options.results)
    if options.resume:
        results.run = results.last_run() or results.run
    for key in options.key:
        lake = BenchLake(data_set(options.workdir, key, options.rows))
        for changes in options.changes:
            make_changes(lake.data, changes)
        lake.ensure_base(rebuild=options.rebuild)
        for changes in options.changes:
            for name in options.only:
                competitor = COMPETITORS[name]
                what = {"rows": options.rows, "key": key, "changes": changes, "competitor": name}
                if changes <= competitor.largest and not (options.resume and results.has(**what)):
                    task = Task(str(options.workdir.resolve()), key, options.rows, changes)
                    measured = measure(lake, competitor, task, options.repeat, options.timeout)
                    results.add(what, measured)
                    say(f"{key} {changes:>9,} {name:<9} {wording(measured)}")


def measure(
    lake: BenchLake, competitor: Competitor, task: Task, repeat: int | None, timeout: float
) -> dict[str, Any]:
    """Run one competitor on one set of changes, and check the table it leaves."""
    asked = replace(task, repeat=competitor.repeat if repeat is None else repeat)

    def wrong(answer: Answer) -> str | None:
        if not competitor.is_checked:
            return None
        wanted = verify.expected(lake.data, task.changes, task.kind, deletes=competitor.deletes)
        return verify.difference(lake, wanted, answer.relation)

    try:
        outcome = run_child(
            f"bench.competitors.{competitor.module}", asked, python=competitor.python, timeout=timeout
        )
        return {**told(outcome, wrong), "base_made_by": lake.made_by()}
    finally:
        lake.reset()


def _parsed(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--key", nargs="+", choices=list(VARIANTS), default=list(VARIANTS), help="kinds of key"
    )
    parser.add_argument(
        "--changes", type=int, nargs="+", default=list(SIZES), help="sizes of sets of changes"
    )
    parser.add_argument(
        "--only", nargs="+", choices=list(COMPETITORS), default=list(COMPETITORS), help="these competitors"
    )
    parser.add_argument("--repeat", type=int, help="warm runs in each child, of which the median is told")
    parser.add_argument("--timeout", type=float, default=900, help="seconds a child may take (default 900)")
    parser.add_argument("--resume", action="store_true", help="go on with the newest run")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
