"""Random pairs of tables: no MATCH on unequal ones, no DIFFERENT on equal ones, always the right keys."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import duckdb
import pytest

from cdc_platform_tests.reconcile.pairs import Pair, compare_pair, fault_of, random_pair

SEED = 20260301


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.mark.parametrize("number", range(40))
def test_a_random_pair_is_judged_as_the_oracle_does(
    connection: duckdb.DuckDBPyConnection, number: int
) -> None:
    random = Random(SEED + number)
    pair = random_pair(random)
    found = compare_pair(
        connection, pair, rows_per_segment=random.choice([1, 5, 1000]), ranged=random.random() < 0.5
    )

    assert fault_of(pair, found) is None


def test_the_oracle_finds_a_swap_of_values_that_are_equal_by_type_harmless() -> None:
    pair = Pair(("k", "v"), (), 1, ((1, 0.0), (2, float("nan"))), ((2, float("nan")), (1, -0.0)))

    assert set() == pair.differing_keys()
