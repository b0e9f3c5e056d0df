"""Merge one set of changes into a table as loaded, some times over, and print where the time went.

    python -m bench.one_merge --rows 10000000 --changes 100000 --repeat 3

The first merge of the process is cold; every merge starts from the same table. For profilers:

    python -X importtime / python -m cProfile -s cumulative -m bench.one_merge --repeat 1 …
"""

from __future__ import annotations

from collections.abc import Sequence

from bench.data import KINDS, arguments, data_set, make_changes, say
from bench.lake import BenchLake, checked, merge_changes
from bench.rows import VARIANTS


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line and merge."""
    parser = arguments(__doc__ or "")
    parser.add_argument("--key", choices=list(VARIANTS), default="bigint", help="kind of key")
    parser.add_argument("--changes", type=int, default=100_000, help="size of the set of changes")
    parser.add_argument("--kind", choices=KINDS, default="random", help="which keys change")
    parser.add_argument("--repeat", type=int, default=3, help="merges, each from the table as loaded")
    options = parser.parse_args(argv)
    lake = BenchLake(data_set(options.workdir, options.key, options.rows))
    files = make_changes(lake.data, options.changes, options.kind)
    lake.ensure_base(rebuild=options.rebuild)
    for number in range(options.repeat):
        with lake.fresh(files):
            result, seconds = merge_changes(lake.config)
        laps = ", ".join(
            f"{name} {lap:.3f}" for name, lap in checked(result, options.changes).seconds.items()
        )
        say(f"{'warm' if number else 'cold'} {seconds:.3f} s: {laps}")


if __name__ == "__main__":
    main()
