"""The asset that tells how far every table is proven."""

from __future__ import annotations

from pathlib import Path

import dagster as dg

from cdc_platform.assets.fleet import CRON
from cdc_platform.pipeline import merge_table, reconcile, take_in
from cdc_platform_tests.shell.conftest import Shop, day


def materialized(shop: Shop, instance: dg.DagsterInstance) -> dict[str, dg.MetadataValue]:
    done = (
        shop.definitions()
        .resolve_job_def("report_reconciliation_fleet")
        .execute_in_process(instance=instance)
    )
    (event,) = done.asset_materializations_for_node("reconciliation_fleet")
    return dict(event.metadata)


def test_it_writes_the_pages_beside_the_lake_and_has_their_figures_as_metadata(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.load("orders", day(1), [{"id": 1, "note": "a"}])
    platform = shop.platform()
    take_in(platform, "shop")
    merge_table(platform, "shop", "orders")
    reconcile(platform, "shop", "orders", "2024-05-01")

    found = materialized(shop, instance)

    page = Path(str(found["report"].value))
    assert (page.parent / "shop/orders.html").exists()
    assert "orders" in page.read_text()
    assert (2, 1, 1, 0) == tuple(
        found[name].value
        for name in ("tables", "tables_unverified", "tables_never_compared", "tables_different")
    )
    worst = found["worst_tables"]
    assert isinstance(worst, dg.TableMetadataValue)
    assert ["shop/orders", "shop/customers"] == [record.data["table"] for record in worst.records]


def test_it_is_made_every_hour_from_the_start(shop: Shop) -> None:
    schedule = shop.definitions().resolve_schedule_def("reconciliation_fleet_hourly")

    assert (CRON, dg.DefaultScheduleStatus.RUNNING) == (schedule.cron_schedule, schedule.default_status)
