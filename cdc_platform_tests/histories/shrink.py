"""Makes a failing case small: leaves out whatever it fails without."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from cdc_platform_tests.histories.case import Case, Step

T = TypeVar("T")

#: How many smaller cases are tried: each is a run.
TRIES = 400


def shrink(case: Case, fails: Callable[[Case], bool], *, tries: int = TRIES) -> Case:
    """Return the smallest case found that still fails."""
    left = tries
    is_smaller = True
    while is_smaller:
        is_smaller = False
        for smaller in _smaller(case):
            if not left:
                return case
            left -= 1
            if fails(smaller):
                case, is_smaller = smaller, True
                break
    return case


def _smaller(case: Case) -> Iterator[Case]:
    """Yield cases with something left out, the largest cuts first."""
    for number in range(len(case.steps)):
        yield replace(case, steps=_without(case.steps, number))
    for number in range(len(case.timeline)):
        yield replace(case, timeline=_without(case.timeline, number))
    for file in case.files:
        files = tuple(each for each in case.files if each != file)
        yield replace(case, files=files, steps=tuple(_without_file(step, file.name) for step in case.steps))
    yield from _plainer(case)
    for number, happening in enumerate(case.timeline):
        for acts in [_without(happening.acts, place) for place in range(len(happening.acts))]:
            timeline = _with(case.timeline, number, replace(happening, acts=acts))
            yield replace(case, timeline=timeline)
    for number, step in enumerate(case.steps):
        for place in range(len(step.files)):
            smaller = replace(step, files=_without(step.files, place))
            yield replace(case, steps=_with(case.steps, number, smaller))
    for number in range(len(case.steps) - 1):
        first, second = case.steps[number : number + 2]
        both = replace(second, files=first.files + second.files, decisions=first.decisions + second.decisions)
        yield replace(case, steps=(*case.steps[:number], both, *case.steps[number + 2 :]))
    yield from _smaller_files(case)


def _plainer(case: Case) -> Iterator[Case]:
    """Yield cases of a simpler shape."""
    shape = case.shape
    for number in range(len(shape.partition_by)):
        yield replace(case, shape=replace(shape, partition_by=_without(shape.partition_by, number)))
    for number in range(len(shape.columns)):
        if not any(shape.columns[number].name in field for field in shape.partition_by):
            yield replace(case, shape=replace(shape, columns=_without(shape.columns, number)))
    for change in ({"soft": False}, {"kind": "change-sequence"}, {"key": (("small", tuple(range(7))),)}):
        plainer = replace(shape, **change, mixed_key=shape.mixed_key and "key" not in change)
        if plainer != shape and not ("key" in change and any("k" in field for field in shape.partition_by)):
            yield replace(case, shape=plainer)
    for number, step in enumerate(case.steps):
        for place in range(len(step.decisions)):
            fewer = replace(step, decisions=_without(step.decisions, place))
            yield replace(case, steps=_with(case.steps, number, fewer))
    for number in range(len(case.tuned)):
        yield replace(case, tuned=_without(case.tuned, number))
    if case.forgets:
        yield replace(case, forgets=False)
    if case.late_loads:
        yield replace(case, late_loads=False)
    for number, step in enumerate(case.steps):
        if step.held:
            yield replace(case, steps=_with(case.steps, number, replace(step, held=False)))
        if step.then:
            yield replace(case, steps=_with(case.steps, number, replace(step, then="")))


def _smaller_files(case: Case) -> Iterator[Case]:
    for number, file in enumerate(case.files):
        plain = replace(
            file, has_null_key=False, key_as="own", deletes_before=False, has_before=True, batch_rows=50
        )
        if plain != file:
            yield replace(case, files=_with(case.files, number, plain))
        if file.fault:
            yield replace(case, files=_with(case.files, number, replace(file, fault="")))
        for place in range(len(file.bad_rows)):
            better = replace(file, bad_rows=_without(file.bad_rows, place))
            yield replace(case, files=_with(case.files, number, better))
        for place in range(len(file.parts)):
            cut = replace(file, parts=_without(file.parts, place))
            yield replace(case, files=_with(case.files, number, cut))
        for place in range(len(file.keys)):
            cut = replace(file, keys=_without(file.keys, place))
            yield replace(case, files=_with(case.files, number, cut))


def _without_file(step: Step, name: str) -> Step:
    return replace(step, files=tuple(each for each in step.files if each != name))


def _without(items: tuple[T, ...], number: int) -> tuple[T, ...]:
    return (*items[:number], *items[number + 1 :])


def _with(items: tuple[T, ...], number: int, item: T) -> tuple[T, ...]:
    return (*items[:number], item, *items[number + 1 :])
