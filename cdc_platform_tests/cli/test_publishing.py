"""``cdc publish``, and what other commands show of a table whose main waits."""

from __future__ import annotations

from pathlib import Path

import pytest

from cdc_platform_tests.cli.conftest import Cdc


@pytest.fixture
def held(project: Path) -> Path:
    """The project with a table that publishes on MATCH, and a source that does not answer."""
    path = project / "cdc.yaml"
    source = "    connection: {host: 127.0.0.1, port: 1, database: shop, user: nobody}\n    tables:\n"
    text = path.read_text().replace("    tables:\n", source)
    path.write_text(text.replace("merge_key: [id]", "merge_key: [id]\n        publish: on_match"))
    return project


def test_what_waits_is_told_with_its_windows(cdc: Cdc, held: Path) -> None:
    cdc("apply")

    done = cdc("publish", "--dry-run", "--json")

    (told,) = done.json["tables"]
    assert (1, 0, 1, {"it was not reconciled yet"}) == (
        done.code,
        told["moved"],
        told["pending"],
        {one["reason"] for one in told["held"]},
    )
    assert told["sentence"].startswith("1 snapshot waits after")


def test_show_and_status_read_main_unless_told(cdc: Cdc, held: Path) -> None:
    cdc("apply")

    shown = [cdc("show", "orders", "--count", *more).out.strip() for more in ((), ("--pending",))]
    (table,) = cdc("status", "--json").json

    assert ["0", "3"] == shown
    assert (0, 1) == (table["rows"], table["unpublished"])


def test_a_source_that_does_not_answer_keeps_main_and_reconcile_says_so(cdc: Cdc, held: Path) -> None:
    cdc("apply")

    done = cdc("reconcile", "--all", "--json")

    (told,) = done.json["publications"]
    assert (3, 1, "ERROR") == (done.code, told["pending"], told["held"][0]["verdict"])
    assert "0" == cdc("show", "orders", "--count").out.strip()


def test_a_table_whose_option_was_taken_away_is_published_whole(cdc: Cdc, held: Path) -> None:
    cdc("apply")
    path = held / "cdc.yaml"
    path.write_text(path.read_text().replace("publish: on_match", "publish: always"))

    done = cdc("publish")

    assert 0 == done.code
    assert "3" == cdc("show", "orders", "--count").out.strip()


def test_nothing_to_publish_is_said(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("publish")

    assert (0, "no table holds main back: nothing to publish") == (done.code, done.out.strip())


@pytest.mark.parametrize(
    ("before", "after", "says"),
    [
        ("    connection: {host: 127.0.0.1, port: 1, database: shop, user: nobody}\n", "", "can be read"),
        ("merge_key: [id]", "no_key: append", "without a merge key"),
    ],
)
def test_a_table_that_could_never_match_is_refused(
    cdc: Cdc, held: Path, before: str, after: str, says: str
) -> None:
    path = held / "cdc.yaml"
    path.write_text(path.read_text().replace(before, after))

    done = cdc("apply")

    assert 2 == done.code
    assert says in done.err
