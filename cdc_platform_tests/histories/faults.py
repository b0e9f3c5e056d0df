"""Cases some files or rows of which go to quarantine and come back later, in any order, or never."""

from __future__ import annotations

from dataclasses import replace
from random import Random

from cdc_platform_tests.histories.case import Case, Decision, File, Step, random_case
from cdc_platform_tests.histories.records import generation_of, records_of
from cdc_platform_tests.histories.source import Life

_FAULTS = ("rows", "rows", "rows", "torn", "type", "kind")


def random_quarantine_case(seed: int) -> Case:
    """Return the case of a seed: an ordinary one with faulty files, and what is decided about them."""
    case = random_case(seed)
    random = Random(seed + 1)
    life = case.life()
    files = list(case.files)
    faulty = random.sample(range(len(files)), min(len(files), random.choice((1, 1, 2, 3))))
    for number in faulty:
        files[number] = _spoiled(random, case, life, files[number])
    names = [files[number].name for number in faulty]
    steps = tuple(
        replace(step, decisions=_decisions(random, files, names)) if random.random() < 0.5 else step
        for step in case.steps
    )
    return replace(case, files=tuple(files), steps=(*steps, *_last_steps(random, files, names)))


def _spoiled(random: Random, case: Case, life: Life, file: File) -> File:
    fault = random.choice(_FAULTS)
    if file.load is not None and fault == "kind":
        fault = "torn"
    if fault != "rows":
        return replace(file, fault=fault)
    if generation_of(life, file) is None:
        return file
    records = records_of(case, life, file)
    # Half a swap cannot be told from a row that moved.
    rows = [row for row, record in enumerate(records) if record.key is not None and record.pair is None]
    return replace(
        file, bad_rows=tuple(sorted(random.sample(rows, min(len(rows), random.choice((1, 1, 2))))))
    )


def _decisions(random: Random, files: list[File], names: list[str]) -> tuple[Decision, ...]:
    by_name = {file.name: file for file in files}
    made: list[Decision] = []
    for name in random.sample(names, random.randint(1, len(names))):
        if random.random() < 0.6:
            made.append(Decision("mend", name))
        what = random.choice(("release", "release", "release", "discard"))
        rows = by_name[name].bad_rows
        made.append(Decision(what, name, random.choice(rows) if rows and random.random() < 0.4 else None))
    return tuple(made)


def _last_steps(random: Random, files: list[File], names: list[str]) -> list[Step]:
    """Return merges after which nothing waits that can be had: everything was given, mended and released."""
    steps = []
    everything = tuple(file.name for file in files)
    for name in random.sample(names, len(names)):
        decisions: tuple[Decision, ...] = (Decision("mend", name), Decision("release", name))
        if random.random() < 0.2:
            decisions = (Decision("discard", name),)
        steps.append(Step(everything, completes=random.random() < 0.8, decisions=decisions))
    return steps
