"""Reconciling a whole table with its source, in three steps: digests, keys with row digests, full rows.

Base is pinned; the source is read once, in one snapshot at position L, segment by segment. Segments with
equal digests are equal at L. The rows of others become pairs of key and digest, and only keys whose pairs
differ are compared row by row, as the window mode does, with its rule of what is in flight: capture is asked
after the source was read, then the files that base has not applied.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import duckdb

from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.read import open_workspace
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.reconcile.altered_keys import whole_points
from cdc_platform.reconcile.as_of import as_of, load_later, refuse_change_files, remarks_on
from cdc_platform.reconcile.asked_capture import captured_before
from cdc_platform.reconcile.capture_slot import slot_now
from cdc_platform.reconcile.compared_columns import empty_told, read_plan
from cdc_platform.reconcile.contradictions import in_command, refuse_contradictions
from cdc_platform.reconcile.full_options import METHOD, FullOptions
from cdc_platform.reconcile.full_result import FullComparison, full_certificate, keep
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.guarded import Failed, guarded
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.incremental import IncrementalRun
from cdc_platform.reconcile.keyless import compare_keyless
from cdc_platform.reconcile.keys_and_versions import keys_and_versions, unversioned
from cdc_platform.reconcile.ledger import Ledger
from cdc_platform.reconcile.memory import memory_shares
from cdc_platform.reconcile.no_rows import NO_BASE, compare_without_base, found_empty
from cdc_platform.reconcile.on_the_way import observe_table
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.proof_conditions import conditions_of
from cdc_platform.reconcile.proofs import Ages, ages_of, read_proofs
from cdc_platform.reconcile.recent_runs import OF_SOURCE
from cdc_platform.reconcile.report import write_report
from cdc_platform.reconcile.results import history, record
from cdc_platform.reconcile.run_ids import begun_at, new_run_id
from cdc_platform.reconcile.scopes import EXPORT, FULL, INCREMENTAL, KEYS
from cdc_platform.reconcile.settling import note
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.source_identity import Reached
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.subject import Platform, Subject
from cdc_platform.reconcile.touched_keys import set_aside
from cdc_platform.reconcile.untold import untold_changes
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Reconciliation, Verdict
from cdc_platform.reconcile.window import pinned, source_reader
from cdc_platform.reconcile.witnesses import locate_all

Points = list[tuple[Verdict, str]]

__all__ = ["FullOptions", "compare_full", "reconcile_full", "verification_ages"]


def reconcile_full(
    platform: Platform, source: str, table_id: str, options: FullOptions | None = None
) -> Reconciliation:
    """Compare the whole table, keep certificate and report, and record the verdict in the result tables.

    Never raises for a side that cannot be compared: the verdict says so. Raises ConfigError for an unknown
    table, StorageUnavailable or StaleCommit when the outcome cannot be recorded.
    """
    found, full = _compared(platform, source, table_id, options)
    objects = platform.objects(source, table_id)
    keep(objects, found, full)
    earlier = history(platform.lake, source, table_id, found.window)
    recorded = replace(found, report=write_report(objects, found, earlier))
    record(platform.lake, recorded)
    if options is None or options.reader is None:
        # an export is of the past: what differs from it is not looked at again in the source
        note(objects, full.comparison.sightings, found_by=found.window, at=found.started_at)
    return recorded


def mode_of(options: FullOptions) -> str:
    """Return what stands in the place of a window for such a run."""
    if options.keys_only:
        return KEYS
    if options.origin != OF_SOURCE:
        return EXPORT
    return INCREMENTAL if options.incremental else FULL


def whole_options(
    lake: Lake,
    against: str | None,
    position: str | None,
    *,
    named: Callable[[str], str] = in_command,
    **options: Any,
) -> FullOptions:
    """Return the options of a run against an export at ``against``, or the source where that is None.

    ``position`` is the source's log position the export was made at; ``options`` are FullOptions' others.
    Raises ConfigError for options that do not go together, with their names as ``named`` gives them.
    """
    kinds = ("resume", "keys_only", "version_column", "incremental")
    given = {name: options[name] for name in kinds if name in options}
    refuse_contradictions(against=against, position=position, named=named, **given)
    reader = None if against is None else ParquetReader(lake, against, position or "")
    return FullOptions(reader=reader, origin=against or OF_SOURCE, **options)


def verification_ages(platform: Platform, source: str, table_id: str) -> Ages:
    """Return how long ago the rows of a table were compared with its source, segment by segment."""
    within = platform.table(source, table_id).verify_within_days
    ages = ages_of(read_proofs(platform.objects(source, table_id)), within)
    if ages.segments:
        return ages
    found = found_empty(platform, source, table_id)
    return replace(ages, oldest=found, last_run=found)


def compare_full(
    platform: Platform, source: str, table_id: str, options: FullOptions | None = None
) -> Reconciliation:
    """Compare the whole table with its source. Writes nothing but the progress of the run."""
    return _compared(platform, source, table_id, options)[0]


def _compared(
    platform: Platform, source: str, table_id: str, options: FullOptions | None
) -> tuple[Reconciliation, FullComparison]:
    started_at, started = datetime.now(UTC), time.monotonic()
    run_id = new_run_id(started_at)
    table, subject = platform.table(source, table_id), pinned(platform, source, table_id, FULL)
    options = options or FullOptions()
    if options.verify_within is None and table.verify_within_days is not None:
        options = replace(options, verify_within=timedelta(days=table.verify_within_days))
    if isinstance(subject, Failed):
        full = FullComparison(Comparison(SOURCE_MATCHES_BASE, Verdict.ERROR, subject.reason, method=METHOD))
    else:
        full = _outcome(subject, options, run_id)
    window = mode_of(options)
    seconds = round(time.monotonic() - started, 3)
    full = replace(full, comparison=replace(full.comparison, seconds=seconds))
    proof = full_certificate(
        full,
        against=options.origin,
        window=window,
        run_id=run_id,
        source=source,
        table=table.name,
        merge_key=table.merge_key,
        verdict=full.verdict,
        started_at=started_at,
    )
    comparisons = (full.comparison,)
    found = Reconciliation(
        run_id, source, table_id, window, full.verdict, comparisons, proof, started_at, seconds
    )
    return found, full


def _outcome(subject: Subject, options: FullOptions, run_id: str) -> FullComparison:
    engine_bytes = memory_shares(subject.platform.config.engine).engine
    workspace = open_workspace(subject.platform.lake, iceberg=True)
    try:
        workspace.execute(f"SET memory_limit = '{engine_bytes}B'")
        outcome = guarded(lambda: _compare(subject, workspace, options, run_id))
    finally:
        workspace.close()
    full = _without(subject, Verdict.ERROR, outcome.reason) if isinstance(outcome, Failed) else outcome
    # what the source says was read; where the fault lies follows from raw and base
    (comparison,) = locate_all(subject, [full.comparison])
    return replace(full, comparison=comparison)


def _compare(
    subject: Subject, workspace: duckdb.DuckDBPyConnection, options: FullOptions, run_id: str
) -> FullComparison:
    reader = options.reader or source_reader(subject.source)
    if isinstance(reader, str) or subject.view.relation is None:
        return _not_by_segments(subject, options, reader)
    if not subject.key:
        return compare_keyless(subject, workspace, reader, options, run_id)
    if isinstance(reader, ParquetReader):
        refuse_change_files(subject, reader)
    narrowed = partial(keys_and_versions, version=options.version_column) if options.keys_only else None
    rows = f"{subject.view.relation} b WHERE {subject.view.live_condition}"
    plan = empty_told(workspace, read_plan(reader, subject, *([narrowed] if narrowed else [])), rows)
    points = whole_points(reader, plan)
    if points:
        # as base has them, keys may lie in another range than the source gives them in
        plan = replace(plan, ranged=False)
    points += unversioned(workspace, options.version_column, rows) if options.keys_only else []
    when = as_of(subject, reader) if isinstance(reader, ParquetReader) else None
    own: dict[str, Any] = {"before": captured_before(subject, plan)}
    own |= {"subject": subject} if options.incremental else {}
    return (IncrementalRun if options.incremental else FullRun)(
        view=subject.view,
        key=subject.key,
        workspace=workspace,
        reader=reader,
        plan=plan,
        observe=_observer(subject, workspace, reader, own["before"], points),
        # progress is of runs that compare values
        objects=None if options.keys_only else _objects(subject),
        options=options,
        run_id=run_id,
        when=when,
        notes=remarks_on(reader),
        load_later=partial(load_later, workspace, subject, when) if when is not None else None,
        ledger=_ledger(subject, reader, plan, options, run_id),
        untold=untold_changes(subject, plan),
        hashes_at_once=memory_shares(subject.platform.config.engine).hashes_at_once,
        **own,
    ).compare()


def _not_by_segments(subject: Subject, options: FullOptions, reader: SourceReader | str) -> FullComparison:
    """Return the outcome of a table without a base or a source to compare it by."""
    if subject.view.relation is None and options.reader is None and not isinstance(reader, str):
        return FullComparison(compare_without_base(subject, reader))
    is_known = subject.view.relation is not None and isinstance(reader, str)
    return _without(subject, Verdict.UNVERIFIED, str(reader) if is_known else NO_BASE)


def _observer(
    subject: Subject,
    workspace: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    before: str | None,
    points: Points,
) -> Callable[[Sides, str], tuple[Capture, Points]]:
    """Return what observes the table after the source was read, with what else stands against MATCH.

    ``before`` is what :func:`captured_before` said.
    """

    def observed(sides: Sides, position: str) -> tuple[Capture, Points]:
        capture, seen = observe_table(subject, workspace, reader, sides, position, before)
        return capture, [*seen, *points]

    return observed


def _objects(subject: Subject) -> ObjectStore:
    return subject.platform.objects(subject.source_name, subject.table.id)


def _ledger(
    subject: Subject, reader: SourceReader, plan: ReadPlan, options: FullOptions, run_id: str
) -> Ledger | None:
    """Return where the run keeps what it proves of the source; None where it proves nothing of it."""
    if options.keys_only or options.reader is not None:
        return None
    assert subject.base is not None
    assert subject.view.snapshot_id is not None
    told = subject.platform.table_capture(subject.source_name, subject.table.id, with_slot=True)
    shape = conditions_of(plan, subject.view, options.origin)
    # the proofs say themselves what snapshot they are of
    conditions = {name: value for name, value in shape.items() if name != "snapshot_id"}
    return Ledger(
        objects=_objects(subject),
        conditions={**conditions, **told.conditions, "table": str(subject.base.metadata.table_uuid)},
        snapshot_id=subject.view.snapshot_id,
        record=subject.record.path,
        run_id=run_id,
        at=begun_at(run_id) or datetime.now(UTC),
        covered=set_aside(subject),
        reached=Reached(plan.position, plan.transactions),
        slot=slot_now(told.slot, reader),
    )


def _without(subject: Subject, verdict: Verdict, reason: str) -> FullComparison:
    """Return the outcome of a table that was not compared."""
    snapshot_id = subject.view.snapshot_id
    return FullComparison(
        Comparison(SOURCE_MATCHES_BASE, verdict, reason, snapshot_id=snapshot_id, method=METHOD)
    )
