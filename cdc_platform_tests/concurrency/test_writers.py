"""Four writers, a compaction with snapshot expiry, a reader and publications on one table at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

SHAPES = ("hard", "appended", "held")


def test_writers_of_one_table_beside_maintenance_leave_what_the_oracle_says(tmp_path: Path) -> None:
    # it fails by itself on the first difference, on a key read twice, and on an error that is not retryable
    run = subprocess.run(
        [
            *(sys.executable, "-m", "cdc_platform_tests.concurrency.writers", str(tmp_path)),
            *("--seconds", "8", "--shapes", ",".join(SHAPES)),
        ],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"},
    )
    assert 0 == run.returncode, run.stderr[-3000:]
    tally = json.loads(run.stdout)

    assert len(SHAPES) <= tally["epochs"]
    assert tally["merges"] == sum(tally["attempts"].values())
    # writers did meet, and planned again
    assert 1 < max(map(int, tally["attempts"]))
    assert tally["reads"]
    assert tally["publications"]
