"""Maintenance, lineage and rollback of tables whose warehouse is a bucket."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg.table import Table

from cdc_platform.config.maintenance import (
    CompactionOptions,
    MaintenanceOptions,
    OrphanOptions,
    SnapshotOptions,
)
from cdc_platform.config.model import GlueCatalog, LakeConfig, PlatformConfig, SqlCatalog, TableConfig
from cdc_platform.errors import MergeError
from cdc_platform.lake.applied import read_applied
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.lineage import find_rows, find_tombstone, snapshot_history
from cdc_platform.lake.maintenance.orphans import OrphanPlan, plan_orphans, remove_orphans
from cdc_platform.lake.maintenance.run import MaintenanceResult, maintain
from cdc_platform.lake.merge import commit_merge, plan_merge
from cdc_platform.lake.rollback import commit_rollback, find_snapshot, plan_rollback
from cdc_platform.lake.wanted import Wanted
from cdc_platform_tests.lake import s3
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

POLICY = MaintenanceOptions(
    compaction=CompactionOptions(min_files=2, min_deleted_rows=1, delete_debt=0.01),
    snapshots=SnapshotOptions(min_count=2, max_count=2),
    orphans=OrphanOptions(min_age_hours=2),
)
#: What a crashed merge leaves, by the folders it lies in.
LEFT = (
    "warehouse/retail.db/item/data/00000-crashed.parquet",
    "warehouse/retail.db/item/metadata/snap-1-0-crashed.avro",
    "warehouse/_cdc/retail/item/batches/crashed.json",
    "warehouse/_cdc/retail/item/tombstones/crashed.parquet",
)


@pytest.fixture
def bench(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Bench]:
    """A table in a bucket, its catalog a SQLite file, or Glue where a test asks for it."""
    with s3.served(monkeypatch) as endpoint:
        catalog: SqlCatalog | GlueCatalog = GlueCatalog(properties=s3.properties(endpoint, "glue", "s3"))
        if getattr(request, "param", "sql") == "sql":
            uri = f"sqlite:///{tmp_path}/catalog.sqlite"
            catalog = SqlCatalog(uri=uri, properties=s3.properties(endpoint, "s3"))
        lake = LakeConfig(warehouse="s3://lake/warehouse", catalog=catalog)
        with open_lake(PlatformConfig(base_folder=tmp_path, lake=lake)) as opened:
            yield Bench(opened, TableConfig(name="public.item", merge_key=("id",), maintenance=POLICY))


def worn(bench: Bench) -> list[int]:
    """Merge a load and three files of changes; return their snapshots."""
    made = [bench.merge(load_file("l", *((key, "v") for key in range(10))), completed=1)]
    for number in range(3):
        events = [("U", number, f"u{number}", 10 + number), ("D", 9 - number, None, 50 + number)]
        made.append(bench.merge(change_file(f"c{number}", *events, generation=1)))
    return [merge.snapshot_id for merge in made if merge.snapshot_id is not None]


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def maintained(bench: Bench, *, dry_run: bool = False) -> MaintenanceResult:
    result = maintain(bench.lake, SOURCE, bench.config, dry_run=dry_run)
    assert result is not None
    return result


def planned(bench: Bench, *, hours_later: float = 0) -> OrphanPlan:
    objects = bench.lake.objects(SOURCE, bench.config.id)
    now = datetime.now(UTC) + timedelta(hours=hours_later)
    return plan_orphans(loaded(bench), objects, POLICY.orphans, now=now)


def at_each_snapshot(bench: Bench) -> dict[int, list[tuple[int, str]]]:
    table = loaded(bench)
    return {
        each.snapshot_id: sorted(
            (row["id"], row["v"])
            for row in table.scan(snapshot_id=each.snapshot_id, selected_fields=("id", "v"))
            .to_arrow()
            .to_pylist()
        )
        for each in table.metadata.snapshots
    }


def test_a_dry_run_changes_no_object_and_no_table(bench: Bench) -> None:
    worn(bench)
    before, head = s3.listed(), loaded(bench).metadata_location
    told = maintained(bench, dry_run=True)

    assert (before, head) == (s3.listed(), loaded(bench).metadata_location)
    assert told.expiry is not None
    assert (1, 2) == (len(told.groups or ()), told.expiry.snapshots)


@pytest.mark.parametrize("bench", ["sql", "glue"], indirect=True)
def test_files_are_rewritten_and_snapshots_expire_and_every_row_and_kept_snapshot_stays(
    bench: Bench,
) -> None:
    worn(bench)
    before, rows, there = at_each_snapshot(bench), bench.rows("id", "v", "_cdc_position"), s3.listed()
    done = maintained(bench)
    after = at_each_snapshot(bench)

    assert rows == bench.rows("id", "v", "_cdc_position")
    assert done.after is not None
    assert done.expiry is not None
    assert (1, 0, 2) == (done.after.data_files, done.after.delete_files, done.after.snapshots)
    assert {} == {one: shown for one, shown in after.items() if before.get(one, bench.rows()) != shown}
    # what only expired snapshots named is gone, and the next merge finds its record
    assert done.expiry.files + done.expiry.objects == len(there.keys() - s3.listed().keys()) > 0
    assert 1 == bench.merge(change_file("c0", ("U", 0, "u0", 10), generation=1)).files_skipped
    assert maintained(bench).is_idle


def test_old_orphans_are_removed_and_no_other_object(bench: Bench) -> None:
    worn(bench)
    maintained(bench)
    folder = loaded(bench).location().removeprefix("s3://lake/")
    left = {key.replace("warehouse/retail.db/item", folder) for key in LEFT}
    before, rows = s3.listed(), bench.rows()
    for key in left:
        s3.put(key, b"crashed")
    young, old = planned(bench), planned(bench, hours_later=3)
    with_them = s3.listed()
    result = remove_orphans(old)

    assert () == young.files
    assert before.keys() | left == with_them.keys()
    assert ({f"s3://lake/{key}" for key in left}, 4, 28) == (
        {file.location for file in old.files},
        result.files,
        result.bytes,
    )
    after = s3.listed()
    assert (set(), set()) == (before.items() - after.items(), after.items() - before.items())
    assert (rows, ()) == (bench.rows(), planned(bench, hours_later=1_000).files)


def test_files_of_a_merge_under_way_are_no_orphans(bench: Bench) -> None:
    worn(bench)
    late = change_file("now", ("U", 4, "now", 99), generation=1)
    plan = plan_merge(bench.lake, SOURCE, bench.config, [late], completed_generation=None)
    before = planned(bench).files
    commit_merge(plan)
    plan.close()

    assert () == before == planned(bench, hours_later=1_000).files
    assert (4, "now") in bench.rows()


def test_a_file_that_is_gone_stops_the_maintenance(bench: Bench) -> None:
    import boto3

    worn(bench)
    key = next(key for key in s3.listed() if "/data/" in key and not key.endswith("-deletes.parquet"))
    boto3.client("s3").delete_object(Bucket=s3.BUCKET, Key=key)
    before = s3.listed()

    with pytest.raises(MergeError, match="missing or damaged"):
        maintained(bench)
    assert before == s3.listed()


@pytest.mark.parametrize("bench", ["sql", "glue"], indirect=True)
def test_a_table_is_set_back_and_merged_to_the_same_again(bench: Bench) -> None:
    snapshots = worn(bench)
    rows, objects = bench.rows("id", "v", "_cdc_position"), bench.lake.objects(SOURCE, bench.config.id)
    before = at_each_snapshot(bench)
    base, there = loaded(bench), s3.listed()
    plan = plan_rollback(
        bench.lake, SOURCE, bench.config.id, find_snapshot(base, snapshot_id=snapshots[1]), base
    )
    untouched = s3.listed()
    commit_rollback(plan)

    assert (there, 2) == (untouched, len(plan.undone))
    assert before[snapshots[1]] == bench.rows()
    assert {"l", "c0"} == {key for key, _ in read_applied(loaded(bench), objects).files}
    for number in (2, 1):
        events = [("U", number, f"u{number}", 10 + number), ("D", 9 - number, None, 50 + number)]
        bench.merge(change_file(f"c{number}", *events, generation=1))
    assert rows == bench.rows("id", "v", "_cdc_position")
    assert () == planned(bench, hours_later=1_000).files


def test_what_gave_a_row_its_value_is_told(bench: Bench) -> None:
    snapshots = worn(bench)
    objects = bench.lake.objects(SOURCE, bench.config.id)
    (row,) = find_rows(bench.lake, loaded(bench), Wanted({"id": 1}, {"id": "BIGINT"}))
    record = read_applied(loaded(bench), objects)
    gone = find_tombstone(bench.lake, objects, record, Wanted({"id": 9}, {"id": "BIGINT"}))
    newest_first = [one.snapshot_id for one in snapshot_history(loaded(bench))]

    assert ("u1", snapshots[2]) == (row.values["v"], row.added_by.snapshot_id)
    assert snapshots[::-1] == newest_first
    assert gone is not None
    assert (1, 50) == (gone.position.generation, gone.position.sequence)
