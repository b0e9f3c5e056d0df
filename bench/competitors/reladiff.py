"""reladiff between a table in PostgreSQL and one in a DuckDB file, as its ``diff_tables`` gives it.

Runs in an environment of its own (``make bench-env``). The task's options are the parts of the source's
connection (the password is in ``PGPASSWORD``), the path of the DuckDB file, and the columns.
"""

from __future__ import annotations

import os
from typing import Any

import reladiff as tool  # type: ignore[import-not-found]  # of an environment of its own

from bench.competitors.task import Answer, Task, serve, timed

_THREADS = 2


def compare(task: Task) -> Answer:
    """Compare ``repeat`` times; the details say how many rows differ."""
    runs, found = [], 0
    for _ in range(task.repeat):
        tables = [tool.connect_to_table(where, "item", "id", _THREADS) for where in _sides(task.options)]

        def run(tables: list[Any] = tables) -> None:
            nonlocal found
            extra = tuple(task.options["columns"])
            answer = tool.diff_tables(
                *tables, extra_columns=extra, algorithm=tool.Algorithm.HASHDIFF, max_threadpool_size=_THREADS
            )
            # a changed row comes as two
            found = len({row[0] for _, row in answer})

        runs.append(timed(run))
        for table in tables:
            table.database.close()
    return Answer(runs, details={"differing": found})


def _sides(options: dict[str, Any]) -> list[dict[str, Any]]:
    source = {"driver": "postgresql", "password": os.environ["PGPASSWORD"], **options["source"]}
    return [source, {"driver": "duckdb", "filepath": options["file"]}]


if __name__ == "__main__":
    serve(compare)
