"""Writers, maintenance and a reader on one table for minutes: `python -m bench.concurrency --seconds 180`.

Four processes merge overlapping sets of files, one compacts and expires snapshots, one reads; after every few
files the table is compared with the oracle. It ends with the first difference. The sum of what was done goes
to bench/results/concurrency.json.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

from bench.results import Results


def main() -> int:
    """Run it; the last line is the sum of what was done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cdc-concurrency-") as folder:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "cdc_platform_tests.concurrency.writers", folder),
                *("--seconds", str(options.seconds), "--seed", str(options.seed)),
            ],
            env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            text=True,
        )
    print(done.stdout, end="")
    if done.returncode == 0:
        Results("concurrency").add({"seed": options.seed}, json.loads(done.stdout.splitlines()[-1]))
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
