"""Whole tables without a merge key against their source: which runs there are of them, and what raw is asked.

See :mod:`row_run` for how rows are compared.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import duckdb

from cdc_platform.config.model import NoKey
from cdc_platform.events import GENERATION
from cdc_platform.reconcile.as_of import (
    AsOf,
    after_sql,
    as_of,
    doubt_of_later,
    is_loaded_before,
    refuse_change_files,
    remarks_on,
)
from cdc_platform.reconcile.asked_capture import ask_capture, captured_before
from cdc_platform.reconcile.compared_columns import empty_told, read_plan
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.row_events import RowImages, deletes_of_no_row, load_changing, load_row_events
from cdc_platform.reconcile.row_outcomes import RawSays
from cdc_platform.reconcile.row_run import METHOD, Observed, Points, RowRun
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.suspect_events import Reading
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Verdict
from cdc_platform.words import counted

NO_KEYS = "the table has no merge key, so there are no keys to compare alone: compare it with --full"
NO_COLUMNS = (
    "the table has no merge key and no column that can be compared, so its rows are not known by anything"
)
EVERYTHING = "a table without a merge key has no keys to follow from run to run: every row was read"
ANEW = "a run of a table without a merge key begins anew: its segments are of no use to a later one"


def compare_keyless(
    subject: Subject,
    workspace: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    options: FullOptions,
    run_id: str,
) -> FullComparison:
    """Compare a whole table that has no key. Raises CdcError where the sides cannot be compared."""
    if options.keys_only:
        return _unverified(subject, NO_KEYS)
    if isinstance(reader, ParquetReader):
        refuse_change_files(subject, reader)
    plan = read_plan(reader, subject)
    plan = empty_told(workspace, plan, f"{subject.view.relation} b WHERE {subject.view.live_condition}")
    if not plan.columns:
        return _unverified(subject, NO_COLUMNS)
    when = as_of(subject, reader) if isinstance(reader, ParquetReader) else None
    assert subject.table.no_key is not None
    policy = subject.table.no_key
    before = captured_before(subject, plan)
    said = ((options.incremental, EVERYTHING), (options.resume, ANEW))
    return RowRun(
        view=subject.view,
        workspace=workspace,
        reader=reader,
        plan=plan,
        policy=policy,
        observe=lambda sides, position: _observe(subject, workspace, reader, sides, position, before),
        ask_raw=partial(_ask_raw, subject, workspace, when),
        options=options,
        run_id=run_id,
        when=when,
        notes=(*(text for is_so, text in said if is_so), *remarks_on(reader)),
    ).compare()


def _observe(
    subject: Subject,
    workspace: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    sides: Sides,
    position: str,
    before: str | None,
) -> Observed:
    """Ask how far capture has come, then make ``changing`` of what base awaits: in this order."""
    capture = ask_capture(subject, reader, position, before)
    there = subject.on_the_way()
    untold = load_changing(workspace, _images(subject, workspace, sides), there.files)
    loads, points = there.of_any_key + there.waiting_loads, Points()
    if loads:
        points.append((Verdict.IN_FLIGHT, f"{counted(loads, 'file')} of a full load may change any row"))
    if untold:
        files = f"{counted(untold, 'file')} not applied"
        points.append((Verdict.IN_FLIGHT, f"{files} cannot tell which rows they change"))
    in_between = _in_between(workspace, sides)
    if in_between:
        points.append((Verdict.IN_FLIGHT, in_between))
    return Observed(replace(capture, unaccepted=loads + untold), points, in_between)


def _in_between(workspace: duckdb.DuckDBPyConnection, sides: Sides) -> str:
    """Say that base holds rows of two full loads: those of the older go when the newer is complete."""
    query = f"SELECT min({GENERATION}), max({GENERATION}) FROM {sides.base_rows}"
    oldest, newest = workspace.execute(query).fetchone() or (None, None)
    if oldest == newest:
        return ""
    return (
        f"full load {newest} was applied and is not known to be complete, so rows of full load {oldest} are "
        "still in base"
    )


def _ask_raw(
    subject: Subject, workspace: duckdb.DuckDBPyConnection, when: AsOf | None, sides: Sides
) -> tuple[RawSays, Reading]:
    """Make ``row_events`` of the odd rows, and say what is known by them."""
    images = _images(subject, workspace, sides)
    timed = when if when is not None and when.is_known else None
    after, untimed = after_sql(timed, "source_position") if timed is not None else ("false", "false")
    reading = load_row_events(workspace, images, subject, after)
    # what was applied changes nothing of what a multiset should be
    surplus = reading.doubt if images.policy is NoKey.APPEND else ""
    if not surplus and (untold := deletes_of_no_row(workspace, sides, images.policy)):
        surplus = f"raw has {counted(untold, 'delete')} that do not tell which row they are of"
    if timed is None:
        return RawSays(doubt_of_surplus=surplus), reading
    doubt = doubt_of_later(subject, timed) or reading.doubt
    if not doubt and not is_loaded_before(subject, timed):
        doubt = f"base has rows from a full load that no change proves to be before {timed.position}"
    return RawSays(after, untimed, doubt=doubt, doubt_of_surplus=surplus), reading


def _images(subject: Subject, workspace: duckdb.DuckDBPyConnection, sides: Sides) -> RowImages:
    assert subject.table.no_key is not None
    return RowImages.of(workspace, sides, subject.table.no_key)


def _unverified(subject: Subject, reason: str) -> FullComparison:
    snapshot_id = subject.view.snapshot_id
    return FullComparison(
        Comparison(SOURCE_MATCHES_BASE, Verdict.UNVERIFIED, reason, snapshot_id=snapshot_id, method=METHOD)
    )
