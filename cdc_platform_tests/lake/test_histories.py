"""Random lives of a table: its files in any order, repeated, cut anyhow, give the source's table.

More of them: ``python bench/histories.py``, or ``CDC_HYPOTHESIS_EXAMPLES=2000 pytest … --timeout 3600``.
``CDC_FIRST_SEED`` begins elsewhere; a failure names its seed and prints the smallest case that fails.
"""

from __future__ import annotations

import os

import pytest

from cdc_platform_tests.histories.soak import failures

HISTORIES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "100"))
FIRST = int(os.environ.get("CDC_FIRST_SEED", "0"))
#: The seeds are dealt out, for several processes to share.
PARTS = 4


@pytest.mark.parametrize("part", range(PARTS))
def test_any_order_and_repetition_of_files_gives_the_source_table(part: int) -> None:
    seeds = range(FIRST + part, FIRST + HISTORIES, PARTS)

    assert None is next(failures(seeds), None)
