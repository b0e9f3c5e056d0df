"""Which keys differ from the source for certain: the comparison of a reconciliation, kept open to work on.

The comparison is made anew over *every* key of the window, not read from a report's samples; after a full
run, over every key the run found different for certain. After the first
read of the source and before the second an instant is closed (see :mod:`position`): a key that both reads
show alike is known as of that instant.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import duckdb

from cdc_platform.config.model import SourceConfig
from cdc_platform.errors import ConfigError, ReconciliationError
from cdc_platform.lake.read import open_workspace
from cdc_platform.parquet_sql import parquet_sql
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.base_rows import load_base_rows
from cdc_platform.reconcile.compared_columns import read_plan
from cdc_platform.reconcile.full_result import full_run_of, keys_key
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.key_outcomes import Outcome
from cdc_platform.reconcile.open_points import open_points
from cdc_platform.reconcile.postgres_instant import closed_instant
from cdc_platform.reconcile.scopes import FULL, WHOLE
from cdc_platform.reconcile.source_base import compare_source_base
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.subject import Subject, pin
from cdc_platform.reconcile.verdict import Comparison, Tally, Verdict
from cdc_platform.reconcile.window import observe, source_reader
from cdc_platform.reconcile.window_events import WindowEvents, count
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.repair.position import STEP
from cdc_platform.words import counted


@dataclass(frozen=True, slots=True)
class WholeRun:
    """What a full run compared, of which only the keys that differ are judged again."""

    run_id: str
    compared: int
    source_rows: int
    undecided: int = 0
    #: Rows that differ and have no key to look them up by.
    keyless: int = 0


@dataclass(slots=True)
class Judged:
    """A comparison of source and base with its workspace: ``keys``, ``source_rows``, ``base_rows``,
    ``tombstones`` and ``source_outcomes`` are there. ``comparison`` is None when there was no key to compare.
    """

    subject: Subject
    con: duckdb.DuckDBPyConnection
    plan: ReadPlan | None = None
    comparison: Comparison | None = None
    #: Why not everything of the window could be compared, besides what the tally says.
    incomplete: tuple[str, ...] = ()
    instant: datetime | None = None
    run: WholeRun | None = None
    #: The last of the keys there were before those were added that the source writes otherwise than base.
    asked: int | None = None

    @property
    def tally(self) -> Tally:
        """How the keys ended."""
        return self.comparison.tally if self.comparison else Tally()

    @property
    def compared(self) -> int:
        """How many keys were compared, also those of a full run that were equal."""
        return self.run.compared if self.run is not None else self.tally.compared

    @property
    def left_open(self) -> dict[str, int]:
        """Why some keys or rows are not judged, with how many: a full run left some open itself."""
        run = self.run or WholeRun("", 0, 0)
        undecided, keyless = self.tally.unverified + run.undecided, run.keyless
        found = {"could not be decided": undecided, "differ, in rows that have NULL in the key": keyless}
        return {why: number for why, number in found.items() if number}

    @property
    def source_rows(self) -> int:
        """Of how many keys the source gave a row, or how many rows a full run read of it.

        A row whose key is equal by its type and written otherwise is none of a key's, nor asked for.
        """
        if self.run is not None:
            return self.run.source_rows
        if self.comparison is None:
            return 0
        asked = f"key_id <= {self.asked}" if self.asked is not None else "true"
        return count(self.con, f"SELECT count(*) FROM source_outcomes WHERE source_copies > 0 AND {asked}")


@dataclass(slots=True)
class _Instant:
    value: datetime | None = field(default=None)


@contextmanager
def judged_window(platform: Platform, source: str, table_id: str, window: str) -> Iterator[Judged]:
    """Compare every key changed in ``window`` with the source.

    Raises ReconciliationError when the table cannot be repaired, or a side cannot be read.
    """
    subject = _subject(platform, source, table_id, window)
    with _workspace(platform) as con:
        here = [one for one in subject.unaccepted() if one == window]
        events = _load(subject, con)
        judged = Judged(subject, con)
        judged.incomplete = tuple(
            text for verdict, text in open_points(events, here) if verdict is not Verdict.MATCH
        )
        if events.keys:
            _compare(judged)
        yield judged


@contextmanager
def judged_run(platform: Platform, source: str, table_id: str, run_id: str) -> Iterator[Judged]:
    """Compare every key the full run ``run_id`` found different for certain with the source again.

    Raises ReconciliationError when there is no such run, besides what :func:`judged_window` raises.
    """
    objects, where = platform.objects(source, table_id), f"{source}.{table_id}"
    proof = full_run_of(objects, run_id)
    if proof is None:
        mend = "compare the table first: cdc reconcile --full"
        raise ReconciliationError(f"there is no full run {run_id!r}", where=where, mend=mend)
    subject = _subject(platform, source, table_id, FULL)
    (comparison,) = proof["comparisons"]
    # what earlier runs read of the source counts: it is there
    rows = comparison["rows"].get("source rows", 0) + (comparison.get("carried") or {}).get("rows", 0)
    keys = comparison["keys"]
    keyless = keys["different"] - proof["confirmed_keys"]
    run = WholeRun(run_id, keys["compared"], rows, keys["unverified"], keyless)
    with _workspace(platform) as con:
        judged = Judged(subject, con, incomplete=_left_open(proof), run=run)
        if proof["confirmed_keys"]:
            _load_keys(judged, objects.url(keys_key(run_id)))
            _compare(judged)
        yield judged


def _left_open(proof: Mapping[str, Any]) -> tuple[str, ...]:
    """Return why a full run says nothing of some of the table."""
    counts = ((name, proof["segment_verdicts"].get(name, 0)) for name in ("UNVERIFIED", "ERROR"))
    segments = (f"{number:,} of its segments: {name.lower()}" for name, number in counts if number)
    # a segment that differs for certain may have more keys than were looked up
    keys = proof["comparisons"][0]["keys"]["unverified"]
    return (*segments, *([f"{counted(keys, 'key')} left undecided"] if keys else []))


@contextmanager
def judged_keys(platform: Platform, source: str, table_id: str, window: str, url: str) -> Iterator[Judged]:
    """Compare the keys of the touched-keys file at ``url`` with the source."""
    subject = _subject(platform, source, table_id, window)
    with _workspace(platform) as con:
        judged = Judged(subject, con)
        _load_keys(judged, url)
        _compare(judged)
        yield judged


def _load_keys(judged: Judged, url: str) -> None:
    """Make ``keys`` of a file of keys, and what base holds of them."""
    columns = list(enumerate(judged.subject.key))
    names = ", ".join(f"key_{i} AS {in_workspace(column)}" for i, column in columns)
    order = ", ".join(f"key_{i}" for i, _ in columns)
    judged.con.execute(
        f"CREATE TEMP TABLE keys AS SELECT row_number() OVER (ORDER BY {order}) AS key_id, {names} "
        f"FROM {parquet_sql([url])}"
    )
    load_base_rows(judged.con, judged.subject.view, judged.subject.key)


@contextmanager
def _workspace(platform: Platform) -> Iterator[duckdb.DuckDBPyConnection]:
    con = open_workspace(platform.lake, iceberg=True)
    try:
        yield con
    finally:
        con.close()


def _subject(platform: Platform, source: str, table_id: str, window: str) -> Subject:
    where = f"{source}.{table_id}"
    try:
        if window not in WHOLE:
            platform.source(source).window.bounds(window)
    except ValueError:
        every = platform.source(source).window.every
        what = f"{window!r} is not a {every} window"
        raise ConfigError(where, [("--window", what, "take one of `cdc reconcile`'s")]) from None
    if not platform.table(source, table_id).merge_key:
        raise ReconciliationError(
            "the table has no merge key, so none of its rows can be told from another",
            where=where,
            mend="reload the table, or declare its `merge_key`",
        )
    subject = pin(platform, source, table_id, window)
    if subject.view.relation is None:
        mend = "merge its files first: cdc apply"
        raise ReconciliationError("there is no base table yet", where=where, mend=mend)
    return subject


def _load(subject: Subject, con: duckdb.DuckDBPyConnection) -> WindowEvents:
    events = subject.load_events(con)
    load_base_rows(con, subject.view, subject.key)
    return events


def _compare(judged: Judged) -> None:
    subject, con = judged.subject, judged.con
    reader = source_reader(subject.source)
    if isinstance(reader, str):
        mend = "a repair writes what the source holds: let the source be read"
        raise ReconciliationError(reader, where=subject.where, mend=mend)
    found = _Instant()
    judged.plan = plan = read_plan(reader, subject)
    observed = _observer(subject, con, reader, found)
    judged.comparison = compare_source_base(con, reader, plan, subject.view, observe=observed)
    last = count(con, "SELECT max(key_id) FROM keys")
    if _add_spellings(con, plan):
        judged.asked = last
        load_base_rows(con, subject.view, subject.key)
        judged.comparison = compare_source_base(con, reader, plan, subject.view, observe=observed)
    judged.instant = found.value


def _add_spellings(con: duckdb.DuckDBPyConnection, plan: ReadPlan) -> int:
    """Add to ``keys`` those the source has where base has the same written otherwise; return how many.

    In base they are other keys: only with both is it known what to write and what to delete.
    """
    names = [in_workspace(column.column) for column in plan.key]
    is_known = " AND ".join(f"k.{name} = s.{name}" for name in names)
    added = con.execute(
        f"""INSERT INTO keys (key_id, {", ".join(names)})
            SELECT (SELECT max(key_id) FROM keys) + row_number() OVER (), * FROM (
                SELECT DISTINCT {", ".join(f"s.{name}" for name in names)}
                FROM source_outcomes o JOIN source_rows s ON s.rowid = o.source_row
                WHERE o.outcome = {Outcome.SPELLED:d} AND NOT EXISTS (FROM keys k WHERE {is_known}))"""
    ).fetchone()
    return int(added[0]) if added else 0


def _observer(
    subject: Subject, con: duckdb.DuckDBPyConnection, reader: SourceReader, found: _Instant
) -> Callable[[str], Capture]:
    """Return what is done between the source's two reads: close an instant, see what is on its way."""

    def look(position: str) -> Capture:
        found.value = _closed_instant(subject.source)
        return observe(subject, con, reader, position)

    return look


def _closed_instant(source: SourceConfig) -> datetime:
    assert source.connection is not None
    return closed_instant(source.connection, STEP)
