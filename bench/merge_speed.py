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
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import verify
from bench.children import OTHER_PYTHON, Outcome, run_child
from bench.competitors.task import Task
from bench.data import SIZES, arguments, data_set, make_changes, say
from bench.lake import BenchLake
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
        lake.ensure_base()
        for changes in options.changes:
            for name in options.only:
                competitor = COMPETITORS[name]
                what = {"rows": options.rows, "key": key, "changes": changes, "competitor": name}
                if changes <= competitor.largest and not (options.resume and results.has(**what)):
                    task = Task(str(options.workdir.resolve()), key, options.rows, changes)
                    measured = measure(lake, competitor, task, options.repeat, options.timeout)
                    results.add(what, measured)
                    say(f"{key} {changes:>9,} {name:<9} {_told(measured)}")


def measure(
    lake: BenchLake, competitor: Competitor, task: Task, repeat: int | None, timeout: float
) -> dict[str, Any]:
    """Run one competitor on one set of changes, and check the table it leaves."""
    asked = Task(task.workdir, task.key, task.rows, task.changes, task.kind, repeat or competitor.repeat)
    try:
        outcome = run_child(
            f"bench.competitors.{competitor.module}", asked, python=competitor.python, timeout=timeout
        )
        return told(outcome, lambda answer: _wrong(lake, competitor, asked, answer.relation))
    finally:
        lake.reset()


def told(outcome: Outcome, wrong: Callable[[Any], str | None]) -> dict[str, Any]:
    """Return an outcome as an entry's values; an answer ``wrong`` finds fault with is a failure."""
    memory = {"peak_rss": outcome.peak_rss, "peak_anonymous": outcome.peak_anonymous}
    common = {**memory, "process_seconds": round(outcome.wall_seconds, 3)}
    answer = outcome.answer
    failure = outcome.failure or (wrong(answer) if answer else "no answer")
    if answer is None or failure:
        return {**common, "failure": failure}
    return {
        **common,
        "seconds": round(statistics.median(answer.seconds), 4),
        "runs": [round(one, 4) for one in answer.seconds],
        "cold": None if answer.cold is None else round(answer.cold, 4),
        "details": answer.details,
    }


def _wrong(lake: BenchLake, competitor: Competitor, task: Task, relation: str | None) -> str | None:
    if not competitor.is_checked:
        return None
    wanted = verify.expected(lake.data, task.changes, task.kind, deletes=competitor.deletes)
    found = verify.actual(lake, relation)
    return None if found == wanted else f"the table is wrong: {found} instead of {wanted}"


def _told(measured: dict[str, Any]) -> str:
    if "failure" in measured:
        return f"failed: {measured['failure']}"
    cold = "" if measured["cold"] is None else f", cold {measured['cold']:.2f} s"
    return f"{measured['seconds']:8.3f} s{cold}, {measured['peak_anonymous'] / 2**20:,.0f} MiB"


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
