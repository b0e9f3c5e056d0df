"""The demo, told whole on the real parts: it is the test that all of them go together."""

from __future__ import annotations

import io
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from rich.console import Console

from cdc_platform.errors import LocalServiceError
from cdc_platform.local import services
from cdc_platform.local.demo import run_demo
from cdc_platform.local.demo_stage import fresh_folder
from cdc_platform.local.demo_story import Story
from cdc_platform.pipeline import Platform, status


@dataclass(frozen=True)
class Told:
    """A demo that was told."""

    held: bool
    text: str
    seconds: float
    folder: Path


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    # not below pytest's folder: it closes that to other users, and started by root PostgreSQL is one
    root = Path(tempfile.mkdtemp(prefix="cdc-demo-"))
    written = io.StringIO()
    story = Story(Console(file=written, width=200))
    held = run_demo(root / "demo", story=story)
    yield Told(held, written.getvalue(), story.seconds, root / "demo")
    shutil.rmtree(root, ignore_errors=True)


def test_the_story_holds(told: Told) -> None:
    assert told.held, told.text


def test_it_takes_less_than_three_minutes(told: Told) -> None:
    assert told.seconds < 180


def test_every_table_is_proven_before_the_tampering_and_after_the_mending(told: Told) -> None:
    assert 2 == told.text.count("✔ every table is proven equal to its source")


def test_the_tampered_row_is_the_only_one_called_different(told: Told) -> None:
    assert 2 == told.text.count("DIFFERENT")
    assert "✔ and nothing else is called different" in told.text


def test_it_leaves_a_lake_to_look_around_in_and_no_service_running(told: Told) -> None:
    platform = Platform.open(told.folder / "cdc.yaml")

    assert {("product", "MATCH"), ("store", "MATCH"), ("productorder", "MATCH")} == {
        (one.table_id, one.verdict) for one in status(platform)
    }
    assert not services.status(told.folder / "local").is_up


def test_the_report_it_names_is_there(told: Told) -> None:
    found = re.search(r"report: (\S+\.html)", told.text)
    assert found is not None

    assert "999" in Path(found[1]).read_text()


def test_what_does_not_hold_is_told_and_remembered() -> None:
    written = io.StringIO()
    story = Story(Console(file=written, width=200))
    with story.scene("A scene"):
        story.expect(True, "this holds")
        story.expect(False, "this does not")

    assert (False, ["this does not"]) == (story.holds, story.broken)
    assert "✔ this holds" in written.getvalue()
    assert "✘ this does not" in written.getvalue()


def test_a_folder_that_is_no_demo_s_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(LocalServiceError, match="not empty and no demo's"):
        fresh_folder(tmp_path, keep=False)
    assert (tmp_path / "thesis.txt").exists()


def test_an_earlier_demo_is_replaced(tmp_path: Path) -> None:
    fresh_folder(tmp_path / "demo", keep=False)
    (tmp_path / "demo" / "old").touch()

    assert not (fresh_folder(tmp_path / "demo", keep=False) / "old").exists()


def test_an_earlier_demo_is_kept_on_request(tmp_path: Path) -> None:
    fresh_folder(tmp_path / "demo", keep=False)
    (tmp_path / "demo" / "old").touch()

    fresh_folder(tmp_path / "demo", keep=True)

    assert 1 == len(list(tmp_path.glob("demo-*/old")))
