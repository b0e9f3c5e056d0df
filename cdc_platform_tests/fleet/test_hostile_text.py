"""Text that wants to be markup, to be unseen, or to be endless: on every page it is text, seen, and cut."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import UTC, datetime
from html import unescape
from pathlib import Path

import pytest

from cdc_platform.fleet.figures import Standing, TableFigures
from cdc_platform.fleet.pages import Fleet, render_fleet, render_table
from cdc_platform.fleet.table_history import KeptDiscrepancy, TableHistory, discrepancy_of
from cdc_platform.lake.catalog import open_lake
from cdc_platform.reconcile.faults import Fault, Located, RawImage
from cdc_platform.reconcile.recent_runs import RunFigures
from cdc_platform.reconcile.report import render_report
from cdc_platform.reconcile.results import record, rows_of
from cdc_platform.reconcile.shown_values import SHOWN_CHARACTERS, show
from cdc_platform.reconcile.verdict import Discrepancy
from cdc_platform_tests.fleet.test_pages import tags_of
from cdc_platform_tests.reconcile.test_report import NOON, RAW, SOURCE, different, run_of
from cdc_platform_tests.reconcile.test_results import config

NASTY = {
    "markup": '</script><script>alert("x")</script><img src=x onerror=y>',
    "quotes": "' \" ` \" onmouseover=alert(1) x='",
    "braces": "{{ 7 * 7 }}{% for x in y %}",
    "style": "</style><svg onload=alert(1)>",
    "comment": "<!-- --><![CDATA[",
    "ampersand": "&lt;b&gt; &amp;amp;",
}
PLAIN_TAGS = {"html", "head", "meta", "title", "style", "body", "main"}


def pages_of(text: str, folder: Path) -> dict[str, str]:
    """Return every kind of page with ``text`` as key, value, column, reason, name of a table and error."""
    event = RawImage(text, 1, "U", False, 0, 7, "applied", values={"id": 7, text: text})
    located = Located(Fault.STALE, text, event, events=(event,))
    found = different(
        key={text: text},
        columns=(text,),
        expected={"id": text, text: text},
        actual={"id": 8, text: None},
        reason=text,
        located=located,
    )
    run = run_of(replace(found, reason=text, notes=(text,), attribution=text), SOURCE)
    with open_lake(config(folder)) as lake:
        record(lake, run)
        columns = [*rows_names("discrepancies")]
        kept = tuple(map(discrepancy_of, rows_of(lake, "discrepancies", columns)))
        segments = tuple(rows_of(lake, "segments", rows_names("segments")))
        runs = tuple({**one, "different": 1} for one in rows_of(lake, "runs", rows_names("runs")))
    verdicts = {
        run.window: RunFigures("r1", run.window, "DIFFERENT", NOON, compared=3, matched=2, different=1)
    }
    table = TableFigures("retail", text, text, Standing(rows=3), (run.window,), verdicts)
    history = TableHistory(runs, {"r1": segments}, ("r1",), {"r1": kept})
    broken = TableFigures("retail", "other", text, error=text)
    fleet = Fleet([table, broken], datetime(2026, 3, 2, tzinfo=UTC), {"retail": text})
    return {
        "report": render_report(run),
        "table": render_table(fleet, table, history, {}, hourly=False),
        "fleet": render_fleet(fleet),
    }


def rows_names(name: str) -> list[str]:
    from cdc_platform.reconcile.result_tables import RESULT_TABLES

    return [field.name for field in RESULT_TABLES[name].schema.fields]


@pytest.fixture(scope="module")
def harmless(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return pages_of("harmless", tmp_path_factory.mktemp("harmless"))


@pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
def test_no_text_becomes_markup(text: str, harmless: dict[str, str], tmp_path: Path) -> None:
    """The elements of each page are those it has with harmless text, and the text is read as it is."""
    for name, page in pages_of(text, tmp_path).items():
        assert tags_of(harmless[name]) == tags_of(page), name
        assert harmless[name].count("<script") == page.count("<script"), name
        assert harmless[name].count(" on") >= len(re.findall(r"<[^>]* on\w+=", page))
        assert text in unescape(page), name


@pytest.mark.parametrize(
    ("text", "seen"),
    [
        ("a\x00b", "U+0000"),
        ("a\x1b[31mb", "U+001B"),
        ("user\u202egpj.exe", "U+202E"),
        ("\u2067right to left", "U+2067"),
        ("zero\u200bwidth", "U+200B"),
        ("\ufeffbom", "U+FEFF"),
        ("next\u2028line", "U+2028"),
        ("c1\x85", "U+0085"),
    ],
)
def test_characters_that_are_not_seen_are_shown_as_code_points(text: str, seen: str) -> None:
    shown = show(text)

    assert f'<span class="unseen">{seen}</span>' in shown
    assert not set(shown) & set("\x00\x1b\u202e\u2067\u200b\ufeff\u2028\x85")


@pytest.mark.parametrize("text", ["שלום", "مرحبا", "日本語", "e\u0301", "🧡", "tab\tin", "two\nlines"])
def test_text_of_any_script_is_left_as_it_is(text: str) -> None:
    assert text == unescape(str(show(text)))


def test_long_text_is_cut_around_the_place_where_it_differs() -> None:
    left, right = "a" * 50_000 + "HERE" + "a" * 50_000, "a" * 100_004

    page = render_report(
        run_of(different(expected={"id": 7, "v": left}, actual={"id": 7, "v": right}), SOURCE)
    )

    assert "HERE" in page
    assert "… 49,800 characters …" in page
    assert len(page) < len(render_report(run_of(different(), SOURCE))) + 4 * SHOWN_CHARACTERS


def test_evidence_survives_the_result_tables(tmp_path: Path) -> None:
    event = RawImage("a.parquet", 3, "U", False, 0, 2**70, "applied", values={"id": 7, "v": "raw"})
    located = Located(Fault.STALE, "base holds an older image", event, events=(event, event, event))
    with open_lake(config(tmp_path)) as lake:
        record(lake, run_of(RAW, replace(different(located=located), name="source_matches_base")))
        (kept,) = map(discrepancy_of, rows_of(lake, "discrepancies", rows_names("discrepancies")))

    assert isinstance(kept, KeptDiscrepancy)
    assert isinstance(kept.found, Discrepancy)
    assert kept.found.located is not None
    assert (event, event) == kept.found.located.events
    assert ({"id": 7, "v": "right"}, Fault.STALE) == (kept.found.expected, kept.found.located.fault)
