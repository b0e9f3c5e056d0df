"""``cdc report`` over a thousand tables: seconds of a process from its start to its exit, and bytes.

    .venv/bin/python -m bench.fleet_report

The base tables are real, of a load and a file of changes each. Their runs are what a real reconciliation of
one of them recorded, written again for each table and window.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.results import Results
from bench.thousand_tables import CHANGED, apply, write_changes, write_config, write_loads
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.recent_runs import RECENT, figures_of
from cdc_platform.reconcile.result_rows import run_row, segment_row
from cdc_platform.reconcile.result_tables import RESULT_TABLES
from cdc_platform.reconcile.results import VERDICTS, record, writable
from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform.reconcile.window import compare_window


def seed(config: Path, windows: int, runs: int) -> None:
    """Give each table ``windows`` compared windows and ``runs`` newest runs."""
    platform = Platform.open(config)
    tables = [table.id for _, table in platform.tables()]
    first = compare_window(platform, "shop", tables[0], "2024-05-01")
    record(platform.lake, first)
    now = datetime.now(UTC)
    rows: dict[str, list[dict[str, object]]] = {"runs": [], "segments": []}
    for place, table in enumerate(tables):
        times = [now - timedelta(hours=runs - number) for number in range(runs)]
        made = [moved(first, table, number % windows, at) for number, at in enumerate(times)]
        figures = [figures_of(one).as_json() for one in made]
        objects = platform.objects("shop", table)
        objects.put(RECENT, json.dumps({"version": 1, "runs": figures}).encode())
        index = {one["window"]: one for one in figures}
        objects.put(VERDICTS, json.dumps({"version": 1, "windows": index}).encode())
        for one in made[-windows:]:
            rows["runs"].append(run_row(one))
            rows["segments"] += [segment_row(one, comparison) for comparison in one.comparisons]
        if place % 100 == 99:
            for name, new in rows.items():
                writable(platform.lake, name).append(RESULT_TABLES[name].arrow_table(new))
            rows = {"runs": [], "segments": []}
    platform.lake.close()


def moved(run: Reconciliation, table: str, window: int, at: datetime) -> Reconciliation:
    """Return the run as one of another table, window and time."""
    run_id = f"{at:%Y%m%dT%H%M%S%f}-{table}"
    proof = {**run.certificate, "run_id": run_id}
    key = f"2024-05-{window + 1:02d}"
    return replace(run, table_id=table, window=key, run_id=run_id, started_at=at, certificate=proof)


def timed(config: Path, *arguments: str) -> float:
    """Return the seconds of ``cdc`` from its start to its exit."""
    begun = time.perf_counter()
    program = "from cdc_platform.cli import main; main()"
    command = [sys.executable, "-c", program, *arguments, "--config", str(config)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begun


def main() -> None:
    """Make the tables, write both forms of the report, keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument("--windows", type=int, default=5)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--workdir", type=Path)
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cdc-fleet-", dir=chosen.workdir))
    try:
        config = write_config(folder, chosen.tables, "lake: {warehouse: warehouse}\n")
        write_loads(folder, chosen.tables)
        write_changes(folder, chosen.tables, CHANGED, 0)
        apply(config)
        seed(config, chosen.windows, chosen.runs)
        fleet, pages = folder / "fleet.html", folder / "pages"
        one = timed(config, "report", "--out", str(fleet))
        all_ = timed(config, "report", "--out", str(pages))
        files = list(pages.rglob("*.html"))
        Results("fleet_report").add(
            {"tables": chosen.tables, "windows": chosen.windows, "runs": chosen.runs},
            {
                "fleet_seconds": round(one, 2),
                "fleet_bytes": fleet.stat().st_size,
                "pages_seconds": round(all_, 2),
                "pages": len(files),
                "pages_bytes": sum(path.stat().st_size for path in files),
            },
        )
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
