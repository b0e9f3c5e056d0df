"""Merges while everything below them fails at random: nothing is lost, and the errors say what to do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from cdc_platform.errors import CdcError
from cdc_platform.lake import merge as merging
from cdc_platform.lake import quarantine
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.merge import merge
from cdc_platform_tests.crash.inspection import SOURCE, state_of
from cdc_platform_tests.crash.rounds import NOTHING, Round
from cdc_platform_tests.crash.shapes import SHAPES, Shape
from cdc_platform_tests.crash.workload import Life
from cdc_platform_tests.lake.conftest import lake_config
from cdc_platform_tests.storage_faults.weather import storm

ROUNDS = 4
#: So many at most until something has struck.
MOST_ROUNDS = 20
#: Of some fifty calls that a merge makes.
SHARE = 0.03


def merge_through(lake: Lake, step: Round, random: Random) -> tuple[list[CdcError], list[str]]:
    """Merge until it succeeds; return the errors met on the way, and the faults that were."""
    errors: list[CdcError] = []
    with storm(random, SHARE) as weather:
        while len(errors) < 60:
            try:
                merge(lake, SOURCE, step.config, step.inputs, completed_generation=step.completed)
            except CdcError as error:
                errors.append(error)
            else:
                return errors, weather.faults
    raise AssertionError(f"60 times: {errors[-1]}")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@pytest.mark.filterwarnings("ignore:Failed to delete old metadata")
def test_a_table_merged_through_storms_equals_the_oracle_once_they_are_over(
    tmp_path: Path, shape: Shape, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merging, "_LONGEST_PAUSE_SECONDS", 0.01)
    random = Random(shape.name)
    struck: list[str] = []
    life, main = Life(shape, seed=5), NOTHING
    with open_lake(lake_config(tmp_path)) as lake:
        for number in range(MOST_ROUNDS):
            if number >= ROUNDS and struck:
                break
            step = replace(life.next(), held_at=NOTHING if shape.is_new_each_round else main)
            for item in quarantine.list_items(lake, SOURCE, step.config.id):
                if (item.key, item.row) in step.releases:
                    quarantine.release(lake, SOURCE, step.config.id, item.id)
            errors, faults = merge_through(lake, step, random)
            struck += faults
            in_the_storm = state_of(lake, step.config)
            # a listing that missed something is made good by the next merge
            merge(lake, SOURCE, step.config, step.inputs, completed_generation=step.completed)
            afterwards = state_of(lake, step.config)

            assert [] == [error for error in errors if not error.retryable or " → " not in str(error)]
            assert set(in_the_storm.quarantine) <= set(step.after.quarantine)
            assert step.after.rows == afterwards.rows
            assert step.after.files == afterwards.files
            assert step.after.quarantine == afterwards.quarantine
            assert (step.main, step.is_held) == (afterwards.main, afterwards.is_held)
            main = step.main
    assert struck
