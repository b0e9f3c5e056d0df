"""After random merges and maintenance every reader sees the same rows, at every snapshot of the table.

More of them: ``CDC_READER_HISTORIES=200 pytest cdc_platform_tests/conformance -k histories --timeout 3600``;
``CDC_FIRST_SEED`` begins elsewhere.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from cdc_platform.lake.catalog import Lake
from cdc_platform_tests.histories.case import random_case
from cdc_platform_tests.histories.lakes import quick_reader
from cdc_platform_tests.histories.readers import check_history, readers
from cdc_platform_tests.histories.run import Run
from cdc_platform_tests.histories.show import shown

HISTORIES = int(os.environ.get("CDC_READER_HISTORIES", "2"))
FIRST = int(os.environ.get("CDC_FIRST_SEED", "500"))


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_snapshot_reads_alike_through_every_reader(spark: Any, shared_lake: Lake) -> None:
    read_alike(shared_lake, range(FIRST, FIRST + HISTORIES), spark)


def test_every_snapshot_reads_alike_without_spark(shared_lake: Lake) -> None:
    read_alike(shared_lake, range(FIRST + HISTORIES, FIRST + 6 * HISTORIES), None)


def read_alike(lake: Lake, seeds: range, spark: Any) -> None:
    snapshots = 0
    with quick_reader(lake) as read, readers(lake, spark) as by_name:
        for seed in seeds:
            case = random_case(seed)
            run = Run(lake, case, read)
            run.go()
            try:
                snapshots += check_history(run, by_name)
            except AssertionError as e:
                pytest.fail(f"{shown(case)}\n{e}")

    assert snapshots > len(seeds)
