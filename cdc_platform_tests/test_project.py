"""The project's own promises: what the README says is there, and the lock holds what is asked for."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from typer.main import get_command

from cdc_platform.cli.app import app

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKE_TARGET = re.compile(r"^([a-z][a-z-]*):.*?## .+$", re.MULTILINE)


def named(document: Path) -> str:
    return document.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_link_leads_somewhere(document: Path) -> None:
    links = re.findall(r"\]\((?!https?://|#|mailto:)([^)#\s]+)", document.read_text())

    assert [] == [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_make_target_named_is_there(document: Path) -> None:
    targets = set(MAKE_TARGET.findall((ROOT / "Makefile").read_text()))
    used = set(re.findall(r"(?:^    |`)make ([a-z-]+)", document.read_text(), re.MULTILINE))

    assert set() == used - targets


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_every_command_named_is_there(document: Path) -> None:
    commands = set(getattr(get_command(app), "commands"))  # noqa: B009
    used = set(re.findall(r"(?:^    |`|&& )cdc ([a-z][a-z-]*)", document.read_text(), re.MULTILINE))

    assert set() == used - commands


def test_make_help_lists_every_target() -> None:
    shown = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    rules = re.findall(r"^\.PHONY: (\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert rules == re.findall(r"^  make (\S+)", shown, re.MULTILINE)


def test_the_lock_holds_every_dependency_asked_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = [
        *project["dependencies"],
        *(one for extra in project["optional-dependencies"].values() for one in extra),
    ]
    locked = set(re.findall(r"^([a-z0-9._-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    names = {re.split(r"[\[<>=!~; ]", one)[0].lower().replace("_", "-") for one in asked}
    assert set() == names - locked


def test_every_pin_of_the_lock_carries_hashes() -> None:
    lock = (ROOT / "requirements.lock").read_text()

    pins = re.findall(r"^[a-z0-9._-]+==.*$", lock, re.MULTILINE)
    assert [] == [pin for pin in pins if not pin.endswith("\\")]


def test_nothing_names_a_secret_or_this_machine() -> None:
    words = re.compile(r"/work/|/root/|AKIA[0-9A-Z]{12}|BEGIN [A-Z ]*PRIVATE KEY")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts = {".py", ".md", ".yaml", ".yml", ".toml", ".lock", ".sql", ".cfg", ".sh", ""}
    files = [ROOT / name for name in listed.splitlines() if Path(name).suffix in texts]

    assert [] == [named(file) for file in files if file != Path(__file__) and words.search(file.read_text())]
