"""Memory of a full comparison: every row and column of base against an export, 10 and 100 million rows.

    python -m bench.reconcile_memory                       # 6 GB of disk; some minutes to make the tables
    python -m bench.reconcile_memory --rows-of 10000000 --memory-limit 512MB
    python -m bench.reconcile_memory --key uuid            # another kind of key
    python -m bench.reconcile_memory --key ordered         # an export whose rows lie as base's do
    python -m bench.reconcile_memory --key none            # no key: whole rows as a multiset

The same columns (ten) and the same way at either size. Both sides are written past the merge (see
``bench.exported``), since a merge of 100 million rows would take most of the time and is not what is measured
here: base is an Iceberg table without delete files, the export Parquet. The comparison is the product's own,
as ``cdc reconcile --full --against`` makes it but for the report. The engine's one setting
(``engine.memory_limit``) is at its default unless told otherwise; every row must be found equal. The peak is
that of a process which does nothing else. Results: bench/results/reconcile_memory.json.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bench.children import run_child
from bench.competitors.task import Task
from bench.data import arguments, say
from bench.exported import KEYS, Exported
from bench.measured import told, wording
from bench.results import FOLDER, Results

NAME = "reconcile_memory"
_TIMEOUT = 7200


def main(argv: Sequence[str] | None = None) -> None:
    """Measure what the command line asks for."""
    parser = arguments(__doc__ or "")
    parser.add_argument(
        "--rows-of", type=int, nargs="+", default=[10_000_000, 100_000_000], help="rows of each table"
    )
    parser.add_argument("--key", choices=list(KEYS), default="bigint", help="kind of key")
    parser.add_argument("--memory-limit", help="engine.memory_limit, e.g. 1GB; default the product's own")
    parser.add_argument("--drop", action="store_true", help="remove the tables after each measurement")
    parser.add_argument("--results", type=Path, default=FOLDER, help="folder of the results")
    options = parser.parse_args(argv)
    results = Results(NAME, folder=options.results)
    engine = {"memory_limit": options.memory_limit} if options.memory_limit else {}
    for rows in options.rows_of:
        tables = Exported(options.workdir.resolve(), options.key, rows)
        if options.rebuild:
            tables.remove()
        tables.ensure()
        task = Task(str(tables.workdir), options.key, rows, options=engine, repeat=1)
        outcome = run_child("bench.competitors.product_reconcile", task, timeout=_TIMEOUT)
        measured = told(outcome, lambda answer: None)
        results.add({"key": options.key, "rows": rows, "memory_limit": options.memory_limit}, measured)
        say(f"{options.key} {rows:,} rows compared: {wording(measured)}")
        if options.drop:
            tables.remove()


if __name__ == "__main__":
    main()
