"""The tables of results are compacted and expired like base tables, and keep every row."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.config.maintenance import CompactionOptions, MaintenanceOptions, SnapshotOptions
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.maintenance import Step
from cdc_platform.reconcile.result_upkeep import RESULT_TABLES, maintain_results
from cdc_platform.reconcile.results import history, record
from cdc_platform_tests.reconcile.test_report import SOURCE, different, run_of
from cdc_platform_tests.reconcile.test_results import config, later, rows

RUNS = 12
POLICY = MaintenanceOptions(
    compaction=CompactionOptions(min_files=4), snapshots=SnapshotOptions(min_count=1, max_count=1)
)


@pytest.fixture
def lake(tmp_path: Path) -> Iterator[Lake]:
    with open_lake(config(tmp_path).model_copy(update={"maintenance": POLICY})) as opened:
        yield opened


def ran(lake: Lake, first: int = 1, last: int = RUNS) -> None:
    for number in range(first, last + 1):
        record(lake, later(run_of(different(), SOURCE), number))


def files_on_disk(folder: Path, name: str) -> int:
    return len(list((folder / "warehouse").rglob(f"{name}/data/**/*.parquet")))


@pytest.mark.parametrize("name", ["runs", "segments", "discrepancies"])
def test_the_small_files_of_many_runs_become_one_with_the_same_rows(
    lake: Lake, tmp_path: Path, name: str
) -> None:
    ran(lake)
    before = sorted(map(str, rows(lake, name)))

    done = maintain_results(lake, name)

    assert done is not None
    assert done.before is not None
    assert done.after is not None
    assert (RUNS, 1, 1) == (done.before.data_files, done.after.data_files, done.after.snapshots)
    assert (1, before) == (files_on_disk(tmp_path, name), sorted(map(str, rows(lake, name))))


def test_runs_are_recorded_and_found_after_their_tables_were_maintained(lake: Lake) -> None:
    ran(lake)
    for name in RESULT_TABLES:
        maintain_results(lake, name)
    ran(lake, RUNS, RUNS + 1)

    runs = history(lake, "retail", "item", "2026-03-01")

    assert [f"r{number}" for number in range(RUNS + 1, 0, -1)] == [run["run_id"] for run in runs]


def test_a_dry_run_only_says_what_would_be_done_to_the_results(lake: Lake, tmp_path: Path) -> None:
    ran(lake)

    done = maintain_results(lake, "runs", [Step.COMPACT], dry_run=True)

    assert done is not None
    assert [RUNS] == [group.files_before for group in done.groups or ()]
    assert RUNS == files_on_disk(tmp_path, "runs")


def test_results_nobody_recorded_yet_have_nothing_to_maintain(lake: Lake) -> None:
    assert [None] * 4 == [maintain_results(lake, name) for name in RESULT_TABLES]
