"""Reconciling one window of one table: pin base, read raw, read the source, compare, certify.

The order matters for a right verdict: base is pinned before the source is read, and raw is listed after
capture was asked how far it has come; see ``in_flight``.
"""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import UTC, datetime

import duckdb

from cdc_platform.config.model import NoKey, SourceConfig
from cdc_platform.errors import CdcError, ConfigError, FileMissing, MergeError
from cdc_platform.lake.read import open_workspace
from cdc_platform.raw.manifests import read_accepted
from cdc_platform.reconcile.append import compare_append
from cdc_platform.reconcile.asked_capture import ask_capture, captured_before
from cdc_platform.reconcile.awaited import load_awaited_keys
from cdc_platform.reconcile.base_rows import BaseView, load_base_rows
from cdc_platform.reconcile.certificate import certificate
from cdc_platform.reconcile.compared_columns import read_plan
from cdc_platform.reconcile.empty_window import nothing_changed
from cdc_platform.reconcile.forgotten_files import forgotten_files
from cdc_platform.reconcile.guarded import Failed, guarded, unexpected
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.open_points import open_points
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.raw_base import compare_raw_base
from cdc_platform.reconcile.report import write_report
from cdc_platform.reconcile.results import history, record
from cdc_platform.reconcile.run_ids import new_run_id
from cdc_platform.reconcile.settling import note
from cdc_platform.reconcile.source_base import compare_source_base
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.standing import with_refused_files
from cdc_platform.reconcile.subject import Platform, Subject, pin
from cdc_platform.reconcile.untold import untold_points
from cdc_platform.reconcile.verdict import (
    RAW_MATCHES_BASE,
    SOURCE_MATCHES_BASE,
    Comparison,
    Reconciliation,
    Verdict,
    combine,
)
from cdc_platform.reconcile.window_events import WindowEvents
from cdc_platform.reconcile.window_reach import as_far_as_captured
from cdc_platform.reconcile.window_slices import attribution_of
from cdc_platform.reconcile.witnesses import locate_all

_WHOLE = "a comparison of the whole table (--full) holds them against it"
_KEYLESS = f"the table has no merge key, so its rows cannot be looked up in the source: {_WHOLE}"
_MULTISET = "the table is a multiset without a merge key: which rows live follows from all windows together"


def reconcile_window(platform: Platform, source: str, table_id: str, window: str) -> Reconciliation:
    """Reconcile ``window``, write its report and record the verdict in the result tables.

    Never raises for a side that cannot be compared: the verdict says so. Raises ConfigError for an unknown
    table or window, StorageUnavailable or StaleCommit when the outcome cannot be recorded.
    """
    found = compare_window(platform, source, table_id, window)
    earlier = history(platform.lake, source, table_id, window)
    report = write_report(platform.objects(source, table_id), found, earlier)
    recorded = replace(found, report=report)
    record(platform.lake, recorded)
    seen = [one for comparison in found.comparisons for one in comparison.sightings]
    note(platform.objects(source, table_id), seen, found_by=window, at=found.started_at)
    return recorded


def compare_window(platform: Platform, source: str, table_id: str, window: str) -> Reconciliation:
    """Compare raw with base, and the source with base, for the keys changed in ``window``; write nothing."""
    started_at, started = datetime.now(UTC), time.monotonic()
    table = platform.table(source, table_id)
    bounds = _bounds(platform.source(source), source, window)
    run_id = new_run_id(started_at)
    subject = pinned(platform, source, table_id, window)
    if isinstance(subject, Failed):
        names = (RAW_MATCHES_BASE, SOURCE_MATCHES_BASE)
        comparisons = tuple(Comparison(name, Verdict.ERROR, subject.reason) for name in names)
    else:
        comparisons = _compared(subject)
    verdict = combine(comparison.verdict for comparison in comparisons)
    proof = certificate(
        run_id=run_id,
        source=source,
        table=table.name,
        window=window,
        bounds=bounds,
        merge_key=table.merge_key,
        verdict=verdict,
        comparisons=comparisons,
        started_at=started_at,
    )
    seconds = round(time.monotonic() - started, 3)
    return Reconciliation(run_id, source, table_id, window, verdict, comparisons, proof, started_at, seconds)


def pinned(platform: Platform, source: str, table_id: str, window: str) -> Subject | Failed:
    """Return what :func:`pin` does, or why base cannot be read as it stands."""
    try:
        return pin(platform, source, table_id, window)
    except (MergeError, FileMissing) as error:
        return Failed(str(error))
    except CdcError:
        raise
    except Exception as error:
        return unexpected(error)


def _compared(subject: Subject) -> tuple[Comparison, ...]:
    workspace = open_workspace(subject.platform.lake, iceberg=True)
    try:
        comparisons = _compare(subject, workspace)
    finally:
        workspace.close()
    return locate_all(subject, comparisons)


def _bounds(source: SourceConfig, name: str, window: str) -> tuple[datetime, datetime]:
    try:
        return source.window.bounds(window)
    except ValueError:
        example = source.window.key_of(datetime.now(UTC))
        mend = f"write it as in {example!r}"
        raise ConfigError(name, [(name, f"{window!r} is not a {source.window.every} window", mend)]) from None


