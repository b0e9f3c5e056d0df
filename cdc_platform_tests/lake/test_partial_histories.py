"""Random lives of a table whose updates carry only changed columns: what is shown is never a guess.

More of them: ``CDC_HYPOTHESIS_EXAMPLES=2000 pytest … --timeout 3600``; ``CDC_FIRST_SEED`` begins elsewhere.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from cdc_platform_tests.histories.lakes import quick_lake, quick_reader
from cdc_platform_tests.histories.partial_images import random_story
from cdc_platform_tests.histories.partial_run import Tally, check_story, told

HISTORIES = int(os.environ.get("CDC_HYPOTHESIS_EXAMPLES", "10"))
FIRST = int(os.environ.get("CDC_FIRST_SEED", "0"))


@pytest.mark.parametrize(
    ("recalls", "most_needless"),
    [
        pytest.param(True, 0.005, id="all files at hand"),
        pytest.param(False, 0.1, id="only the new files at hand"),
    ],
)
def test_partial_images_in_any_order_are_laid_over_their_row_or_set_aside(
    recalls: bool, most_needless: float
) -> None:
    """``most_needless`` of the events wait as late although the row is right as it is."""
    tally = Tally()
    with quick_lake() as lake, quick_reader(lake) as read:
        for seed in range(FIRST, FIRST + HISTORIES):
            story = replace(random_story(seed), recalls=recalls)
            try:
                check_story(lake, read, story, tally)
            except AssertionError as e:
                pytest.fail(f"seed {seed}: {e}\n{told(story)}")
    assert tally.needless <= most_needless * tally.events, tally
