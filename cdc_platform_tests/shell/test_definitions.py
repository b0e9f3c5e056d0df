"""The code location as a whole."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import dagster as dg
import pytest
import yaml

from cdc_platform.definitions import build_definitions
from cdc_platform.errors import ConfigError
from cdc_platform_tests.shell.conftest import Shop


def test_each_table_is_four_assets_and_two_are_of_the_verdicts_of_all(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()

    tables = [
        f"{layer}/shop/{table}"
        for layer in ("base", "maintenance", "raw", "reconciliation")
        for table in ("customers", "orders")
    ]
    found = sorted(key.to_user_string() for key in graph.get_all_asset_keys())
    assert sorted([*tables, "maintenance/cdc_reconciliation", "reconciliation_fleet"]) == found


def test_a_table_has_its_checks_on_each_layer(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()

    def names(layer: str) -> list[str]:
        keys = graph.get_check_keys_for_assets({dg.AssetKey([layer, "shop", "orders"])})
        return sorted(key.name for key in keys)

    assert ["files_are_readable"] == names("raw")
    assert [
        "merge_keys_are_unique",
        "no_rows_quarantined",
        "schema_matches_configuration",
        "watermark_is_current",
    ] == names("base")
    assert ["raw_matches_base", "source_matches_base", "verdict_allows_use"] == names("reconciliation")


def test_row_counts_are_checked_where_dms_can_be_asked(shop: Shop) -> None:
    text = shop.config_path.read_text().replace(
        "raw: {location: raw}", "raw: {location: raw}\n    dms: {region: eu-west-1}"
    )
    shop.config_path.write_text(text)

    keys = (
        shop.definitions()
        .resolve_asset_graph()
        .get_check_keys_for_assets({dg.AssetKey(["raw", "shop", "orders"])})
    )

    assert {"files_are_readable", "row_counts_match_replication_statistics"} == {key.name for key in keys}


def test_an_inactive_table_is_no_asset(shop: Shop) -> None:
    text = shop.config_path.read_text().replace(
        "{name: public.customers, merge_key: [id]}", "{name: public.customers, active: false}"
    )
    shop.config_path.write_text(text)

    keys = shop.definitions().resolve_asset_graph().get_all_asset_keys()

    assert {"orders"} == {key.path[-1] for key in keys if len(key.path) == 3}


def test_the_whole_chain_shares_its_windows(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()

    keys = {key for key in graph.get_all_asset_keys() if key.path[0] in ("raw", "base", "reconciliation")}
    (windows,) = {graph.get(key).partitions_def for key in keys}

    assert windows is not None
    assert "2024-05-01" == windows.get_first_partition_key()
    assert time.strftime("%Y-%m-%d", time.gmtime()) == windows.get_last_partition_key()


def test_hourly_windows_have_the_keys_of_the_configuration(shop: Shop) -> None:
    shop.config_path.write_text(shop.config_path.read_text().replace("every: daily", "every: hourly"))
    graph = shop.definitions().resolve_asset_graph()

    windows = graph.get(dg.AssetKey(["raw", "shop", "orders"])).partitions_def

    assert windows is not None
    key = windows.get_first_partition_key()
    assert "2024-05-01-00:00" == key
    assert shop.platform().source("shop").window.bounds(str(key))


def test_sensors_run_from_the_start(shop: Shop) -> None:
    repository = shop.definitions().get_repository_def()

    states = {sensor.name: sensor.default_status for sensor in repository.sensor_defs}

    running = dg.DefaultSensorStatus.RUNNING
    assert {"shop_files": running, "shop_automation": running} == states


def test_writers_and_source_readers_wait_in_pools(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()

    def pools(layer: str) -> set[str]:
        return set(graph.get(dg.AssetKey([layer, "shop", "orders"])).pools or ())

    assert ({"iceberg/shop.orders"}, {"source/shop"}) == (pools("base"), pools("reconciliation"))


def test_a_wrong_file_fails_to_load_with_every_mistake(shop: Shop) -> None:
    shop.config_path.write_text(
        shop.config_path.read_text()
        .replace("every: daily", "every: weekly")
        .replace("threads: 1", "threads: 0")
    )

    with pytest.raises(ConfigError) as caught:
        build_definitions(shop.config_path)

    assert ["engine.threads", "sources.shop.window.every"] == sorted(
        path.split(" ")[0] for path, _, _ in caught.value.mistakes
    )


def test_the_code_location_imports_nothing_heavy(shop: Shop) -> None:
    code = (
        "import sys; from cdc_platform.definitions import defs; defs().get_repository_def()\n"
        "heavy = {'pyspark', 'dagster_aws', 'dagster_dbt', 'boto3', 'duckdb', 'pyiceberg', 'pyarrow'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"CDC_CONFIG": str(shop.config_path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )

    assert ("[]", 0) == (done.stdout.strip(), done.returncode), done.stderr


def test_three_hundred_tables_load_in_seconds(tmp_path: Path) -> None:
    tables = [{"name": f"public.t{number}", "merge_key": ["id"]} for number in range(300)]
    source = {
        "raw": {"location": "raw"},
        "window": {"every": "daily", "start": "2024-05-01"},
        "tables": tables,
    }
    (tmp_path / "cdc.yaml").write_text(yaml.safe_dump({"version": 1, "sources": {"big": source}}))
    begun = time.monotonic()

    repository = build_definitions(tmp_path / "cdc.yaml").get_repository_def()

    assert 1_202 == len(repository.asset_graph.get_all_asset_keys())
    assert (2, 5) == (len(repository.sensor_defs), len(repository.schedule_defs))
    assert time.monotonic() - begun < 30


def test_the_repository_s_own_instance_settings_are_valid(tmp_path: Path) -> None:
    settings = Path(__file__).parents[2] / "dagster.yaml"
    (tmp_path / "dagster.yaml").write_text(settings.read_text())

    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        pools = instance.get_concurrency_config().pool_config
        assert (1, False) == (pools.default_pool_limit, instance.telemetry_enabled)
        assert 60 == instance.run_monitoring_settings["free_slots_after_run_end_seconds"]