def _compare(subject: Subject, workspace: duckdb.DuckDBPyConnection) -> tuple[Comparison, ...]:
    if not subject.key and subject.table.no_key is not NoKey.APPEND:
        return _unverified(RAW_MATCHES_BASE, _MULTISET, subject), _unverified(
            SOURCE_MATCHES_BASE, _KEYLESS, subject
        )
    listed = guarded(lambda: _listed(subject))
    if isinstance(listed, Failed):
        return tuple(_failed(name, listed, subject) for name in (RAW_MATCHES_BASE, SOURCE_MATCHES_BASE))
    here, forgotten = listed
    loaded = guarded(lambda: _load(subject, workspace, forgotten))
    if isinstance(loaded, Failed):
        unknown = "the keys changed in the window are not known, since its raw files could not be compared"
        return _failed(RAW_MATCHES_BASE, loaded, subject), _unverified(SOURCE_MATCHES_BASE, unknown, subject)
    subject, events = loaded
    floor = subject.record.tombstone_floor
    view = subject.view
    raw = guarded(
        lambda: (
            compare_raw_base(workspace, events, view, unaccepted=here, tombstone_floor=floor)
            if subject.key
            else compare_append(workspace, events, view, unaccepted=here)
        )
    )
    compared = _failed(RAW_MATCHES_BASE, raw, subject) if isinstance(raw, Failed) else raw
    if not subject.key:
        return compared, _unverified(SOURCE_MATCHES_BASE, _KEYLESS, subject)
    against_source = _compare_source(subject, workspace, events, here)
    return tuple(_attributed(workspace, one, events, view) for one in (compared, against_source))


def _attributed(
    workspace: duckdb.DuckDBPyConnection, comparison: Comparison, events: WindowEvents, view: BaseView
) -> Comparison:
    """Return the comparison with what its differing keys have in common; without it when that fails."""
    found = guarded(lambda: attribution_of(workspace, comparison, events, view))
    if isinstance(found, Failed):
        note = f"what the differing keys have in common could not be found: {found.reason}"
        return replace(comparison, notes=(*comparison.notes, note))
    return replace(comparison, attribution=found)


def _listed(subject: Subject) -> tuple[list[str], tuple[str, ...]]:
    """Return, of the window, raw files nobody accepted yet, and applied ones nobody lists any more."""
    accepted = read_accepted(subject.platform.objects(subject.source_name, subject.table.id))
    here = [window for window in subject.unaccepted(accepted) if window == subject.window]
    return here, forgotten_files(subject, accepted)


def _load(
    subject: Subject, workspace: duckdb.DuckDBPyConnection, forgotten: tuple[str, ...]
) -> tuple[Subject, WindowEvents]:
    events = subject.load_events(workspace)
    events = with_refused_files(events, subject.manifest, subject.quarantine)
    events = replace(events, forgotten_files=forgotten)
    if subject.view.relation is None:
        # Before the first merge there is no table: nothing but the keys can be compared, with no row.
        subject = replace(subject, view=replace(subject.view, schema=events.key_columns))
    if subject.key:
        load_base_rows(workspace, subject.view, subject.key)
    return subject, events


def _compare_source(
    subject: Subject, workspace: duckdb.DuckDBPyConnection, events: WindowEvents, here: list[str]
) -> Comparison:
    reader = source_reader(subject.source)
    if isinstance(reader, str):
        return _unverified(SOURCE_MATCHES_BASE, reader, subject)
    points, seen = open_points(events, here), list[Capture]()

    def compared() -> Comparison:
        if not events.keys:
            found = nothing_changed(subject, reader, points)
            capture = ask_capture(subject, reader, found.source_position or "")
            return as_far_as_captured(subject, found, capture)
        plan = read_plan(reader, subject)
        doubts = [*points, *untold_points(subject, plan)]
        before = captured_before(subject, plan)

        def observed(position: str) -> Capture:
            seen.append(observe(subject, workspace, reader, position, before))
            return seen[-1]

        found = compare_source_base(
            workspace, reader, plan, subject.view, observe=observed, open_points=doubts
        )
        return as_far_as_captured(subject, found, seen[-1])

    outcome = guarded(compared)
    return _failed(SOURCE_MATCHES_BASE, outcome, subject) if isinstance(outcome, Failed) else outcome


def source_reader(source: SourceConfig) -> SourceReader | str:
    """Return the reader of a source, or why there is none."""
    if source.connection is None:
        return "the source has no `connection` in cdc.yaml, so it was not read"
    if source.engine != "postgresql":
        return f"reading {source.engine} sources is not supported yet"
    return PostgresReader(source.connection)


def observe(
    subject: Subject,
    workspace: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    position: str,
    before: str | None = None,
) -> Capture:
    """Ask how far capture has come, then find what the pinned snapshot still awaits: in this order.

    The source was read at ``position``; ``before`` is what :func:`captured_before` said.
    """
    capture = ask_capture(subject, reader, position, before)
    there = subject.on_the_way()
    untold = load_awaited_keys(workspace, there.files, subject.key)
    return replace(capture, unaccepted=there.of_any_key + untold)


def _failed(name: str, failed: Failed, subject: Subject) -> Comparison:
    return _plain(name, Verdict.ERROR, failed.reason, subject)


def _unverified(name: str, reason: str, subject: Subject) -> Comparison:
    return _plain(name, Verdict.UNVERIFIED, reason, subject)


def _plain(name: str, verdict: Verdict, reason: str, subject: Subject) -> Comparison:
    return Comparison(name=name, verdict=verdict, reason=reason, snapshot_id=subject.view.snapshot_id)
