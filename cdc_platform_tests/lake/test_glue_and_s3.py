"""The same merges on the Glue catalog with a warehouse on S3, both served on loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.config.model import GlueCatalog, LakeConfig, PlatformConfig, TableConfig
from cdc_platform.lake.catalog import open_lake
from cdc_platform.lake.health import applied_record, table_health
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

REGION = "us-east-1"


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 and Glue endpoint of this test alone, with an empty bucket ``lake``."""
    import boto3
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    url = f"http://{host}:{port}"
    for name, value in {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": REGION,
    }.items():
        monkeypatch.setenv(name, value)
    boto3.client("s3").create_bucket(Bucket="lake")
    yield url
    server.stop()


@pytest.fixture
def bench(endpoint: str, tmp_path: Path) -> Iterator[Bench]:
    properties = {
        **{f"{service}.endpoint": endpoint for service in ("glue", "s3")},
        **{f"{service}.region": REGION for service in ("glue", "s3")},
        **{f"{service}.access-key-id": "test" for service in ("glue", "s3")},
        **{f"{service}.secret-access-key": "test" for service in ("glue", "s3")},
    }
    lake = LakeConfig(warehouse="s3://lake/warehouse", catalog=GlueCatalog(properties=properties))
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
