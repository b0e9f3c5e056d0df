"""The shortcuts of large tables, forced upon small ones: direct loads and key indexes change no table."""

from __future__ import annotations

import os

import pytest

from cdc_platform.lake import direct_load, key_lookup, key_search, merge_plan, rows_to_write, rules, staging
from cdc_platform_tests.histories.soak import failures

HISTORIES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "80"))
PARTS = 2


@pytest.fixture
def _shortcuts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct_load, "LEAST_ROWS", 0)
    monkeypatch.setattr(rows_to_write, "LEAST_ROWS_OF_A_PART", 1)
    for module in (staging, merge_plan, rules):
        monkeypatch.setattr(module, "FEW_EVENTS", 0)
    for module in (key_search, key_lookup):
        monkeypatch.setattr(module, "LEAST_ROWS", 0)
    monkeypatch.setattr(key_lookup, "ROWS_PER_KEY", 0)
    monkeypatch.setattr(key_lookup, "ROWS_PER_WHOLE_NUMBER", 0)
    monkeypatch.setattr(key_lookup, "ROWS_PER_KEY_TO_BUILD", 0)


@pytest.mark.usefixtures("_shortcuts")
@pytest.mark.parametrize("part", range(PARTS))
def test_direct_loads_and_key_indexes_give_the_source_table(part: int) -> None:
    assert None is next(failures(range(part, HISTORIES, PARTS)), None)
