"""Which columns a comparison is of, and which of the others stand against MATCH.

MATCH says that base has what the source has. A column one side lacks, or that no rule compares, is a gap in
that: it is not compared, and the verdict is UNVERIFIED until somebody says in cdc.yaml that it need not be.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import duckdb

from cdc_platform.config.model import RawOptions
from cdc_platform.formats.layout import added_by_dms
from cdc_platform.naming import quoted, safe_name
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.verdict import Excluded, Gap, Verdict
from cdc_platform.words import and_more

LEFT_OUT = "left out by `not_compared` in cdc.yaml"
OF_DMS = "written by DMS beside the row"
EMPTY = "and without a value in base's rows, as it must be"
_MOST_NAMED = 5
_LOAD = "load the table again"
_MENDS = {Gap.NOT_EXACT: "export the column in every file, in the type base has"}


def read_plan(
    reader: SourceReader, subject: Subject, narrowed: Callable[[ReadPlan], ReadPlan] = lambda plan: plan
) -> ReadPlan:
    """Return how to read what is compared of the subject's table: all that cdc.yaml does not leave out.

    ``narrowed`` leaves out more. Raises SourceUnavailable when the source does not let us read a column that
    is left, besides what the reader and ``narrowed`` raise.
    """
    table = subject.table
    found = reader.plan(table.schema_name, table.table_name, subject.key, subject.view.columns)
    if isinstance(reader, ParquetReader):
        found = _without_dms(found, subject.source.raw)
    plan = narrowed(without(found, table.not_compared))
    for refusal in plan.refused.values():
        raise refusal
    return plan


def _without_dms(plan: ReadPlan, options: RawOptions) -> ReadPlan:
    """Return the plan of an export in which what DMS writes beside a row is no gap: no row has it."""
    added = {safe_name(name) for name in added_by_dms([c.name for c in plan.table.columns], options)}
    return replace(
        plan,
        excluded=tuple(
            Excluded(one.column, OF_DMS) if one.gap is Gap.NOT_IN_BASE and one.column in added else one
            for one in plan.excluded
        ),
    )


def without(plan: ReadPlan, columns: Iterable[str]) -> ReadPlan:
    """Return the plan without ``columns``, on purpose: those a side lacks are no gap then."""
    chosen = {safe_name(column) for column in columns}
    names = [*(one.column for one in plan.columns), *(one.column for one in plan.excluded)]
    kept = (one for one in plan.excluded if one.column not in chosen)
    return replace(
        plan,
        columns=tuple(one for one in plan.columns if one.column not in chosen),
        excluded=(*kept, *(Excluded(name, LEFT_OUT) for name in names if name in chosen)),
        refused={name: error for name, error in plan.refused.items() if name not in chosen},
    )


def empty_told(
    connection: duckdb.DuckDBPyConnection,
    plan: ReadPlan,
    rows: str,
    named: Callable[[str], str] = quoted,
) -> ReadPlan:
    """Return the plan in which a column the source lacks is no gap where base has no value in it either.

    ``rows`` is what follows FROM, with base's rows as ``b``; ``named`` makes a column's name there.
    """
    lacking = [one.column for one in plan.excluded if one.gap is Gap.NOT_IN_SOURCE]
    if not lacking:
        return plan
    counts = ", ".join(f"count(b.{named(column)})" for column in lacking)
    values = connection.execute(f"SELECT {counts} FROM {rows}").fetchone()
    empty = {column for column, number in zip(lacking, values or (), strict=True) if not number}
    return replace(
        plan,
        excluded=tuple(
            Excluded(one.column, f"{one.reason}; {EMPTY}") if one.column in empty else one
            for one in plan.excluded
        ),
    )


def gap_points(excluded: Sequence[Excluded]) -> list[tuple[Verdict, str]]:
    """Return what stands against MATCH because of columns nobody left out and nobody could compare."""
    gaps = [one for one in excluded if one.gap is not None]
    if not gaps:
        return []
    told = and_more([f"{one.column} ({one.reason})" for one in gaps[:_MOST_NAMED]], len(gaps))
    number = "a column" if len(gaps) == 1 else f"{len(gaps)} columns"
    mends = dict.fromkeys(_MENDS.get(one.gap, _LOAD) for one in gaps if one.gap is not None)
    mend = f"{', '.join(mends)}, or name what need not be compared in `not_compared` of the table in cdc.yaml"
    return [(Verdict.UNVERIFIED, f"{number} could not be compared: {told} → {mend}")]
