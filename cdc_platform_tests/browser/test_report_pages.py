"""The pages of ``cdc report`` in headless Chromium: they filter, sort and link, and ask for nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cdc_platform_tests.browser.chromium import Browser
from cdc_platform_tests.fleet.conftest import Pages

pytestmark = pytest.mark.postgres


@pytest.fixture
def browser(pages: Pages) -> Iterator[Browser]:
    """A browser that shows the fleet page."""
    with Browser() as opened:
        opened.watch()
        opened.open((pages.folder / "index.html").as_uri())
        opened.wait_for("productorder", "4 tables")
        yield opened


def shown(browser: Browser) -> list[str]:
    """Return the tables that are seen, from top to bottom."""
    rows = "[...document.querySelectorAll('#tables tbody tr')].filter(one => one.offsetParent !== null)"
    return list(browser.evaluate(f"{rows}.map(one => one.cells[0].dataset.v)"))


def test_the_filter_leaves_the_tables_whose_name_holds_every_word(browser: Browser) -> None:
    browser.evaluate(
        "(() => { const one = document.querySelector('#search'); one.value = 'RETAIL prod';"
        " one.dispatchEvent(new Event('input')); })()"
    )

    browser.wait_for("2 of 4 tables")
    assert ["retail/productorder", "retail/product"] == shown(browser)


def test_the_verdicts_are_toggles_that_add_up(browser: Browser) -> None:
    press = "document.querySelector('.tally button[value={}]').click()"
    browser.evaluate(press.format("UNVERIFIED"))
    browser.wait_for("1 of 4 tables")
    browser.evaluate(press.format("MATCH"))
    browser.wait_for("2 of 4 tables")

    assert ["retail/store", "retail/product"] == shown(browser)

    browser.evaluate(press.format("MATCH"))
    browser.evaluate(press.format("UNVERIFIED"))
    browser.wait_for("4 tables")
    assert 4 == len(shown(browser))


def test_a_column_sorts_by_its_numbers_the_largest_first_and_then_the_other_way(browser: Browser) -> None:
    differ = (
        "[...document.querySelectorAll('#tables th button')].find(one => one.innerText === 'differ').click()"
    )
    browser.evaluate(differ)
    largest = shown(browser)
    browser.evaluate(differ)

    assert ["retail/productorder", "retail/invoice"] == largest[:2]
    assert ["retail/invoice", "retail/productorder"] == shown(browser)[2:]


def test_a_table_leads_to_its_page_a_window_to_its_report_and_back(browser: Browser, pages: Pages) -> None:
    browser.click("productorder")
    browser.wait_for("public.productorder", "What was not checked")

    browser.evaluate("document.querySelector('a.cell.DIFFERENT').click()")
    browser.wait_for("Reconciliation of retail / public.productorder", "Certificate")
    browser.leave("void history.back()")
    browser.wait_until(lambda shown: "What was not checked" in shown and "Reconciliation of" not in shown)
    browser.click("All tables")
    browser.wait_for("4 tables")

    assert [] == browser.problems()
    here = pages.folder.as_uri()
    assert {True} == {url.startswith(here) for url in browser.requests()}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_no_page_is_wider_than_its_window(browser: Browser, pages: Pages, scheme: str, width: int) -> None:
    browser.prefer(scheme)
    browser.resize(width, 900)
    for page in ("index.html", "retail/productorder.html", "retail/invoice.html"):
        browser.open((pages.folder / page).as_uri())
        browser.wait_for("Oldest proof")

        assert width >= browser.evaluate("document.documentElement.scrollWidth"), page


#: Of the numbers of a cell the widest, in every cell; those whose text leaves the cell.
CLIPPED = """[...document.querySelectorAll('.map span, .calendar .cell.DIFFERENT')].filter(cell => {
    const mark = cell.querySelector('b'), text = document.createRange();
    mark.textContent = '888M';
    text.selectNodeContents(mark);
    const inner = text.getBoundingClientRect(), outer = cell.getBoundingClientRect();
    return inner.left < outer.left || inner.right > outer.right;
}).length"""


@pytest.mark.parametrize("width", [390, 800, 1180, 1440])
def test_no_number_in_a_map_is_cut_off_by_its_cell(browser: Browser, pages: Pages, width: int) -> None:
    browser.resize(width, 900)
    for page in ("retail/productorder.html", "retail/productorder/full.html"):
        browser.open((pages.folder / page).as_uri())
        browser.wait_for("One cell for each range of the key")

        assert 0 < browser.evaluate("document.querySelectorAll('.map span.DIFFERENT').length"), page
        assert 0 == browser.evaluate(CLIPPED), page
