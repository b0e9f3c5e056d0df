"""Cases with maintenance and rollbacks between merges: what is rolled back is merged again, in any order."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from cdc_platform_tests.histories.afterwards import OF_THE_PAST
from cdc_platform_tests.histories.case import Case, File, Step, random_case, when
from cdc_platform_tests.histories.faults import random_quarantine_case

_TURNS = (*OF_THE_PAST, "roll back", "compact", "compact", "")


def random_upkept_case(seed: int) -> Case:
    """Return the case of a seed: an ordinary one, or one with faulty files, in more and smaller merges."""
    case = random_case(seed) if seed % 3 else random_quarantine_case(seed)
    random = Random(seed + 3)
    decided = [step for step in case.steps if step.decisions]
    steps = _steps(random, sorted(case.files, key=when), decided)
    return replace(case, steps=steps)


def _steps(random: Random, files: list[File], decided: list[Step]) -> tuple[Step, ...]:
    """Return merges of a few files each, nearly in order; what a rollback took back comes again by and by."""
    steps: list[Step] = []
    size = max(1, -(-len(files) // random.choice((3, 4, 5, 6))))
    for start in range(0, len(files), size):
        own = [file.name for file in files[start : start + size]]
        earlier = [file.name for file in files[:start]]
        if any("back" in step.then for step in steps[-2:]):
            own += random.sample(earlier, random.randint(0, len(earlier)))
        random.shuffle(own)
        decisions = decided.pop(0).decisions if decided and random.random() < 0.7 else ()
        then = random.choice(_TURNS)
        steps.append(Step(tuple(own), completes=random.random() < 0.8, then=then, decisions=decisions))
        if then and random.random() < 0.3:
            steps.append(Step((), then=random.choice(OF_THE_PAST)))
    return (*steps, *decided)
