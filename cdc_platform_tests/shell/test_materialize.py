"""Materializing windows in process, on a real lake: what they leave, what checks and metadata say."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdc_platform.pipeline import take_in
from cdc_platform_tests.shell.conftest import Shop, day

RAW, BASE, RECONCILIATION = (
    ["raw", "shop", "orders"],
    ["base", "shop", "orders"],
    ["reconciliation", "shop", "orders"],
)
WINDOWS = ("2024-05-01", "2024-05-02", "2024-05-03")
EXPECTED = [{"id": 1, "note": "third"}, {"id": 3, "note": "new"}, {"id": 4, "note": "again"}]


def write_history(shop: Shop) -> None:
    """A full load and two days of changes, one row deleted on the second and inserted again on the third."""
    shop.load("orders", day(1), [{"id": 1, "note": "first"}, {"id": 2, "note": "b"}, {"id": 4, "note": "c"}])
    shop.change(
        "orders",
        day(2),
        {"Op": "U", "id": 1, "note": "second"},
        {"Op": "D", "id": 4, "note": "c"},
        {"Op": "I", "id": 3, "note": "new"},
    )
    shop.change(
        "orders",
        day(3),
        {"Op": "U", "id": 1, "note": "third"},
        {"Op": "D", "id": 2, "note": "b"},
        {"Op": "I", "id": 4, "note": "again"},
    )


def checks_of(result: dg.ExecuteInProcessResult) -> dict[str, dg.AssetCheckEvaluation]:
    return {one.check_name: one for one in result.get_asset_check_evaluations()}


def metadata_of(result: dg.ExecuteInProcessResult, *key: str) -> dict[str, Any]:
    (event,) = [
        one for one in result.get_asset_materialization_events() if one.asset_key == dg.AssetKey(list(key))
    ]
    return dict(event.materialization.metadata)


@pytest.mark.parametrize("order", list(itertools.permutations(WINDOWS)))
def test_windows_merged_in_any_order_give_the_same_table(
    shop: Shop, instance: dg.DagsterInstance, order: tuple[str, ...]
) -> None:
    write_history(shop)
    take_in(shop.platform(), "shop")

    for window in order:
        assert shop.materialize(instance, BASE, window=window).success

    assert EXPECTED == shop.rows("orders")


def test_merging_a_window_again_changes_nothing(shop: Shop, instance: dg.DagsterInstance) -> None:
    write_history(shop)
    for window in WINDOWS:
        shop.materialize(instance, RAW, BASE, window=window)
    before = shop.platform().lake.load("shop", "orders")

    again = shop.materialize(instance, RAW, BASE, window="2024-05-02")

    after = shop.platform().lake.load("shop", "orders")
    assert before is not None
    assert after is not None
    assert before.metadata.current_snapshot_id == after.metadata.current_snapshot_id
    assert (0, 1) == tuple(
        metadata_of(again, *BASE)[name].value for name in ("files_applied", "files_already_applied")
    )
    assert EXPECTED == shop.rows("orders")


def test_partitions_that_the_table_does_not_have_are_told_in_metadata_and_log(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    write_history(shop)
    shop.materialize(instance, RAW, BASE, window="2024-05-01")
    config = shop.config_path.read_text()
    shop.config_path.write_text(config.replace("merge_key: [id]", "merge_key: [id], partition_by: [id]", 1))

    result = shop.materialize(instance, RAW, BASE, window="2024-05-02")

    shown = str(metadata_of(result, *BASE)["warnings"].value)
    logged = [one.user_message for one in instance.all_logs(result.run_id) if one.level == logging.WARNING]
    assert "is [id] in cdc.yaml, the table has []" in shown
    assert any("is [id] in cdc.yaml, the table has []" in text for text in logged)


def test_materializing_raw_takes_in_its_window_only(shop: Shop, instance: dg.DagsterInstance) -> None:
    write_history(shop)

    result = shop.materialize(instance, RAW, window="2024-05-02")

    assert 1 == metadata_of(result, *RAW)["files"].value
    assert ("2024-05-02",) == shop.platform().windows("shop", "orders")
    assert checks_of(result)["files_are_readable"].passed


def test_a_window_of_the_whole_chain_passes_its_checks(shop: Shop, instance: dg.DagsterInstance) -> None:
    write_history(shop)
    for window in WINDOWS[:2]:
        shop.materialize(instance, RAW, BASE, window=window)

    result = shop.materialize(instance, RAW, BASE, RECONCILIATION, window="2024-05-03")

    found = checks_of(result)
    passed = {name for name, one in found.items() if one.passed}
    assert {"source_matches_base"} == set(found) - passed  # there is no source to ask
    assert dg.AssetCheckSeverity.WARN == found["source_matches_base"].severity
    assert "UNVERIFIED" in str(found["source_matches_base"].description)
    assert {"2024-05-03"} == {one.partition for one in found.values()}
    assert result.success
    report = metadata_of(result, *RECONCILIATION)["report"].value
    assert "raw_matches_base" in Path(report).read_text()


def test_a_merge_tells_rows_snapshot_columns_and_ops(shop: Shop, instance: dg.DagsterInstance) -> None:
    shop.load("orders", day(1), [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])

    told = metadata_of(shop.materialize(instance, RAW, BASE, window="2024-05-01"), *BASE)

    table = shop.platform().lake.load("shop", "orders")
    assert table is not None
    snapshot = told["snapshot_id"]
    assert isinstance(snapshot, dg.TextMetadataValue)
    assert str(table.metadata.current_snapshot_id) == snapshot.value
    assert (2, 1, 2) == tuple(told[n].value for n in ("dagster/row_count", "files_applied", "events"))
    assert ["id", "note"] == [column.name for column in told["dagster/column_schema"].schema.columns[-2:]]
    assert {"load": 2, "insert": 0, "update": 0, "delete": 0} == {
        record.data["op"]: record.data["events"] for record in told["ops"].records
    }
    assert table.location() == told["dagster/uri"].value


def test_an_unreadable_file_is_told_by_checks_and_stops_no_other_file(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.change("orders", day(2), {"id": 1, "note": "good"})
    truncated = shop.change("orders", day(2, 13), {"id": 2, "note": "lost"})
    path = shop.raw / truncated
    path.write_bytes(path.read_bytes()[:200])

    result = shop.materialize(instance, RAW, BASE, window="2024-05-02")

    found = checks_of(result)
    assert [{"id": 1, "note": "good"}] == shop.rows("orders")
    assert (False, False) == (found["files_are_readable"].passed, found["no_rows_quarantined"].passed)
    assert dg.AssetCheckSeverity.ERROR == found["no_rows_quarantined"].severity
    (finding,) = found["no_rows_quarantined"].metadata["findings"].records  # type: ignore[union-attr]
    assert truncated == finding.data["file"]
    assert 1 == metadata_of(result, *BASE)["quarantined"].value


@pytest.mark.filterwarnings("ignore:Merge on read is not yet supported")  # pyiceberg, on a delete of its own
def test_a_row_changed_out_of_band_is_different_and_fails_the_run(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    shop.load("orders", day(1), [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    shop.materialize(instance, RAW, BASE, window="2024-05-01")
    table = shop.platform().lake.load("shop", "orders")
    assert table is not None
    table.delete("id = 2")

    result = shop.materialize(instance, RECONCILIATION, window="2024-05-01", raise_on_error=False)

    found = checks_of(result)
    assert not result.success
    assert {"raw_matches_base": False, "source_matches_base": False, "verdict_allows_use": False} == {
        name: one.passed for name, one in found.items()
    }
    assert dg.AssetCheckSeverity.ERROR == found["raw_matches_base"].severity
    (row,) = found["raw_matches_base"].metadata["discrepancies"].records  # type: ignore[union-attr]
    assert {"key": "id = 2", "what": "missing", "raw": "id = 2, note = b", "base": "no row"} == {
        name: row.data[name] for name in ("key", "what", "raw", "base")
    }
