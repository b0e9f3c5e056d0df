"""Random lives of a table: its files in any order, repeated, cut anyhow, give the source's table.

More of them: ``python bench/histories.py``, or ``CDC_HYPOTHESIS_EXAMPLES=2000 pytest … --timeout 3600``.
``CDC_FIRST_SEED`` begins elsewhere; a failure names its seed and prints the smallest case that fails.
"""

from __future__ import annotations

import os

import pytest

from cdc_platform_tests.histories.case import random_forgetful_case, random_indexed_case
from cdc_platform_tests.histories.faults import random_quarantine_case
from cdc_platform_tests.histories.soak import failures
from cdc_platform_tests.histories.upkept import random_upkept_case

HISTORIES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "48"))
FIRST = int(os.environ.get("CDC_FIRST_SEED", "0"))
#: The seeds are dealt out, for several processes to share.
PARTS = 4


def seeds(part: int) -> range:
    return range(FIRST + part, FIRST + HISTORIES, PARTS)


@pytest.mark.parametrize("part", range(PARTS))
def test_any_order_and_repetition_of_files_gives_the_source_table(part: int) -> None:
    assert None is next(failures(seeds(part)), None)


@pytest.mark.parametrize("part", range(PARTS))
def test_what_comes_out_of_quarantine_never_overtakes_newer_data(part: int) -> None:
    assert None is next(failures(seeds(part)[::2], make=random_quarantine_case), None)


@pytest.mark.parametrize("part", range(PARTS))
def test_what_is_older_than_the_remembered_deletes_is_never_guessed(part: int) -> None:
    assert None is next(failures(seeds(part)[1::2], make=random_forgetful_case), None)


@pytest.mark.parametrize("part", range(PARTS))
def test_key_indexes_change_no_table_lost_damaged_or_with_colliding_hashes(part: int) -> None:
    assert None is next(failures(seeds(part)[::4], make=random_indexed_case), None)


@pytest.mark.parametrize("part", range(PARTS))
def test_expiry_clean_up_and_rollbacks_leave_the_source_table_and_its_past(part: int) -> None:
    assert None is next(failures(seeds(part)[1::4], make=random_upkept_case), None)
