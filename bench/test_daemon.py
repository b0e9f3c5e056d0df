"""Webserver, daemon and run processes as they really run: files come, tables follow, a backfill too.

It takes two to three minutes, most of them waiting for the daemon, and is therefore not in the suite:

    .venv/bin/pytest bench/test_daemon.py
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from cdc_platform_tests.shell.conftest import Shop
from cdc_platform_tests.shell.conftest import shop as shop_fixture
from cdc_platform_tests.shell.running import Dagster, running_dagster, wait_until

#: pytest finds fixtures by their names in the module
shop = shop_fixture

TODAY = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
EARLIER, LATER = TODAY - timedelta(days=2), TODAY - timedelta(days=1)
RAW, BASE = ("raw", "shop", "orders"), ("base", "shop", "orders")
RECONCILIATION = ("reconciliation", "shop", "orders")


def key(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d}"


def one_table(shop: Shop) -> None:
    """Leave one table, with windows since a few days ago."""
    text = shop.config_path.read_text().replace("      - {name: public.customers, merge_key: [id]}\n", "")
    start = f"start: {TODAY - timedelta(days=5):%Y-%m-%d}"
    shop.config_path.write_text(text.replace("start: 2024-05-01", start))


def reconciled(dagster: Dagster, window: str) -> bool:
    statuses = dagster.checks(*RECONCILIATION)["raw_matches_base"]
    return any(status == "SUCCEEDED" and first <= window <= last for status, first, last in statuses)


def checks(dagster: Dagster) -> dict[str, list[tuple[str, str, str]]]:
    return {**dagster.checks(*BASE), **dagster.checks(*RAW)}


def all_are(found: dict[str, list[tuple[str, str, str]]], ranges: list[tuple[str, str, str]]) -> bool:
    """Return whether every check stands as ``ranges`` say."""
    return all(one == ranges for one in found.values())


@pytest.mark.timeout(420)
def test_files_become_reconciled_windows_and_a_backfill_changes_nothing(shop: Shop) -> None:
    one_table(shop)
    shop.load("orders", EARLIER, [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    shop.change("orders", LATER, {"Op": "U", "id": 1, "note": "A"}, {"Op": "D", "id": 2, "note": "b"})
    with running_dagster(shop.folder) as dagster:
        for window in (key(EARLIER), key(LATER)):
            wait_until(lambda window=window: reconciled(dagster, window), bool, seconds=120)  # type: ignore[misc]
        rows = shop.rows("orders")
        green = [("SUCCEEDED", key(EARLIER), key(LATER))]
        wait_until(lambda: checks(dagster), lambda found: all_are(found, green), seconds=60)

        backfill = dagster.backfill(RAW, BASE, RECONCILIATION, windows=[key(LATER), key(EARLIER)])
        done = wait_until(
            lambda: dagster.backfill_status(backfill), lambda status: status != "REQUESTED", seconds=120
        )

        assert [{"id": 1, "note": "A"}] == rows
        assert ("COMPLETED_SUCCESS", rows) == (done, shop.rows("orders"))
        assert {key(EARLIER), key(LATER)} == dagster.windows(*BASE)
        wait_until(lambda: checks(dagster), lambda found: all_are(found, green), seconds=120)
