"""Numbers that occur more than once are found, in memory as on disk, whatever their order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from cdc_platform.reconcile.repeated_numbers import Numbers, RepeatedNumbers


def found(numbers: Numbers, folder: Path, *, at_once: int, batch: int = 7) -> list[int]:
    with RepeatedNumbers(folder, at_once=at_once, expected=len(numbers)) as repeated:
        for start in range(0, len(numbers), batch):
            repeated.add(numbers[start : start + batch])
        return [int(number) for part in repeated.found() for number in part]


def oracle(numbers: Numbers) -> list[int]:
    return sorted(number for number, times in Counter(numbers.tolist()).items() if times > 1)


def drawn(count: int, doubled: int) -> Numbers:
    """So many random numbers, the first few of which stand once more somewhere."""
    random = np.random.default_rng(count)
    numbers = random.integers(0, 2**64, count, dtype=np.uint64, endpoint=False)
    return random.permutation(np.concatenate([numbers, numbers[:doubled]]))


@pytest.mark.parametrize("at_once", [10_000, 400, 64])
@pytest.mark.parametrize("doubled", [0, 1, 30])
def test_numbers_that_came_twice_are_found_in_one_run_and_in_many(
    tmp_path: Path, doubled: int, at_once: int
) -> None:
    numbers = drawn(1_000, doubled)

    assert oracle(numbers) == found(numbers, tmp_path, at_once=at_once)


@pytest.mark.parametrize("at_once", [100, 16])
def test_a_number_that_is_all_there_is_does_not_fill_the_memory(tmp_path: Path, at_once: int) -> None:
    numbers = np.full(90, 2**64 - 1, np.uint64)

    assert [2**64 - 1] == found(numbers, tmp_path, at_once=at_once)


def test_the_lowest_and_the_highest_number_are_numbers_like_others(tmp_path: Path) -> None:
    numbers = np.array([0, 2**64 - 1, 5, 0, 2**64 - 1, 2**63, 2**63 - 1], np.uint64)

    assert [0, 2**64 - 1] == found(numbers, tmp_path, at_once=3)


def test_more_numbers_than_expected_are_no_fault(tmp_path: Path) -> None:
    with RepeatedNumbers(tmp_path, at_once=100, expected=2) as repeated:
        repeated.add(np.array([1, 2, 3, 1], np.uint64))

        assert [1] == [int(number) for part in repeated.found() for number in part]


@pytest.mark.parametrize("numbers", [[], [4]])
def test_nothing_is_repeated_where_there_is_not_more_than_one(tmp_path: Path, numbers: list[int]) -> None:
    assert [] == found(np.array(numbers, np.uint64), tmp_path, at_once=10)


def test_no_file_is_left(tmp_path: Path) -> None:
    found(drawn(100, 3), tmp_path, at_once=10)

    assert [] == list(tmp_path.iterdir())
