"""The file sensor: what it reports, when, and that nothing it took in stays untold."""

from __future__ import annotations

import dagster as dg
import pytest

from cdc_platform.assets.metadata import FINGERPRINT
from cdc_platform.pipeline import take_in
from cdc_platform.resources import PlatformResource
from cdc_platform.sensors import Moved, look, read_cursor, report, write_cursor
from cdc_platform_tests.shell.conftest import Shop, day

TABLES = ["orders", "customers"]


def look_at(shop: Shop, instance: dg.DagsterInstance, start: str | None = None) -> list[Moved]:
    """Look, and tell the instance, as a tick does."""
    platform = shop.platform()
    found = look(platform, "shop", TABLES, instance, start=start)
    for one in found.moved:
        instance.report_runless_asset_event(report(platform, "shop", one))
    return found.moved


def test_a_new_file_moves_the_window_of_its_file_time(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.change("orders", day(3, 23, 59), {"id": 1})

    assert [Moved("orders", "2024-05-03")] == look_at(shop, instance)


def test_nothing_new_reports_nothing(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.change("orders", day(3), {"id": 1})
    look_at(shop, instance)

    assert [] == look_at(shop, instance)


def test_a_late_file_moves_its_old_window_only(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.change("orders", day(2), {"id": 1})
    shop.change("orders", day(20), {"id": 2})
    look_at(shop, instance)

    shop.change("orders", day(2, 13), {"id": 3})

    assert [Moved("orders", "2024-05-02")] == look_at(shop, instance, start="orders")


def test_a_tick_that_died_after_taking_in_is_made_up_for(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.change("customers", day(3), {"id": 1})
    platform = shop.platform()
    look(platform, "shop", TABLES, instance)  # its events were never stored

    assert [Moved("customers", "2024-05-03")] == look_at(shop, instance, start="customers")


def test_files_that_someone_else_took_in_are_reported(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.change("orders", day(3), {"id": 1})
    look_at(shop, instance)
    shop.change("orders", day(3, 14), {"id": 2})
    take_in(shop.platform(), "shop")

    assert [Moved("orders", "2024-05-03")] == look_at(shop, instance, start="orders")


def test_losing_the_cursor_reports_nothing_twice(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.change("orders", day(3), {"id": 1})
    look_at(shop, instance, start="customers")

    assert [] == look_at(shop, instance, start=None)


def test_the_report_tells_files_and_a_fingerprint(shop: Shop) -> None:
    key = shop.change("orders", day(3), {"id": 1})
    platform = shop.platform()
    take_in(platform, "shop")

    event = report(platform, "shop", Moved("orders", "2024-05-03"))

    assert ("raw/shop/orders", "2024-05-03") == (event.asset_key.to_user_string(), event.partition)
    assert 1 == event.metadata["files"].value
    shown = event.metadata["newest_files"]
    assert isinstance(shown, dg.TableMetadataValue)
    assert [key] == [record.data["file"] for record in shown.records]
    assert 16 == len(str(event.metadata[FINGERPRINT].value))


@pytest.mark.parametrize("text", [None, "", "not json", "[]", '{"v": 99, "next": "orders"}'])
def test_a_cursor_of_another_shape_is_as_none(text: str | None) -> None:
    assert read_cursor(text) is None


def test_a_cursor_says_where_to_go_on() -> None:
    assert "orders" == read_cursor(write_cursor("orders"))


def tick(shop: Shop, instance: dg.DagsterInstance, cursor: str | None = None) -> dg.SensorResult:
    """Call the sensor as the daemon does."""
    sensor = shop.definitions().resolve_sensor_def("shop_files")
    platform = PlatformResource(config_path=str(shop.config_path))
    context = dg.build_sensor_context(instance, cursor=cursor, resources={"platform": platform})
    result = sensor(context)
    assert isinstance(result, dg.SensorResult)
    return result


def test_a_tick_reports_events_and_counts_and_moves_its_cursor(
    shop: Shop, stored_instance: dg.DagsterInstance
) -> None:
    shop.change("orders", day(3), {"id": 1})
    shop.change("orders", day(4), {"id": 1})

    result = tick(shop, stored_instance)

    assert ["2024-05-03", "2024-05-04"] == [event.partition for event in result.asset_events]  # type: ignore[union-attr]
    assert result.skip_reason is not None
    assert "2 new files; reported 2 windows of 1 tables" == result.skip_reason.skip_message
    assert read_cursor(result.cursor) in TABLES


def test_a_refused_name_is_told_in_the_tick(shop: Shop, stored_instance: dg.DagsterInstance) -> None:
    odd = shop.raw / "public" / "orders" / "notes.txt"
    odd.parent.mkdir(parents=True)
    odd.write_text("not a raw file")

    result = tick(shop, stored_instance)

    assert result.skip_reason is not None
    assert "1 files refused" in str(result.skip_reason.skip_message)
    assert "notes.txt" in str(result.skip_reason.skip_message)


def test_one_table_in_trouble_fails_the_tick_and_holds_back_no_other(
    shop: Shop, stored_instance: dg.DagsterInstance
) -> None:
    text = shop.config_path.read_text()
    elsewhere = "{name: public.customers, merge_key: [id], raw: {location: elsewhere}}"
    shop.config_path.write_text(text.replace("{name: public.customers, merge_key: [id]}", elsewhere))
    shop.change("orders", day(3), {"id": 1})

    with pytest.raises(dg.Failure, match=r"customers failed: .*elsewhere.*does not exist"):
        tick(shop, stored_instance)

    told = stored_instance.get_materialized_partitions(dg.AssetKey(["raw", "shop", "orders"]))
    assert {"2024-05-03"} == told
