"""The pipeline under live load with faults injected: is every loss found, and nothing else?

    .venv/bin/python -m bench.live [--minutes 10] [--seed 1] [--rows 2000] [--writers 3]

An embedded PostgreSQL, the local DMS behind its endpoint, raw files, merges, and round after round of
settling, windows and whole comparisons, while writers never rest (keys that change ten times a second, a
writer that commits late, changed keys, deletes). Faults are injected one after another; what each loses is
known, so that every DIFFERENT under load and at rest is held against the truth. Results go to
``bench/results/live.json``; the exit code is 1 when anything was false, missed or located wrong.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.data import say
from bench.results import Results
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform_tests.live.run import Options, Outcome, live_run


def main() -> int:
    """Run it; return 1 when the run was not as it must be."""
    asked = _asked()
    folder = Path(tempfile.mkdtemp(prefix="cdc-live-", dir=asked.folder))
    try:
        with EmbeddedPostgres(folder / "server", durable=False) as server:
            dsn = server.create_database("live")
            options = Options(
                seed=asked.seed, seconds=asked.minutes * 60, rows=asked.rows, writers=asked.writers, tell=say
            )
            outcome = live_run(folder, dsn, options)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    what = {"minutes": asked.minutes, "seed": asked.seed, "rows": asked.rows, "writers": asked.writers}
    Results("live").add(what, _measured(outcome))
    say(f"{'good' if outcome.is_good else 'NOT GOOD'}: {_measured(outcome)}")
    return 0 if outcome.is_good else 1


def _measured(outcome: Outcome) -> dict[str, Any]:
    told = {field.name: getattr(outcome, field.name) for field in fields(outcome)}
    for name, value in told.items():
        if isinstance(value, Counter):
            told[name] = {str(what): number for what, number in sorted(value.items())}
    return {"is_good": outcome.is_good, **told}


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--writers", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=None, help="where the run works; default: /tmp")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
