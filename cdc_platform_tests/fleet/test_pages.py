"""The pages of the fleet, made of real comparisons of real tables."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from cdc_platform.fleet.figures import TableFigures
from cdc_platform_tests.fleet.conftest import Pages
from cdc_platform_tests.reconcile.test_report import text_of

pytestmark = pytest.mark.postgres

#: Tags a browser loads something for, or runs something of.
LOADING = {"link", "iframe", "object", "embed", "img", "audio", "video", "source", "base"}


def figures(pages: Pages, table_id: str) -> TableFigures:
    (found,) = [one for one in pages.written.fleet.tables if one.table_id == table_id]
    return found


def test_the_worst_table_is_first_and_one_that_matches_last(pages: Pages) -> None:
    order = [(one.table_id, one.verdict_text) for one in pages.written.fleet.tables]

    assert [
        ("productorder", "DIFFERENT"),
        ("invoice", "DIFFERENT"),
        ("store", "UNVERIFIED"),
        ("product", "MATCH"),
    ] == order


def test_a_table_of_which_a_window_was_never_compared_is_not_said_to_match(pages: Pages) -> None:
    store = figures(pages, "store")

    assert (4, 3, "UNVERIFIED") == (store.windows_total, store.windows_matched, store.window_verdict)
    assert "1 never compared" in text_of(pages.text("retail/store.html"))


def test_the_figures_of_a_whole_run_are_shown_with_what_it_cost(pages: Pages) -> None:
    product = figures(pages, "product")

    assert product.whole is not None
    assert (300, 300, 300, 1.0) == (
        product.whole.compared,
        product.whole.matched,
        product.whole.source_rows,
        product.rows_proven,
    )
    words = text_of(pages.text("index.html"))
    assert "100 % of rows 8 of 8 segments" in words
    assert "300 rows read" in words


def test_rows_are_counted_by_metadata_and_not_told_where_another_program_rewrote_files(pages: Pages) -> None:
    assert (300, 60) == tuple(figures(pages, name).standing.rows for name in ("product", "store"))
    assert figures(pages, "productorder").standing.rows is None


def test_a_table_whose_main_waits_says_by_how_much(pages: Pages) -> None:
    invoice = figures(pages, "invoice")

    assert invoice.standing.publication is not None
    assert invoice.standing.publication.pending > 0
    assert invoice.standing.held_seconds is not None
    assert "held back" in text_of(pages.text("index.html"))
    page = text_of(pages.text("retail/invoice.html"))
    assert "Main is held back." in page
    assert invoice.standing.publication.sentence[1:] in page


def test_the_table_page_tells_the_kinds_of_differences_and_where_the_fault_lies(
    pages: Pages,
) -> None:
    page = text_of(pages.text("retail/productorder.html"))

    assert "Of the whole table" in page
    for said in (
        *("changed", "missing", "unexpected"),
        *("truncated at 60 characters", "altered by capture", "written out of band", "capture lost"),
        "delete not captured",
    ):
        assert said in page


def test_a_row_that_differs_is_shown_as_source_raw_and_base_have_it(pages: Pages) -> None:
    page = text_of(pages.text("retail/productorder.html"))

    assert re.search(r"column source raw, newest .{10,120} base ", page)


def test_every_link_of_every_page_leads_to_a_file_that_was_written(pages: Pages) -> None:
    found = {path: links_of(path.read_text()) for path in pages.folder.rglob("*.html")}

    linked = {(path.parent / link).resolve() for path, links in found.items() for link in links}
    assert {path.resolve() for path in found} == linked | {(pages.folder / "index.html").resolve()}
    assert {"../index.html"} <= set(found[pages.folder / "retail/productorder.html"])


def test_pages_load_nothing_and_name_no_place_outside(pages: Pages) -> None:
    for path in pages.folder.rglob("*.html"):
        page = path.read_text()
        assert set() == tags_of(page) & LOADING
        assert [] == re.findall(r"url\(|@import|https?://", page), path


def test_the_only_script_is_the_one_whose_hash_the_page_names(pages: Pages) -> None:
    scripts = {path.name: path.read_text().count("<script") for path in pages.folder.rglob("*.html")}

    assert {"index.html": 1} == {name: number for name, number in scripts.items() if number}
    assert "script-src &#39;sha256-" in pages.text("index.html") or "script-src 'sha256-" in pages.text(
        "index.html"
    )


def test_no_page_holds_the_password_of_the_source(pages: Pages) -> None:
    connection = pages.fleet.platform.source("retail").connection
    assert connection is not None
    assert connection.dsn is not None
    secret = connection.dsn.get_secret_value()

    assert [] == [path for path in pages.folder.rglob("*.html") if secret in path.read_text()]


def test_a_verdict_is_told_by_a_sign_and_its_name_and_not_by_colour_alone(pages: Pages) -> None:
    chips = re.findall(r'<span class="chip (\w+)">(.*?)</span>\s*</?\w', pages.text("index.html"), re.S)

    assert chips
    for verdict, inner in chips:
        assert re.search(r'aria-hidden="true">[≠✓…?!○]</span>', inner + "</span>"), (verdict, inner)


def links_of(page: str) -> list[str]:
    """Return the links of a page."""

    class Links(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [str(value) for name, value in attrs if name == "href"]

    links = Links()
    links.feed(page)
    return links.found


def tags_of(page: str) -> set[str]:
    """Return the names of a page's elements."""

    class Tags(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: set[str] = set()

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found.add(tag)

    tags = Tags()
    tags.feed(page)
    return tags.found


def test_the_styles_of_both_themes_are_legible() -> None:
    """WCAG AA: text on its ground at least 4.5 to 1, in the light and the dark theme."""
    style = (Path(__file__).parents[2] / "cdc_platform/reconcile/templates/page.css.j2").read_text()
    light, dark = (colours(block) for block in re.findall(r":root \{([^}]*)\}", style)[:2])

    for theme in (light, {**light, **dark}):
        pairs = [(tone, "card") for tone in ("match", "different", "in_flight", "unverified", "error")]
        pairs += [("ink", "page"), ("ink", "card"), ("ink", "mark"), ("soft", "page"), ("soft", "card")]
        assert {} == {pair: ratio for pair in pairs if (ratio := contrast(theme, *pair)) < 4.5}


def colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--(\w+): (#[0-9a-f]{3,6})", block))


def contrast(theme: dict[str, str], one: str, other: str) -> float:
    bright, dim = sorted((luminance(theme[one]), luminance(theme[other])), reverse=True)
    return round((bright + 0.05) / (dim + 0.05), 2)


def luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
