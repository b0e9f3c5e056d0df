"""A case as text to read: what happened, what each file says, what was merged when."""

from __future__ import annotations

from collections.abc import Iterator

from cdc_platform_tests.histories.case import Case, File
from cdc_platform_tests.histories.records import Record, era_of, generation_of, records_of
from cdc_platform_tests.histories.source import Life


def shown(case: Case) -> str:
    """Return the whole case as a small table of files and a list of merges."""
    return "\n".join(_lines(case))


def _lines(case: Case) -> Iterator[str]:
    shape, life = case.shape, case.life()
    yield f"case {case.seed}: key {', '.join(pool for pool, _ in shape.key)}; {shape.kind}"
    options = [f"partition by {', '.join(shape.partition_by)}"] if shape.partition_by else []
    options += ["soft deletes"] if shape.soft else []
    options += ["changes come before their load is known"] if case.late_loads else []
    options += [f"merges tuned to {', '.join(case.tuned)}"] if case.tuned else []
    options += ["a day between two transactions, deletes forgotten after two"] if case.forgets else []
    yield f"  {'; '.join(options) or 'no options'}"
    keys = sorted(_keys(case, life))
    yield "  keys: " + ", ".join(f"{key} = {'|'.join(map(repr, shape.key_values(key)))}" for key in keys)
    for file in case.files:
        generation = generation_of(life, file)
        if generation is not None:
            yield from _file(case, life, file, generation)
    for number, step in enumerate(case.steps, start=1):
        for decision in step.decisions:
            row = "" if decision.row is None else f" row {decision.row}"
            yield f"  {decision.what} {decision.file}{row}"
        told = "" if step.completes else ", no load told complete"
        then = f", then {step.then}" if step.then else ""
        held = ", main held back" if step.held else ""
        yield f"  merge {number}: {' '.join(step.files) or 'nothing'}{told}{held}{then}"
    yield f"  merge {len(case.steps) + 1}: everything"


def _file(case: Case, life: Life, file: File, generation: int) -> Iterator[str]:
    types = case.shape.columns_in(era_of(life, file))
    columns = ", ".join(f"{name} {kind}" for name, kind in types.items())
    key_as = "" if file.key_as == "own" else f", key as {file.key_as}"
    yield f"  file {file.name}: generation {generation}, minute {file.minute}{key_as}; {columns}"
    if file.fault or file.bad_rows:
        yield f"    faulty: {file.fault or f'rows {file.bad_rows}'}"
    for row, record in enumerate(records_of(case, life, file)):
        yield f"    row {row}: {_record(record)}"


def _record(record: Record) -> str:
    key = "NULL" if record.key is None else record.key
    moved = "" if record.before in (None, record.key) else f" (was {record.before})"
    values = "" if record.row is None else f" {record.row}"
    return f"{record.op} {key}{moved}{values} at {record.sequence}"


def _keys(case: Case, life: Life) -> set[int]:
    found = {key for load in life.loads.values() for key in load.rows}
    for transaction in life.transactions.values():
        for event in transaction.events:
            found |= {key for key in (event.key, event.before) if key is not None}
    return found & set(range(len(case.shape.key[0][1])))
