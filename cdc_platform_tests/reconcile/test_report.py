"""The HTML report: a page that says what was proven, shows what differs, and needs nothing from outside."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, ClassVar

import pytest

from cdc_platform.raw.objects import FolderObjects
from cdc_platform.reconcile.certificate import certificate
from cdc_platform.reconcile.full_result import FullComparison, full_certificate
from cdc_platform.reconcile.recent_runs import OF_SOURCE
from cdc_platform.reconcile.report import fault, headline, render_report, write_report
from cdc_platform.reconcile.scopes import WHOLE
from cdc_platform.reconcile.shown_values import show
from cdc_platform.reconcile.verdict import (
    Comparison,
    Discrepancy,
    Excluded,
    Kind,
    Reconciliation,
    Tally,
    Verdict,
    combine,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
THREE = "the 3 keys changed in this window"
HOSTILE = '<script>alert("x")</script><img src=x onerror=y>'

RAW = Comparison(
    name="raw_matches_base",
    verdict=Verdict.MATCH,
    reason="3 of 3 keys changed in the window agree",
    tally=Tally(compared=3, matched=3),
    columns=("id", "v"),
    rows={"raw events": 4, "base rows": 3},
    snapshot_id=2**62,
    method="typed and exact",
)
SOURCE = replace(RAW, name="source_matches_base", source_position="0/16B3748", rules={"v": "as text"})


def run_of(*comparisons: Comparison, window: str = "2026-03-01") -> Reconciliation:
    """Return a run of a window; of the whole table where that is what ``window`` says."""
    verdict = combine(comparison.verdict for comparison in comparisons)
    common: dict[str, Any] = {
        "run_id": "r1",
        "source": "retail",
        "table": "public.item",
        "window": window,
        "merge_key": ("id",),
        "verdict": verdict,
        "started_at": NOON,
    }
    proof: Mapping[str, Any]
    if window in WHOLE:
        (comparison,) = comparisons
        proof = full_certificate(FullComparison(comparison), against=OF_SOURCE, **common)
    else:
        bounds = (NOON, NOON + timedelta(days=1))
        proof = certificate(bounds=bounds, comparisons=comparisons, **common)
    return Reconciliation("r1", "retail", "item", window, verdict, comparisons, proof, NOON, 0.5)


def different(**changes: object) -> Comparison:
    found = Discrepancy(
        kind=Kind.CHANGED,
        key={"id": 7},
        columns=("v",),
        expected={"id": 7, "v": "right"},
        actual={"id": 7, "v": HOSTILE},
        witnesses=("raw", "base"),
        reason="the rows differ",
    )
    return replace(
        RAW,
        verdict=Verdict.DIFFERENT,
        tally=Tally(compared=3, matched=2, different=1),
        discrepancies=(replace(found, **changes),),  # type: ignore[arg-type]
        discrepancies_total=1,
    )


def text_of(page: str) -> str:
    """Return the words a reader sees, between single spaces."""

    class Words(HTMLParser):
        def __init__(self) -> None:
            super().__init__()
            self.found: list[str] = []
            self.skip = False

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.skip = tag in ("style", "title")

        def handle_data(self, data: str) -> None:
            if not self.skip:
                self.found.append(data)

    words = Words()
    words.feed(page)
    return " ".join(" ".join(words.found).split())


@pytest.mark.parametrize(
    ("comparisons", "sentence"),
    [
        ((RAW, SOURCE), f"Base is proven equal to both the raw files and the source for {THREE}."),
        ((different(), SOURCE), f"Base is wrong: 1 of {THREE} differs from the raw files."),
        (
            (RAW, replace(SOURCE, verdict=Verdict.IN_FLIGHT)),
            f"No difference is proven for {THREE}, but changes are still on their way: look again.",
        ),
        (
            (RAW, replace(SOURCE, verdict=Verdict.UNVERIFIED)),
            f"No difference is proven for {THREE}, but not everything could be compared.",
        ),
        (
            (RAW, replace(SOURCE, verdict=Verdict.ERROR)),
            "A comparison failed, so nothing is proven about what it covers.",
        ),
        (
            (replace(RAW, tally=Tally()), replace(SOURCE, tally=Tally())),
            "Nothing was changed in this window, so there was nothing that could differ.",
        ),
    ],
)
def test_the_headline_says_the_verdict_and_its_scope_in_words(
    comparisons: tuple[Comparison, ...], sentence: str
) -> None:
    assert sentence == headline(run_of(*comparisons))
    assert sentence in text_of(render_report(run_of(*comparisons)))


@pytest.mark.parametrize(
    ("raw", "source", "words"),
    [
        (Verdict.DIFFERENT, Verdict.DIFFERENT, "Base differs from both other witnesses"),
        (Verdict.MATCH, Verdict.DIFFERENT, "capture lost a change"),
        (Verdict.DIFFERENT, Verdict.MATCH, "the raw files say otherwise"),
        (Verdict.DIFFERENT, Verdict.ERROR, "a merge went wrong"),
        (Verdict.MATCH, Verdict.IN_FLIGHT, None),
    ],
)
def test_the_page_says_where_the_fault_lies(raw: Verdict, source: Verdict, words: str | None) -> None:
    said = fault(run_of(replace(RAW, verdict=raw), replace(SOURCE, verdict=source)))

    assert (words is None) == (said is None)
    assert (words or "") in (said or "")


def test_both_values_of_a_discrepancy_are_shown_and_escaped() -> None:
    page = render_report(run_of(different(), SOURCE))

    assert "<script" not in page
    assert "<img" not in page
    assert f"v right {HOSTILE}" in text_of(page)


def test_a_missing_row_is_shown_as_no_row_beside_the_whole_other_one() -> None:
    page = render_report(run_of(different(kind=Kind.MISSING, columns=(), actual=None), SOURCE))

    assert "id 7 no row v right no row" in text_of(page)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, '<span class="none">NULL</span>'),
        ("", '<span class="none">empty text</span>'),
        ("NULL", "NULL"),
        ("a b", "a b"),
        (" a\t", '<span class="blank">·</span>a<span class="blank">⇥</span>'),
        ("\n", '<span class="blank">⏎</span>'),
        ("a<b", "a&lt;b"),
        (0, "0"),
        (False, "false"),
        ({"a": [1]}, "{&#34;a&#34;: [1]}"),
    ],
)
def test_values_that_look_alike_are_told_apart(value: object, shown: str) -> None:
    assert shown == show(value)


def test_what_was_not_checked_is_named() -> None:
    left_out = replace(
        SOURCE, excluded=(Excluded("geo", "no rule compares them"),), notes=("2 rows discarded",)
    )

    words = text_of(render_report(run_of(RAW, left_out)))

    assert "column geo was left out: no rule compares them." in words
    assert "2 rows discarded" in words
    assert "a change that capture lost entirely" in words


def test_the_page_needs_nothing_from_outside() -> None:
    page = render_report(run_of(different(), SOURCE))

    class Outside(HTMLParser):
        found: ClassVar[list[str]] = []

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            self.found += [name for name, _ in attrs if name in ("src", "href", "srcset", "action")]
            self.found += [tag] if tag in ("script", "link", "iframe", "object") else []

    Outside().feed(page)
    assert [] == Outside.found
    assert [] == re.findall(r"url\(|@import|https?://", page)


def test_earlier_runs_are_listed_after_this_one() -> None:
    earlier = {
        "run_id": "r0",
        "started_at": NOON - timedelta(hours=1),
        "verdict": "DIFFERENT",
        "keys_compared": 3,
        "discrepancies": 1,
        "seconds": 0.25,
    }

    words = text_of(render_report(run_of(RAW, SOURCE), [earlier]))

    assert words.index("2026-03-01 12:00:00 MATCH") < words.index("2026-03-01 11:00:00 DIFFERENT 3 1 0.25 r0")


def test_the_report_is_stored_by_run_and_as_the_latest_of_its_window(tmp_path: Path) -> None:
    objects = FolderObjects(tmp_path)

    path = write_report(objects, run_of(RAW, SOURCE, window="2026-03-01-13:00"), [])

    assert Path(path).read_text() == (tmp_path / "reports/2026-03-01-13_00/latest.html").read_text()
    assert path.endswith("reports/2026-03-01-13_00/r1.html")
