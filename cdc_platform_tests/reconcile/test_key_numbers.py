"""Keys that are whole numbers: which come more than once, and the segments a sample of them makes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import duckdb
import numpy as np
import pyarrow as pa
import pytest

from cdc_platform.reconcile.key_numbers import WholeNumbers, are_distinct, is_whole, read_numbers, sample_of
from cdc_platform.reconcile.segments import quantile_segments, segments_of_sample

LOWEST, HIGHEST = -(2**63), 2**63 - 1


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 2}) as opened:
        yield opened


def numbers(*values: int) -> WholeNumbers:
    return np.array(values, np.int64)


def drawn(count: int, first: int, last: int) -> WholeNumbers:
    return np.random.default_rng(count).integers(first, last, count, np.int64, endpoint=True)


@pytest.mark.parametrize(
    "given",
    [
        numbers(),
        numbers(5),
        numbers(3, 1, 2),
        numbers(3, 1, 3, 2, 3, 1),
        numbers(-1, 0, 1, -1),
        numbers(LOWEST, HIGHEST, 0),
        numbers(LOWEST, HIGHEST, LOWEST, HIGHEST, 0),
        numbers(HIGHEST - 2, HIGHEST, HIGHEST - 1, HIGHEST),
        numbers(LOWEST, LOWEST + 1, LOWEST),
        numbers(7, 7, 7),
        drawn(2_000, -4_000, 4_000),
        drawn(2_000, -(10**9), 10**9),
        drawn(2_000, LOWEST, HIGHEST),
        np.random.default_rng(1).permutation(np.arange(-1_000, 2_500_000)),
        np.append(np.arange(2_500_000), [0, 1_250_000, 2_499_999]),
    ],
    ids=lambda given: f"{len(given)} numbers",
)
def test_numbers_that_came_twice_are_never_distinct_and_others_are_where_they_lie_near(
    given: WholeNumbers,
) -> None:
    is_near = not len(given) or int(given.max()) - int(given.min()) < 2 * len(given)
    expected = is_near and max(Counter(given.tolist()).values(), default=1) == 1

    for parts in ([given], np.array_split(given, 3)):
        assert expected is are_distinct([part for part in parts if len(part)])


def test_rows_without_a_key_have_no_number(connection: duckdb.DuckDBPyConnection) -> None:
    rows = "(VALUES (1), (NULL), (-3), (1)) b(id) WHERE true"

    assert [-3, 1, 1] == sorted(np.concatenate(read_numbers(connection, "b.id", rows)).tolist())
    assert [] == read_numbers(connection, "b.id", "(SELECT 1 AS id) b WHERE false")
    assert [] == sample_of([], 3).tolist()


@pytest.mark.parametrize(
    ("types", "expected"),
    [(["BIGINT"], True), (["SMALLINT"], True), (["BIGINT", "BIGINT"], False), (["DECIMAL(18,0)"], False),
     (["VARCHAR"], False), (["UBIGINT"], False), (["DATE"], False)],
)  # fmt: skip
def test_only_keys_of_one_column_of_whole_numbers_are(types: list[str], expected: bool) -> None:
    assert expected is is_whole(types)


def test_a_sample_of_numbers_makes_the_segments_a_sample_of_rows_makes(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    connection.execute("CREATE TABLE item AS SELECT (i * 7 - 500)::INTEGER AS id FROM range(10000) r(i)")
    sizes = {"rows": 10_000, "rows_per_segment": 1_000}
    sample = pa.array(sample_of(read_numbers(connection, "b.id", "item b WHERE true"), 1))

    found = segments_of_sample(connection, sample, "INTEGER", **sizes)

    assert quantile_segments(connection, "item", ["id"], ["INTEGER"], **sizes) == found
    assert 10 == found.ranges
    assert 1 == segments_of_sample(connection, sample, "INTEGER", rows=10, rows_per_segment=9).ranges
