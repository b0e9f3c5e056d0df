"""Merges and maintenance in random order: the table equals the source, and each kept snapshot what it was."""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyiceberg.table import Table

from cdc_platform.config.maintenance import CompactionOptions, OrphanOptions, SnapshotOptions
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import CompactionPlan, plan_compaction
from cdc_platform.lake.maintenance.expiry import commit_expiry, plan_expiry
from cdc_platform.lake.maintenance.orphans import plan_orphans, remove_orphans
from cdc_platform.lake.read import scan
from cdc_platform_tests.lake.conftest import SOURCE, Bench, lake_config
from cdc_platform_tests.lake.memory_files import change_file, load_file

#: More for a soak: CDC_HYPOTHESIS_EXAMPLES=500 pytest cdc_platform_tests/lake/maintenance/test_histories.py
EXAMPLES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "5"))
EAGER = CompactionOptions(min_files=2, min_deleted_rows=1, group_mb=1)
_names = itertools.count()


@pytest.fixture(scope="module")
def lake() -> Iterator[Lake]:
    with (
        tempfile.TemporaryDirectory(prefix="cdc-maintenance-") as folder,
        open_lake(lake_config(Path(folder))) as opened,
    ):
        yield opened


class Life:
    """A table, what the source holds, and what the table held at each snapshot."""

    def __init__(self, lake: Lake, partition_by: tuple[str, ...]) -> None:
        config = TableConfig(
            name="public.item", id=f"item{next(_names)}", merge_key=("id",), partition_by=partition_by
        )
        self.bench = Bench(lake, config)
        self.rows: dict[int, str] = dict.fromkeys(range(8), "loaded")
        self.past: dict[int, dict[int, str]] = {}
        self.moment = 10
        self.plan: CompactionPlan | None = None
        self._note(self.bench.merge(load_file("l", *self.rows.items())).snapshot_id)

    @property
    def table(self) -> Table:
        found = self.bench.lake.load(SOURCE, self.bench.config.id)
        assert found is not None
        return found

    def merge(self, random: Random) -> None:
        """Let the source do something, and merge what tells of it."""
        events: list[tuple[Any, ...]] = []
        for key in random.sample(range(10), random.randint(1, 4)):
            self.moment += 1
            if key in self.rows and random.random() < 0.4:
                del self.rows[key]
                events.append(("D", key, None, self.moment))
            else:
                self.rows[key] = f"v{self.moment % 3}"
                events.append(("U", key, self.rows[key], self.moment))
        file = change_file(f"c{self.moment}", *events, generation=1)
        self._note(self.bench.merge(file).snapshot_id)

    def compact(self) -> None:
        """Carry out a compaction that was planned before, or plan one for later."""
        if self.plan is None:
            self.plan = plan_compaction(self.table, EAGER)
            return
        for result in commit_compaction(self.bench.lake, self.plan, attempts=2):
            self._note(result.snapshot_id)
        self.plan = None

    def expire(self, random: Random) -> None:
        """Leave the newest few snapshots; a compaction that was planned before may lose its files."""
        self.plan = None
        least = random.randint(1, 3)
        objects = self.bench.lake.objects(SOURCE, self.bench.config.id)
        commit_expiry(plan_expiry(self.table, objects, SnapshotOptions(min_count=least, max_count=least)))

    def clean(self) -> None:
        """Remove every file that nothing names, whatever its age."""
        objects = self.bench.lake.objects(SOURCE, self.bench.config.id)
        remove_orphans(plan_orphans(self.table, objects, OrphanOptions(min_age_hours=1e-9), force=True))

    def read_every_snapshot(self) -> None:
        """Read each snapshot that is kept."""
        for snapshot_id in (each.snapshot_id for each in self.table.metadata.snapshots):
            found = scan(self.bench.lake, SOURCE, self.bench.config.id, snapshot_id=snapshot_id).read_all()
            values = dict(zip(found["id"].to_pylist(), found["v"].to_pylist(), strict=True))
            assert self.past[snapshot_id] == values, "a kept snapshot reads as it was"

    def _note(self, snapshot_id: int | None) -> None:
        if snapshot_id is not None:
            self.past[snapshot_id] = dict(self.rows)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="CDC_HYPOTHESIS_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(seed=st.integers(min_value=0, max_value=2**32))
def test_merges_and_maintenance_in_any_order_leave_the_source_s_rows(lake: Lake, seed: int) -> None:
    random = Random(seed)
    life = Life(lake, random.choice([(), ("v",), ("bucket(2, id)",)]))
    for _ in range(random.randint(6, 14)):
        match random.choice(("merge", "merge", "merge", "compact", "compact", "expire", "clean", "read")):
            case "merge":
                life.merge(random)
            case "compact":
                life.compact()
            case "expire":
                life.expire(random)
            case "clean":
                life.clean()
            case _:
                life.read_every_snapshot()
    life.read_every_snapshot()

    assert life.rows == dict(life.bench.rows())
