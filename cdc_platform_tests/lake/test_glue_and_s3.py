"""The same merges on the Glue catalog with a warehouse on S3, both served on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pyiceberg.table import Table

from cdc_platform.config.model import GlueCatalog, LakeConfig, PlatformConfig, TableConfig
from cdc_platform.lake import base_files
from cdc_platform.lake.branch import PENDING
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.health import applied_record, table_health
from cdc_platform.lake.publishing import publish_up_to
from cdc_platform.lake.read import scan
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file
from cdc_platform_tests.lake.s3 import properties, served


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 and Glue endpoint of this test alone."""
    with served(monkeypatch) as url:
        yield url


@pytest.fixture
def bench(endpoint: str, tmp_path: Path) -> Iterator[Bench]:
    lake = LakeConfig(
        warehouse="s3://lake/warehouse", catalog=GlueCatalog(properties=properties(endpoint, "glue", "s3"))
    )
    with open_lake(PlatformConfig(base_folder=tmp_path, lake=lake)) as opened:
        yield Bench(opened, TableConfig(name="public.item", merge_key=("id",), partition_by=("v",)))


def test_a_table_on_glue_and_s3_is_loaded_changed_and_remembers(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")), completed=1)
    bench.merge(change_file("c", ("U", 1, "c", 10), ("D", 2, None, 11), generation=1))
    late = bench.merge(change_file("late", ("I", 1, "old", 5), ("I", 2, "old", 6), generation=1))
    health = table_health(bench.lake, SOURCE, bench.config)
    assert health is not None

    assert ([(1, "c")], 2, 1) == (bench.rows(), late.counts.stale, health.rows)
    assert {"l", "c", "late"} == {key for key, _ in applied_record(bench.lake, SOURCE, bench.config.id).files}


def test_a_single_data_file_on_s3_is_read_by_several_threads(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_files, "_MANY_ROWS", 0)
    whole = bench.with_table(partition_by=())
    whole.merge(load_file("l", (1, "a"), (2, "b")), completed=1)

    found = scan(bench.lake, SOURCE, bench.config.id, columns=["id"], where="id > 1").read_all()
    assert [{"id": 2}] == found.to_pylist()


def test_main_of_a_table_on_glue_waits_until_it_is_moved(bench: Bench) -> None:
    held = bench.with_table(publish="on_match")
    held.merge(load_file("l", (1, "a"), (2, "b")), completed=1)
    before = main_rows(held)
    first = loaded(held)
    publish_up_to(first, first.metadata.refs[PENDING].snapshot_id)
    held.merge(change_file("c", ("U", 1, "c", 10), generation=1))

    assert (0, 2, [(1, "c"), (2, "b")]) == (before, main_rows(held), held.rows())
    free = bench.with_table()
    free.merge(change_file("d", ("D", 2, None, 20), generation=1))
    assert (1, {"main"}) == (main_rows(free), set(loaded(free).metadata.refs))


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def main_rows(bench: Bench) -> int:
    """Return how many rows pyiceberg's own scan of main gives."""
    table = bench.lake.load_published(SOURCE, bench.config.id)
    assert table is not None
    return table.scan().to_arrow().num_rows
