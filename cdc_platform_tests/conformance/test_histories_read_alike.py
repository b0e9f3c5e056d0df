"""After random merges and maintenance every reader sees the same rows, at every snapshot of the table.

More of them: ``python -m bench.readers``. ``CDC_FIRST_SEED`` begins elsewhere.
"""

from __future__ import annotations

import os
from typing import Any

import pytest

from cdc_platform.lake.catalog import Lake
from cdc_platform_tests.histories.case import random_case
from cdc_platform_tests.histories.lakes import quick_reader
from cdc_platform_tests.histories.readers import check_case, readers
from cdc_platform_tests.histories.show import shown
from cdc_platform_tests.histories.upkept import random_upkept_case

FIRST = int(os.environ.get("CDC_FIRST_SEED", "500"))


@pytest.mark.spark
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_snapshot_reads_alike_through_every_reader(spark: Any, shared_lake: Lake) -> None:
    read_alike(shared_lake, range(FIRST, FIRST + 2), spark)


def test_every_snapshot_reads_alike_without_spark(shared_lake: Lake) -> None:
    read_alike(shared_lake, range(FIRST + 2, FIRST + 10), None)


def read_alike(lake: Lake, seeds: range, spark: Any) -> None:
    """Read tables that were only merged and compacted, and such that were also rolled back and cleaned."""
    snapshots = 0
    with quick_reader(lake) as read, readers(lake, spark) as by_name:
        for seed in seeds:
            case = (random_case, random_upkept_case)[seed % 2](seed)
            try:
                snapshots += check_case(lake, case, read, by_name)
            except AssertionError as e:
                pytest.fail(f"{shown(case)}\n{e}")

    assert snapshots > len(seeds)
