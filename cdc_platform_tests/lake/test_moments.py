"""The times a table's metadata record never go back, whatever the clock does."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

import pytest
from pyiceberg.table import Table

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.errors import MergeError
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.rollback import commit_rollback, find_snapshot, plan_rollback
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file

_now = time.time


@contextmanager
def clock_back(seconds: float) -> Iterator[None]:
    with patch.object(time, "time", lambda: _now() - seconds):
        yield


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, "item")
    assert table is not None
    return table


def moments(table: Table) -> list[list[int]]:
    """Return the times of the logs, each as Iceberg's Java library reads them: the table's own last."""
    metadata = table.metadata
    snapshots = [entry.timestamp_ms for entry in metadata.snapshot_log]
    files = [entry.timestamp_ms for entry in metadata.metadata_log]
    return [[*snapshots, metadata.last_updated_ms], [*files, metadata.last_updated_ms]]


def test_merges_of_a_clock_that_went_back_follow_those_before(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "a", 1)))
    with clock_back(7_200):
        bench.merge(change_file("b", ("U", 1, "b", 2), minute=1))
        bench.merge(change_file("c", ("U", 1, "c", 3), minute=2))

    told = moments(loaded(bench))
    assert [sorted(log) for log in told] == told
    assert [(1, "c")] == bench.rows()


def test_compaction_of_a_clock_that_went_back_follows_what_was_before(bench: Bench) -> None:
    for number in range(3):
        bench.merge(change_file(str(number), ("I", number, "a", number), minute=number))
    with clock_back(7_200):
        options = CompactionOptions(min_files=2)
        assert commit_compaction(bench.lake, plan_compaction(loaded(bench), options), attempts=1)

    told = moments(loaded(bench))
    assert [sorted(log) for log in told] == told


def test_a_rollback_waits_for_a_clock_that_is_behind(bench: Bench) -> None:
    first = bench.merge(change_file("a", ("I", 1, "a", 1)))
    bench.merge(change_file("b", ("U", 1, "b", 2), minute=1))
    base = loaded(bench)
    plan = plan_rollback(bench.lake, SOURCE, "item", find_snapshot(base, snapshot_id=first.snapshot_id), base)

    with clock_back(7_200), pytest.raises(MergeError, match=r"clock is 7,[12][0-9]{2} s behind"):
        commit_rollback(plan)

    commit_rollback(plan)
    assert [(1, "a")] == bench.rows()
