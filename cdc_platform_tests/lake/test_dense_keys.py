"""Keys found by their place in their range are those a dict finds."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.lake.dense_keys import MOST_PLACES, DenseTable
from cdc_platform.lake.key_words import Words

LEAST, MOST = -(2**63), 2**63 - 1
#: Where a range of keys begins.
ORIGINS = st.sampled_from([LEAST, -5, 0, 2**31, MOST - 5])
KEYS = st.tuples(st.integers(0, 5), st.integers(0, 5))


def words(keys: list[tuple[int, int]]) -> Words:
    columns = list(zip(*keys, strict=True)) or [(), ()]
    return tuple(np.array(column, np.int64) for column in columns)


@given(
    origins=st.tuples(ORIGINS, ORIGINS),
    asked=st.lists(KEYS, min_size=2, unique=True),
    near=st.lists(KEYS),
    far=st.lists(st.tuples(*[st.sampled_from([LEAST, -1, 0, 1, MOST])] * 2), max_size=3),
)
def test_every_row_with_one_of_the_keys_is_found_and_no_other(
    origins: tuple[int, int],
    asked: list[tuple[int, int]],
    near: list[tuple[int, int]],
    far: list[tuple[int, int]],
) -> None:
    keys, stored = ([(origins[0] + a, origins[1] + b) for a, b in some] for some in (asked, near))
    rows = [*stored, *far, *keys]
    table = DenseTable.of(words(keys))
    assert table is not None

    found, numbers = table.find(words(rows))

    expected = [(row, keys.index(key)) for row, key in enumerate(rows) if key in keys]
    assert expected == list(zip(found.tolist(), numbers.tolist(), strict=True))


@pytest.mark.parametrize(
    "declined",
    [
        (np.array([0, 2 * MOST_PLACES]),),
        (np.array([LEAST, MOST]), np.array([LEAST, MOST])),
        (np.array([1, 2]), np.array([1, 2], np.uint64)),
    ],
    ids=["far apart", "beyond any number", "text"],
)
def test_keys_that_are_text_or_far_apart_are_declined(declined: Words) -> None:
    assert DenseTable.of(declined) is None


def test_keys_as_far_apart_as_may_be_are_taken() -> None:
    assert DenseTable.of((np.array([0, 2 * MOST_PLACES - 1]),)) is not None
