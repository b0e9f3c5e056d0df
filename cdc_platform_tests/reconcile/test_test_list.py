"""The test list names tests there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIST = ROOT / "docs" / "reconciliation-tests.md"
_NAMED = re.compile(r"`([a-z_/0-9]+\.py)::(test_\w+)`")


def test_every_test_the_list_names_exists() -> None:
    named = _NAMED.findall(LIST.read_text())
    missing = [
        f"{path}::{name}"
        for path, name in named
        if f"def {name}(" not in (ROOT / "cdc_platform_tests" / path).read_text()
    ]

    assert len(named) > 80
    assert [] == missing


def test_the_list_has_every_item() -> None:
    text = LIST.read_text()
    items = {"A": 8, "B": 5, "C": 8, "D": 4, "E": 9, "F": 6, "G": 8, "H": 5, "I": 6}

    missing = [
        f"{part}{n}" for part, last in items.items() for n in range(1, last + 1) if f"{part}{n}" not in text
    ]

    assert [] == missing
