"""The product's full comparison of base with an export: every row and column of both."""

from __future__ import annotations

from pathlib import Path

from bench.competitors.task import Answer, Task, serve
from bench.data import SOURCE, TABLE
from bench.exported import Exported
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full import compare_full, whole_options
from cdc_platform.reconcile.verdict import Verdict


def compare(task: Task) -> Answer:
    """Compare ``repeat`` times; every row must be equal."""
    tables = Exported(Path(task.workdir), task.key, task.rows)
    tables.write_config(**task.options)
    seconds = []
    for _ in range(task.repeat):
        platform = Platform.open(tables.config)
        options = whole_options(platform.lake, str(tables.export), None, budget=Budget())
        found = compare_full(platform, SOURCE, TABLE, options)
        (comparison,) = found.comparisons
        if (found.verdict, comparison.tally.matched) != (Verdict.MATCH, task.rows):
            raise SystemExit(f"{found.verdict}, {comparison.tally.matched:,} rows alike: {comparison.reason}")
        seconds.append(found.seconds)
        platform.lake.close()
    return Answer(seconds)


if __name__ == "__main__":
    serve(compare)
