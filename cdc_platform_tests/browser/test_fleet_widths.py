"""The fleet page shows every column at every width, of tables that have the longest there is to say."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from cdc_platform.fleet.figures import Repaired, Standing, TableFigures
from cdc_platform.fleet.pages import Fleet, render_fleet
from cdc_platform.publication import Publication
from cdc_platform.reconcile.recent_runs import RunFigures
from cdc_platform_tests.browser.chromium import Browser

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOON = NOW - timedelta(minutes=59)
WINDOWS = tuple(f"2026-02-{day:02d}" for day in range(1, 29))

#: Cells of the table that leave the card or hold more than they have room for.
CUT_OFF = """[...document.querySelectorAll('#tables th, #tables td')].filter(cell => {
    const inner = cell.getBoundingClientRect(), outer = cell.closest('.list').getBoundingClientRect();
    return inner.left < outer.left || inner.right > outer.right || cell.scrollWidth > cell.clientWidth;
}).map(cell => cell.innerText)"""

#: Numbers above the table that are broken in two.
BROKEN = """[...document.querySelectorAll('.key b')].filter(number => {
    const text = document.createRange();
    text.selectNodeContents(number);
    return text.getClientRects().length > 1;
}).map(number => number.innerText)"""


def run(window: str, verdict: str, **figures: object) -> RunFigures:
    made = RunFigures(window, window, verdict, SOON, seconds=3540, oldest_proof=SOON, source_rows=123_456)
    return replace(made, **figures)  # type: ignore[arg-type]


def table(name: str, verdict: str, *more: RunFigures, windows: tuple[str, ...] = WINDOWS) -> TableFigures:
    runs = {window: run(window, verdict, different=440_000, in_flight=440_000) for window in windows}
    return TableFigures(
        "warehouse",
        name,
        f"public.{name}",
        Standing(
            rows=4_560_000,
            watermark=SOON,
            pending_files=1234,
            quarantined_files=1234,
            quarantined_rows=1_234_567,
            publication=Publication("warehouse", name, True, pending=123),
            held_seconds=3540,
        ),
        windows=WINDOWS,
        verdicts=runs,
        runs=(*runs.values(), *more)[-30:],
        repaired=Repaired(SOON, "undo", 123_456, None),
    )


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fleet page of tables with all there can be in a row, of one without anything, of one unreadable."""
    whole = run(
        "full",
        "UNVERIFIED",
        segments=12345,
        segments_matched=12344,
        compared=9999,
        matched=9998,
        against="source",
    )
    export = run("export", "UNVERIFIED", against="export", carried_rows=4_560_000, source_rows=None)
    tables = [
        table("productorder", "DIFFERENT", whole, export),
        table("a_table_whose_name_is_longer_than_any_column_is_wide", "UNVERIFIED"),
        table("invoice", "IN_FLIGHT", windows=()),
        TableFigures("warehouse", "store", "public.store"),
        TableFigures(
            "warehouse", "lost", "public.lost", error="s3://lake/base/metadata.json: not there " * 9
        ),
    ]
    path = tmp_path_factory.mktemp("widths") / "index.html"
    path.write_text(render_fleet(Fleet(tables, NOW)))
    return path


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as opened:
        yield opened


@pytest.mark.parametrize("width", [360, 600, 800, 861, 1024, 1279, 1280, 1366, 1440, 1600, 1920])
def test_nothing_of_the_fleet_is_cut_off_or_broken_at_any_width(
    browser: Browser, page: Path, width: int
) -> None:
    browser.resize(width, 900)
    browser.open(page.as_uri())
    browser.wait_for("5 tables", "12,344 of 12,345 segments", "an export 59 min ago: UNVERIFIED")

    assert [] == browser.evaluate(CUT_OFF)
    assert [] == browser.evaluate(BROKEN)
    assert width == browser.evaluate("document.documentElement.scrollWidth")


@pytest.mark.parametrize("width", [800, 1280])
def test_the_tables_can_be_sorted_as_a_table_and_as_cards(browser: Browser, page: Path, width: int) -> None:
    browser.resize(width, 900)
    browser.open(page.as_uri())
    browser.wait_for("5 tables")

    heads = "[...document.querySelectorAll('#tables th button')].filter(one => one.offsetParent !== null)"
    assert 13 == browser.evaluate(f"{heads}.length")
