"""The faults the mutation run plants: each still has its place, and is Python."""

from __future__ import annotations

import pytest

from bench.mutant import Mutant
from bench.mutant_list import MUTANTS
from bench.mutants import ROOT, mutated


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_mutant_can_be_planted_and_its_tests_exist(mutant: Mutant) -> None:
    sound = (ROOT / "cdc_platform" / mutant.module).read_text()

    compile(mutated(mutant, sound), mutant.module, "exec")

    assert mutant.old != mutant.new
    assert all((ROOT / "cdc_platform_tests" / test.partition("::")[0]).is_file() for test in mutant.tests)


def test_mutants_have_names_of_their_own() -> None:
    assert len(MUTANTS) == len({mutant.name for mutant in MUTANTS}) >= 40


def test_a_mutant_whose_place_is_gone_is_told() -> None:
    gone = Mutant("gone", "reconcile/digest.py", "no such text", "", ())

    with pytest.raises(ValueError, match="stands 0 times"):
        mutated(gone, "something else")
