"""Maintenance in Dagster: an asset a table, one daily run a source, health where people look."""

from __future__ import annotations

from typing import Any

import dagster as dg

from cdc_platform.pipeline import merge_table, reconcile, take_in
from cdc_platform.schedules import MAINTENANCE_CRON
from cdc_platform_tests.shell.conftest import Shop, day

KEY = dg.AssetKey(["maintenance", "shop", "orders"])
POLICY = """
maintenance:
  compaction: {after_merge: false, min_files: 2, min_deleted_rows: 1}
  snapshots: {min_count: 1, max_count: 1}
"""


def merged(shop: Shop) -> None:
    """Merge a load and two days of changes, each for itself."""
    shop.config_path.write_text(shop.config_path.read_text() + POLICY)
    shop.load("orders", day(1), [{"id": key, "note": "first"} for key in range(6)])
    platform = shop.platform()
    for number in (2, 3):
        take_in(platform, "shop")
        merge_table(platform, "shop", "orders")
        shop.change("orders", day(number), {"Op": "D", "id": number, "note": "first"})
    take_in(platform, "shop")
    merge_table(platform, "shop", "orders")


def materialized(shop: Shop, instance: dg.DagsterInstance, **config: Any) -> dict[str, Any]:
    job = shop.definitions().resolve_implicit_job_def_def_for_assets([KEY])
    assert job is not None
    run_config = {"ops": {"maintenance__shop__orders": {"config": config}}} if config else None
    result = job.execute_in_process(instance=instance, run_config=run_config, asset_selection=[KEY])
    (event,) = result.get_asset_materialization_events()
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_a_materialization_shows_health_before_and_after_with_the_proof(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    merged(shop)
    shown = materialized(shop, instance)
    (proof,) = (record.data for record in shown["proof"].records)
    health = {record.data["what"]: record.data for record in shown["health"].records}

    assert (1, 0, 4, 0.0) == tuple(
        shown[name] for name in ("data_files", "delete_files", "dagster/row_count", "delete_debt")
    )
    assert (4, True) == (proof["rows"], proof["hash sum before and after"].isdigit())
    assert (1, 0) == (health["delete files"]["before"], health["delete files"]["after"])
    assert shown["snapshots_expired"] > 0


def test_a_dry_run_from_the_launchpad_changes_nothing(shop: Shop, instance: dg.DagsterInstance) -> None:
    merged(shop)
    first = materialized(shop, instance, dry_run=True)
    second = materialized(shop, instance, dry_run=True)

    assert first["dry_run"]
    assert (1, 1) == (first["delete_files"], second["delete_files"])
    assert first["snapshots"] == second["snapshots"] == 3


def test_a_table_without_a_merge_has_nothing_to_show(shop: Shop, instance: dg.DagsterInstance) -> None:
    assert {} == materialized(shop, instance)


def test_what_reconciliations_recorded_is_maintained_once_a_day_as_well(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    merged(shop)
    for _ in range(3):
        reconcile(shop.platform(), "shop", "orders", "2024-05-01")
    definitions = shop.definitions()

    done = definitions.resolve_job_def("maintain_results").execute_in_process(instance=instance)
    (event,) = done.asset_materializations_for_node("maintenance__cdc_reconciliation")
    tables = event.metadata["tables"]
    schedule = definitions.resolve_schedule_def("results_maintenance_daily")

    assert isinstance(tables, dg.TableMetadataValue)
    lines = {record.data["table"]: record.data for record in tables.records}
    assert (3, 1) == (lines["runs"]["data files before"], lines["runs"]["data files after"])
    assert (MAINTENANCE_CRON, dg.DefaultScheduleStatus.RUNNING) == (
        schedule.cron_schedule,
        schedule.default_status,
    )


def test_one_daily_run_maintains_every_table_of_a_source(shop: Shop) -> None:
    definitions = shop.definitions()
    schedule = definitions.resolve_schedule_def("shop_maintenance")
    job = definitions.resolve_job_def("maintain_shop")

    assert MAINTENANCE_CRON == schedule.cron_schedule
    assert {"customers", "orders"} == {key.path[-1] for key in job.asset_layer.executable_asset_keys}


def test_maintenance_never_holds_up_a_merge(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()
    base = graph.get(dg.AssetKey(["base", "shop", "orders"]))

    assert {"maintenance"} == graph.get(KEY).pools
    assert "maintenance" not in (base.pools or set())
