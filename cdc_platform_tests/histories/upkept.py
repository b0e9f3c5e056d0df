"""Cases with maintenance, rollbacks and publications between merges; what is rolled back is merged again."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from cdc_platform_tests.histories.afterwards import OF_THE_PAST, PUBLISH
from cdc_platform_tests.histories.case import Case, File, Step, random_case, when
from cdc_platform_tests.histories.faults import random_quarantine_case

_TURNS = (*OF_THE_PAST, "roll back", "compact", "compact", "")


def random_upkept_case(seed: int) -> Case:
    """Return the case of a seed: an ordinary one, or one with faulty files, in more and smaller merges.

    Half of them hold main back, in some of their merges.
    """
    case = random_case(seed) if seed % 3 else random_quarantine_case(seed)
    random = Random(seed + 3)
    decided = [step for step in case.steps if step.decisions]
    steps = _steps(random, sorted(case.files, key=when), decided)
    return replace(case, steps=_held(random, steps) if seed % 4 in (1, 2) else steps)


def _held(random: Random, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Return the steps with main held back in most, and moved after some; snapshots expire in between."""
    held, is_held = list[Step](), False
    for step in steps:
        is_held = random.random() < (0.9 if is_held else 0.7)
        then = random.choice((PUBLISH, "expire")) if is_held and random.random() < 0.4 else step.then
        held.append(replace(step, held=is_held, then=then))
    return tuple(held)


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
