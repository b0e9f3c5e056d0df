"""Take the pictures of ``docs/images`` from a running ``make up``.

    .venv/bin/python -m cdc_platform_tests.browser.pictures http://127.0.0.1:3000

It waits until the running window of every table has a verdict, launches a backfill the way the UI does, and
writes one PNG per page. Needs Chromium.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from cdc_platform_tests.browser.chromium import Browser
from cdc_platform_tests.shell.running import ROOT, Dagster, wait_until

TABLES = ("product", "store", "productorder")
MAX_BYTES = 300_000
LOADING = ("Loading", "fetching statuses", "In Progress", "Running", "queued")


def take_pictures(url: str, folder: Path) -> list[Path]:
    """Write the pictures into ``folder`` and return their paths."""
    dagster = Dagster(url.rstrip("/"))
    window = f"{datetime.now(UTC):%Y-%m-%d}"
    for table in TABLES:
        wait_until(lambda table=table: has_verdict(dagster, table, window), bool, seconds=300)  # type: ignore[misc]
    backfill = launch_backfill(dagster, window)
    base = "/assets/base/retail/productorder"
    pages = {
        "asset-graph": (f"{base}?view=lineage&lineageScope=neighbors&lineageDepth=2", ("stg_productorder",)),
        "base-table": (f"{base}?view=overview", ("_cdc_position", "order_id")),
        "base-window": (f"{base}?view=partitions&partition={window}", ("files_applied", "ops")),
        "checks": (
            "/assets/reconciliation/retail/productorder?view=checks&checkDetail=source_matches_base",
            ("source_matches_base", "keys_compared"),
        ),
        "backfill": (f"/runs/b/{quote(backfill)}", ("100% completed",)),
    }
    # far out, the graph shows the last part of an asset's name only, which says too little here
    graph = {"asset-graph": pages.pop("asset-graph")}
    folder.mkdir(parents=True, exist_ok=True)
    return [
        *_pictures(dagster.url, folder, pages, Browser(width=1720, height=960)),
        *_pictures(dagster.url, folder, graph, Browser(width=2560, height=860, scale=0.75)),
    ]


def _pictures(
    url: str, folder: Path, pages: dict[str, tuple[str, tuple[str, ...]]], browser: Browser
) -> list[Path]:
    with browser:
        return [
            picture(browser, url + path, folder / f"{name}.png", texts)
            for name, (path, texts) in pages.items()
        ]


def has_verdict(dagster: Dagster, table: str, window: str) -> bool:
    """Return whether the window was reconciled since base was last written."""
    found = dagster.checks("reconciliation", "retail", table).get("verdict_allows_use", [])
    return any(status in ("SUCCEEDED", "FAILED") and first <= window <= last for status, first, last in found)


def launch_backfill(dagster: Dagster, window: str) -> str:
    """Backfill the running window of one table, all three layers, and return the backfill's id when done."""
    keys = [(layer, "retail", "store") for layer in ("raw", "base", "reconciliation")]
    backfill = dagster.backfill(*keys, windows=[window])
    wait_until(lambda: dagster.backfill_status(backfill), lambda status: status != "REQUESTED", seconds=300)
    return backfill


def picture(browser: Browser, url: str, path: Path, texts: tuple[str, ...]) -> Path:
    """Open a page, wait until it shows ``texts`` and nothing is loading, and write it to ``path``."""
    browser.open(url)
    browser.wait_until(lambda shown: all(text in shown for text in texts), texts, seconds=120)
    try:
        browser.wait_until(lambda shown: not any(word in shown for word in LOADING), "results", seconds=120)
    except TimeoutError:
        print(f"{path.name}: taken while something was running")
    browser.settle()
    browser.screenshot(path)
    if path.stat().st_size > MAX_BYTES:
        raise ValueError(f"{path} has {path.stat().st_size} bytes, more than {MAX_BYTES}")
    print(path)
    return path


if __name__ == "__main__":
    take_pictures(sys.argv[1], Path(sys.argv[2]) if len(sys.argv) > 2 else ROOT / "docs" / "images")
