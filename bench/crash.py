"""Kill merges thousands of times and count what was lost: `python -m bench.crash --kills 2000`.

Two processes at a time, each with a lake of its own below the folder given; every kill is followed by a look
at the table, a restart that merges the same again, and another look. It ends with the first difference.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cdc_platform_tests.crash.workload import SHAPES

_A_TIME = 50


def main() -> None:
    """Run it and print the sums."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=2_000)
    parser.add_argument(
        "--folder", type=Path, default=None, help="default: a temporary one, removed at the end"
    )
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="cdc-crash-"))
    started = time.monotonic()
    points: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    try:
        for report in _reports(folder, options.kills):
            points.update(report.pop("points"))
            sums.update(report)
            minutes = (time.monotonic() - started) / 60
            print(f"{minutes:.1f} min: {sums['kills']} kills, {sums['rounds']} restarts", flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(
        json.dumps(
            {**sums, "points": dict(points.most_common()), "seconds": round(time.monotonic() - started)}
        )
    )


def _reports(folder: Path, kills: int) -> Iterator[dict[str, Any]]:
    names = [shape.name for shape in SHAPES]
    seed = done = 0
    while done < kills:
        pair = [_start(folder / str(seed + n), seed + n, names[n::2]) for n in (0, 1)]
        for run in pair:
            output, errors = run.communicate()
            if run.returncode:
                raise SystemExit(errors)
            report: dict[str, Any] = json.loads(output)
            done += report["kills"]
            yield report
        for n in (0, 1):
            shutil.rmtree(folder / str(seed + n), ignore_errors=True)
        seed += 2


def _start(folder: Path, seed: int, shapes: list[str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "cdc_platform_tests.crash.harness", str(folder), "--seed", str(seed)]
    return subprocess.Popen(
        [*command, "--kills", str(_A_TIME), "--shapes", ",".join(shapes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "system", "OPENBLAS_NUM_THREADS": "1"},
    )


if __name__ == "__main__":
    main()
