"""Settling: look again at the keys earlier runs left open, and only at those.

Source and base are compared for them as a window compares its keys, at one frozen position. A key found
equal leaves the queue; one found different is a discrepancy like any other, and is looked at until it is
equal. What still changes stays, with its age, and is unverified once that is beyond a limit: never equal,
never different. Nothing is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import duckdb
import pyarrow as pa

from cdc_platform.errors import ConfigError
from cdc_platform.lake.read import open_workspace
from cdc_platform.reconcile.asked_capture import captured_before
from cdc_platform.reconcile.base_rows import load_base_rows
from cdc_platform.reconcile.certificate import common_fields
from cdc_platform.reconcile.certificate_schema import SettlingCertificate
from cdc_platform.reconcile.compared_columns import read_plan
from cdc_platform.reconcile.guarded import Failed, guarded
from cdc_platform.reconcile.looks import Looks
from cdc_platform.reconcile.results import record
from cdc_platform.reconcile.run_ids import new_run_id
from cdc_platform.reconcile.scopes import LONGEST_AGE, SETTLING
from cdc_platform.reconcile.settled import Settlement, settlement
from cdc_platform.reconcile.settled_changes import count_changes
from cdc_platform.reconcile.settling import Queue, Queued, read_queue, settle_queue
from cdc_platform.reconcile.source_base import compare_source_base
from cdc_platform.reconcile.subject import Platform, Subject, pin
from cdc_platform.reconcile.suspects import make_suspects
from cdc_platform.reconcile.verdict import (
    SOURCE_MATCHES_BASE,
    Comparison,
    Reconciliation,
    Tally,
    Verdict,
)
from cdc_platform.reconcile.window import observe, source_reader
from cdc_platform.reconcile.withdrawn import ahead_of_truth
from cdc_platform.reconcile.witnesses import locate_all

METHOD = "keys earlier runs left open, re-read in one source snapshot, typed and exact under the named rules"
NOT_COVERED = ("Only keys that earlier runs left open were read.",)


@dataclass(frozen=True, slots=True)
class SettleOptions:
    """Which keys are looked at, and from which age on an open one is unverified."""

    min_age: timedelta = timedelta()
    max_age: timedelta = timedelta(hours=1)

    @classmethod
    def of_seconds(cls, **ages: float) -> SettleOptions:
        """Return the options of ``min_age_seconds`` and ``max_age_seconds``. Raises ConfigError."""
        for name, seconds in ages.items():
            if not 0 <= seconds <= LONGEST_AGE:
                mend = f"give seconds from 0 to {LONGEST_AGE:,.0f}"
                raise ConfigError("cdc reconcile", [(name, f"{seconds} is no age of a key", mend)])
        return cls(**{name.removesuffix("_seconds"): timedelta(seconds=age) for name, age in ages.items()})


def settle(
    platform: Platform, source: str, table_id: str, options: SettleOptions | None = None
) -> Reconciliation | None:
    """Look at the table's queue again and record what was found; None when nothing of that age is in it.

    Never raises for a side that cannot be compared: the verdict says so, and the queue stays as it is. Raises
    ConfigError for an unknown table, StorageUnavailable, StateError or StaleCommit for the queue's object and
    the result tables.
    """
    options = options or SettleOptions()
    now, started = datetime.now(UTC), time.monotonic()
    table, objects = platform.table(source, table_id), platform.objects(source, table_id)
    queue = read_queue(objects)
    chosen = {t: one for t, one in queue.entries.items() if one.age(now) >= options.min_age}
    if not chosen:
        return None
    run_id = new_run_id(now)
    subject = pin(platform, source, table_id, SETTLING)
    found = _looked_at(subject, queue, chosen, options, now)
    (comparison,) = locate_all(subject, (found.comparison,))
    comparison = replace(comparison, notes=(*comparison.notes, *ahead_of_truth(subject, found.mended)))
    left = queue
    if found.results is not None:
        left = settle_queue(objects, found.results, subject.view.snapshot_id)
    proof: SettlingCertificate = {
        **common_fields(
            run_id=run_id,
            source=source,
            table=table.name,
            merge_key=table.merge_key,
            verdict=comparison.verdict,
            comparisons=(comparison,),
            started_at=now,
        ),
        "window": {"key": SETTLING, "from": None, "before": None},
        "not_covered": list(NOT_COVERED),
        "settling": found.summary(left, now),
    }
    seconds = round(time.monotonic() - started, 3)
    outcome = Reconciliation(
        run_id, source, table_id, SETTLING, comparison.verdict, (comparison,), proof, now, seconds
    )
    record(platform.lake, outcome)
    return outcome


def _looked_at(
    subject: Subject, queue: Queue, chosen: Mapping[str, Queued], options: SettleOptions, now: datetime
) -> Settlement:
    workspace = open_workspace(subject.platform.lake, iceberg=True)
    try:
        found = guarded(lambda: _look(subject, workspace, queue, chosen, options, now))
    finally:
        workspace.close()
    if isinstance(found, Failed):
        return _undecided(subject, Verdict.ERROR, found.reason, len(chosen))
    return found


def _look(
    subject: Subject,
    workspace: duckdb.DuckDBPyConnection,
    queue: Queue,
    chosen: Mapping[str, Queued],
    options: SettleOptions,
    now: datetime,
) -> Settlement:
    reader = source_reader(subject.source)
    if isinstance(reader, str):
        return _undecided(subject, Verdict.UNVERIFIED, reader, len(chosen))
    if subject.view.relation is None:
        return _undecided(subject, Verdict.UNVERIFIED, "base has no snapshot yet", len(chosen))
    columns = subject.view.columns
    key_columns = pa.schema([columns.field(name) for name in subject.key])
    make_suspects(workspace, [one.key for one in chosen.values()], key_columns)
    workspace.execute(
        "CREATE OR REPLACE TEMP TABLE keys AS SELECT key_id + 1 AS key_id, * EXCLUDE (key_id) FROM suspects"
    )
    load_base_rows(workspace, subject.view, subject.key)
    plan = read_plan(reader, subject)
    before = captured_before(subject, plan)
    looks = Looks(
        workspace,
        plan,
        dict(enumerate(chosen.values(), 1)),
        count_changes(subject, workspace, queue.snapshot_id),
        lambda position: observe(subject, workspace, reader, position, before),
        now,
    )
    comparison = compare_source_base(
        workspace, reader, plan, subject.view, observe=looks.observe, judge=looks.judge
    )
    return settlement(replace(comparison, method=METHOD), looks, list(chosen), options.max_age, now)


def _undecided(subject: Subject, verdict: Verdict, reason: str, keys: int) -> Settlement:
    comparison = Comparison(
        SOURCE_MATCHES_BASE,
        verdict,
        reason,
        tally=Tally(compared=keys, unverified=keys),
        snapshot_id=subject.view.snapshot_id,
        method=METHOD,
    )
    return Settlement(comparison, None)
