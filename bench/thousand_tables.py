"""A thousand tables with one new file each, applied in one go by ``cdc apply``.

    .venv/bin/python -m bench.thousand_tables

Each table already has a base table of 100 rows with some changes merged; its new file has three changes, as
DMS leaves it. Only the command is timed, from its start to its exit. Reach: 60 s on two cores.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa

from bench.results import Results
from cdc_platform.testing import write_change_file, write_load_file

LOADED = datetime(2024, 5, 1, 8, tzinfo=UTC)
CHANGED = LOADED + timedelta(hours=3)
_SET_CHILD_SUBREAPER = 36
AGAIN = CHANGED + timedelta(hours=3)
ROWS = 100
TYPES = {"id": pa.int64(), "name": pa.string(), "quantity": pa.int32(), "price": pa.decimal128(10, 2)}


def row(number: int) -> dict[str, object]:
    return {"id": number, "name": f"row {number}", "quantity": number % 7, "price": number}


def write_config(folder: Path, tables: int, options: str) -> Path:
    names = "\n".join(f"      - {{name: public.t{n:04}, merge_key: [id]}}" for n in range(tables))
    path = folder / "cdc.yaml"
    path.write_text(
        "version: 1\n"
        f"{options}"
        "sources:\n"
        "  shop:\n"
        "    raw: {location: raw, timestamp_column: dms_timestamp, change_sequence_column: cdc_change_seq}\n"
        "    window: {start: 2024-05-01}\n"
        f"    tables:\n{names}\n"
    )
    return path


def write_loads(folder: Path, tables: int) -> None:
    for n in range(tables):
        write_load_file(folder / "raw", "public", f"t{n:04}", map(row, range(ROWS)), at=LOADED, types=TYPES)


def write_changes(folder: Path, tables: int, at: datetime, first: int) -> None:
    events = [
        {"Op": "U", **row(first), "name": "changed"},
        {"Op": "D", **row(first + 1)},
        {"Op": "I", **row(ROWS + first)},
    ]
    for n in range(tables):
        write_change_file(folder / "raw", "public", f"t{n:04}", at=at, events=events, types=TYPES)


def apply(config: Path) -> tuple[float, float, list[dict[str, object]]]:
    """Run the command; return wall seconds, CPU seconds and what it says of each merge."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    # workers outlive the process that they are forked from by a moment: they become children of this one
    ctypes.CDLL(None).prctl(_SET_CHILD_SUBREAPER, 1)
    started = time.perf_counter()
    command = [
        sys.executable,
        "-c",
        "from cdc_platform.cli import main; main()",
        "apply",
        "--json",
        "-c",
        str(config),
    ]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    wall = time.perf_counter() - started
    with suppress(ChildProcessError):
        while True:
            os.wait()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, json.loads(done.stdout)["merges"]


def measure(folder: Path, tables: int, options: str) -> dict[str, object]:
    config = write_config(folder, tables, options)
    write_loads(folder, tables)
    load_wall, load_cpu, loaded = apply(config)
    assert sum(merge["counts"]["rows_inserted"] for merge in loaded) == tables * ROWS  # type: ignore[index]
    write_changes(folder, tables, CHANGED, 3)
    apply(config)
    write_changes(folder, tables, AGAIN, 13)
    wall, cpu, merged = apply(config)
    counts = [merge["counts"] for merge in merged]
    kinds = ("rows_inserted", "rows_updated", "rows_deleted")
    assert all(count[kind] == 1 for count in counts for kind in kinds)  # type: ignore[index]
    idle_wall, idle_cpu, _ = apply(config)
    return {
        "first load": {"wall_s": round(load_wall, 1), "cpu_s": round(load_cpu, 1)},
        "one new file each": {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)},
        "nothing new": {"wall_s": round(idle_wall, 1), "cpu_s": round(idle_cpu, 1)},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tables", type=int, default=1000)
    parser.add_argument(
        "--folder", type=Path, help="where to work; default a temporary folder, removed after"
    )
    parser.add_argument("--options", default="", help="more of cdc.yaml, e.g. 'engine: {threads: 1}'")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="cdc-thousand-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        measured = measure(folder, given.tables, given.options and given.options + "\n")
        print(json.dumps(measured, indent=2))
        Results("thousand_tables").add({"tables": given.tables, "options": given.options}, measured)
    finally:
        if given.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
