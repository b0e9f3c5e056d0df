"""Random pairs of tables with up to five edits, compared in full and judged by a plain oracle.

    python -m bench.pairs                      100,000 pairs
    python -m bench.pairs --pairs 1000 --seed 7

It ends with a failure at the first verdict that is wrong, and says with which seed to see it again.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Sequence
from random import Random

import duckdb

from bench.results import Results
from cdc_platform_tests.reconcile.pairs import compare_pair, fault_of, random_pair


def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, compare the pairs and keep what was counted."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(argv)
    verdicts: Counter[str] = Counter()
    started = time.perf_counter()
    with duckdb.connect(config={"threads": 1}) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for number in range(chosen.pairs):
            random = Random(f"{chosen.seed}/{number}")
            pair = random_pair(random)
            size, ranged = random.choice([1, 5, 1000]), random.random() < 0.5
            found = compare_pair(connection, pair, rows_per_segment=size, ranged=ranged)
            if fault := fault_of(pair, found):
                raise SystemExit(f"pair {number} of seed {chosen.seed}: {fault}")
            verdicts[found.verdict.value] += 1
            if (number + 1) % 1000 == 0:
                print(f"{number + 1:,} of {chosen.pairs:,} pairs, all judged right", flush=True)
    measured = {
        "pairs": chosen.pairs,
        "false_match": 0,
        "false_different": 0,
        "verdicts": dict(verdicts),
        "seconds": round(time.perf_counter() - started, 1),
    }
    Results("pairs").add({"seed": chosen.seed}, measured)
    print(measured)


if __name__ == "__main__":
    main()
