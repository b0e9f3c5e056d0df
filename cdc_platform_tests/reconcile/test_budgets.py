"""Budgets of whole runs: none goes on for longer than it may, and what is left over is never MATCH."""

from __future__ import annotations

import time
from pathlib import Path

import pyarrow as pa
import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.reconcile.budget import Budget, BudgetSpent, Spending
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.shop import WholeShop

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
@pytest.mark.parametrize("bound", ["max_seconds", "queries_per_second", "max_cpu_seconds"])
def test_a_bound_that_bounds_nothing_is_refused(bound: str, value: float) -> None:
    with pytest.raises(ConfigError, match="bounds nothing"):
        Budget(**{bound: value})


def test_a_query_that_is_due_only_after_the_time_is_over_is_not_waited_for() -> None:
    spending = Spending(Budget(max_seconds=60, queries_per_second=0.001))
    spending.before_query()

    with pytest.raises(BudgetSpent, match="no time for another query"):
        spending.before_query()


@pytest.mark.parametrize(
    ("budget", "at_least", "is_over"),
    [
        (Budget(), 0, False),
        (Budget(max_seconds=0), 0, True),
        (Budget(max_seconds=0), 60, False),
        (Budget(max_seconds=60), 0, False),
        (Budget(max_cpu_seconds=0), 0, True),
        (Budget(max_cpu_seconds=0), 60, False),
        (Budget(max_cpu_seconds=60), 0, False),
        (Budget(max_rows=0), 0, False),
    ],
    ids=str,
)
def test_look_ups_end_with_the_time_but_have_some_seconds_at_least(
    budget: Budget, at_least: float, *, is_over: bool
) -> None:
    assert is_over == Spending(budget).over_after(at_least)()


@pytest.mark.postgres
def test_a_rate_the_time_does_not_suffice_for_ends_the_run_and_leaves_the_rest_unverified(
    tmp_path: Path, postgres_database: str
) -> None:
    shop = WholeShop(tmp_path, postgres_database, TYPES)
    shop.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, v text)",
        "INSERT INTO item SELECT g, 'v' FROM generate_series(1, 400) g",
        "ANALYZE item",
    )
    shop.load_from_source()
    started = time.monotonic()

    found = shop.compare(budget=Budget(max_seconds=120, queries_per_second=0.005))

    assert Verdict.UNVERIFIED is found.verdict
    assert {"MATCH": 1, "UNVERIFIED": 4} == found.certificate["segment_verdicts"]
    assert "no time for another query" in found.comparisons[0].reason
    assert time.monotonic() - started < 100
