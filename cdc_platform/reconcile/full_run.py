"""One full comparison of one table: scan, drill, look up, and judge each segment."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa

from cdc_platform.errors import SourceUnavailable
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.reconcile.aligned_rows import Aligned, aligned_segments
from cdc_platform.reconcile.as_of import AsOf
from cdc_platform.reconcile.base_rows import BaseView, load_base_rows
from cdc_platform.reconcile.bracket import Bracket
from cdc_platform.reconcile.budget import Budget, Spending
from cdc_platform.reconcile.cut_sides import make_sides
from cdc_platform.reconcile.doubled_keys import HASHES_AT_ONCE, add_doubled_keys
from cdc_platform.reconcile.drill import drill, guilty_columns, load_changed_keys
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison, confirmed_keys, full_comparison
from cdc_platform.reconcile.full_slices import SliceScope, attributed
from cdc_platform.reconcile.full_state import Carried, Progress, resume
from cdc_platform.reconcile.held_snapshot import HeldReader
from cdc_platform.reconcile.in_flight import Capture, Judgement, behind_capture, judge_difference
from cdc_platform.reconcile.ledger import Ledger
from cdc_platform.reconcile.on_the_way import count_changed, mark_awaited
from cdc_platform.reconcile.proof_conditions import conditions_of
from cdc_platform.reconcile.run_ids import begun_at
from cdc_platform.reconcile.scan import Scan, has_all_rows, ranges_of, scan_base, scan_source, told_of
from cdc_platform.reconcile.segment_results import (
    Findings,
    SegmentResult,
    judge_segment,
    looked_up,
    not_looked_up,
    notes_on_left,
    taken_over,
)
from cdc_platform.reconcile.sides import EMPTY, Sides
from cdc_platform.reconcile.source_base import compare_source_base
from cdc_platform.reconcile.sources import ReadPlan, SourceReader, SourceSnapshot
from cdc_platform.reconcile.verdict import Comparison, Verdict
from cdc_platform.reconcile.window_events import count
from cdc_platform.reconcile.workspace_names import in_workspace

#: A table of more segments is read in ranges, so that what stops a long run leaves results behind.
MOST_READ_AT_ONCE = 32

#: A run whose time is over may still find out which keys of the segments it read differ.
LEAST_SECONDS_TO_DRILL = 10.0


@dataclass(slots=True)
class FullRun:
    """One full comparison of one table.

    ``observe`` is asked after the source was read: how far capture has come, and what else stands against
    MATCH; it makes ``changed_keys``. ``objects`` keep the progress; without them a run cannot be resumed.
    Where the source side is an export, ``when`` says of what moment, and ``load_later`` makes ``later``.
    """

    view: BaseView
    key: tuple[str, ...]
    workspace: duckdb.DuckDBPyConnection
    reader: SourceReader
    plan: ReadPlan
    observe: Callable[[Sides, str], tuple[Capture, list[tuple[Verdict, str]]]]
    objects: ObjectStore | None
    options: FullOptions
    run_id: str
    when: AsOf | None = None
    load_later: Callable[[pa.Table], None] | None = None
    #: Where capture stood before a standby is read; what is read behind it is compared, and proves nothing.
    before: str | None = None
    #: Keeps what was proven for incremental runs; None where the run proves nothing of the source.
    ledger: Ledger | None = None
    #: Why raw does not tell every change of the table, so that nothing earlier holds; see ``untold``.
    untold: str = ""
    #: Hashes of keys that are held in memory.
    hashes_at_once: int = HASHES_AT_ONCE
    notes: list[str] = field(default_factory=list)
    #: How many suspects of each segment the budget did not suffice to look up.
    left: Mapping[int, int] = field(default_factory=dict)

    def compare(self) -> FullComparison:
        spending = Spending(self.options.budget)
        progress = self._progress()
        sides = make_sides(
            self.workspace,
            self.plan,
            self.view,
            self.options.salt,
            bounds=progress.bounds if progress.equal else None,
            rows_per_segment=self.options.rows_per_segment,
            numbers_at_once=self.hashes_at_once,
        )
        progress.bounds = sides.segments.bounds
        carried = dict(progress.equal)
        everything = range(sides.segments.ranges + 1)
        aligned = Aligned()
        if not carried:
            aligned = aligned_segments(self.workspace, self.reader, sides, self.options)
        others = [number for number in everything if number not in aligned.rows]
        rest = replace(sides, only=frozenset(others) if aligned.rows else None)
        scan = scan_base(self.workspace, rest, aligned, keeps=self.reader.snapshot_read)
        with self.reader.snapshot() as snapshot:
            sides, rest = ranges_of(sides, snapshot), ranges_of(rest, snapshot)
            self._scan(snapshot, rest, scan, [n for n in others if n not in carried], spending, progress)
            if aligned.rows and not has_all_rows(self.workspace, snapshot, sides, scan):
                progress.equal.clear()
                scan = scan_base(self.workspace, sides, Aligned(), keeps=self.reader.snapshot_read)
                self._scan(snapshot, sides, scan, list(everything), spending, progress)
            scan.source |= {number: scan.base.get(number, EMPTY) for number in carried}
            self._save(replace(progress, is_done=not scan.unread))
            return self._conclude(snapshot, sides, scan, carried, spending)

    def _progress(self) -> Progress:
        conditions = conditions_of(self.plan, self.view, self.options.origin)
        found = None
        if self.options.resume and self.objects is not None:
            found, text = resume(self.objects, conditions, self.plan.position, self.untold)
            self.notes.append(text)
            self.options.tell(text)
        return found or Progress(conditions)

    def _save(self, progress: Progress) -> None:
        if self.objects is not None:
            progress.save(self.objects)

    def _scan(
        self,
        snapshot: SourceSnapshot,
        sides: Sides,
        scan: Scan,
        wanted: list[int],
        spending: Spending,
        progress: Progress,
    ) -> None:
        saved = time.monotonic()
        spending.bound(snapshot)
        is_behind = behind_capture(snapshot.position, Capture(None, before=self.before)) is not None
        keeps = self.reader.snapshot_read and not is_behind

        def done(numbers: Collection[int]) -> None:
            nonlocal saved
            for number in numbers if keeps else ():
                if scan.equal(number):
                    progress.equal[number] = Carried(scan.source[number][0], snapshot.position, self.run_id)
            self.options.tell(told_of(sides.segments, scan, numbers, len(wanted) + len(scan.aligned)))
            if time.monotonic() - saved > 1:
                self._save(progress)
                saved = time.monotonic()

        try:
            by_ranges = self._by_ranges(sides)
            scan_source(self.workspace, snapshot, sides, scan, wanted, spending, done, by_ranges=by_ranges)
        finally:
            self._save(progress)

    def _by_ranges(self, sides: Sides) -> bool:
        """Whether segments are read one by one: a run can stop between them, at some more cost."""
        bounded = self.options.budget != Budget() or self.options.resume
        return sides.plan.ranged and (bounded or sides.segments.ranges > MOST_READ_AT_ONCE)

    def _conclude(
        self,
        snapshot: SourceSnapshot,
        sides: Sides,
        scan: Scan,
        carried: dict[int, Carried],
        spending: Spending,
    ) -> FullComparison:
        spending.bound(snapshot, at_least=LEAST_SECONDS_TO_DRILL)
        drilled = drill(self.workspace, snapshot, sides, scan, spending, self.options.tell)
        bracket = Bracket.of(self.reader, snapshot.position)
        capture, points = self._observed(sides, bracket.high, scan)
        judgement = self._judge(bracket.high, capture)
        points += bracket.points(judgement) + (behind := self._behind(bracket.high, capture))
        has_suspects = self._more_suspects(snapshot, sides, scan)
        is_over = spending.over_after(LEAST_SECONDS_TO_DRILL)
        rows = self._look_up(snapshot, sides, capture, is_over) if has_suspects else None
        self.left = not_looked_up(self.workspace) if rows else {}
        found = Findings(
            segments=sides.segments,
            scan=scan,
            drilled=drilled.and_beyond(self.left),
            looked_up=looked_up(self.workspace, self.left) if rows else {},
            changed=count_changed(self.workspace, sides, has_suspects=has_suspects),
            judgement=judgement,
            source_position=bracket.high,
            is_snapshot=bracket.is_snapshot,
            numbers_drilled=frozenset(drilled.numbers),
        )
        segments = tuple(self._result(found, n, carried.get(n)) for n in range(sides.segments.ranges + 1))
        if not behind:
            self._keep_proofs(sides, found, segments)
        else:
            self._end_proofs()
        notes = (*self.notes, *bracket.notes, *drilled.notes, *notes_on_left(self.left))
        comparison = full_comparison(
            sides, segments, points, rows, found, method=self.options.method, notes=notes
        )
        full = FullComparison(comparison, segments, self.options.salt, drilled.is_sample)
        return self._explained(full, sides, found.numbers_drilled) if rows else full

    def _observed(self, sides: Sides, position: str, scan: Scan) -> tuple[Capture, list[tuple[Verdict, str]]]:
        try:
            return self.observe(sides, position)
        except SourceUnavailable:
            if not scan.unread:
                raise
            # what ended the reading is told of the segments it left, and is the reason of this, too
            load_changed_keys(self.workspace, sides, [])
            return Capture(None), []

    def _more_suspects(self, snapshot: SourceSnapshot, sides: Sides, scan: Scan) -> bool:
        """Add keys to ``suspects``; return whether there are any."""
        add_doubled_keys(self.workspace, sides, scan.unsure(sides), self.hashes_at_once)
        return bool(count(self.workspace, "SELECT count(*) FROM suspects"))

    def _result(self, found: Findings, number: int, carried: Carried | None) -> SegmentResult:
        """Return the result of one segment, with the time its rows were read."""
        result = taken_over(judge_segment(found, number), carried, found.looked_up.get(number))
        if number in found.scan.unread or self.ledger is None:
            return result
        at = (begun_at(carried.run_id) if carried else None) or self.ledger.at
        return replace(result, verified_at=at, snapshot_id=self.view.snapshot_id)

    def _keep_proofs(self, sides: Sides, found: Findings, segments: Sequence[SegmentResult]) -> None:
        """Keep what is proven for incremental runs, once every segment was read."""
        if self.ledger is not None and found.is_snapshot and not found.scan.unread:
            self.ledger.keep(self.workspace, sides, found, segments)

    def _end_proofs(self) -> None:
        """Let nothing hold, nor be gone on with, where capture is beyond a primary: its log went back, or is
        another one, and what it writes up to there is passed over by capture.
        """
        if self.ledger is not None and not self.plan.is_standby:
            self.ledger.end()
            FullRun._save(self, Progress(conditions_of(self.plan, self.view, self.options.origin)))

    def _explained(self, found: FullComparison, sides: Sides, drilled: frozenset[int]) -> FullComparison:
        """Return it with the keys that differ for certain, and what they have in common."""
        if drilled:
            guilty = guilty_columns(self.workspace, sides)
            found = replace(found, comparison=replace(found.comparison, guilty=guilty))
        if not found.comparison.tally.different:
            return found
        scope = SliceScope(drilled if found.is_systemic else None, self.view.columns)
        comparison = attributed(self.workspace, found.comparison, sides, scope)
        return replace(found, comparison=comparison, confirmed=confirmed_keys(self.workspace, self.plan))

    def _look_up(
        self, snapshot: SourceSnapshot, sides: Sides, capture: Capture, is_over: Callable[[], bool]
    ) -> Comparison | None:
        """Compare the full rows of the suspects; what is found stays in ``source_outcomes``."""
        names = [f"k{place} AS {in_workspace(column.column)}" for place, column in enumerate(self.plan.key)]
        self.workspace.execute(
            "CREATE OR REPLACE TEMP TABLE keys AS "
            f"SELECT rowid + 1 AS key_id, {', '.join(names)} FROM suspects"
        )
        if not count(self.workspace, "SELECT count(*) FROM keys"):
            return None
        mark_awaited(self.workspace, sides)
        self._load_base()
        held = HeldReader(self.reader, [snapshot])
        if self.load_later is not None:
            self.load_later(self.workspace.execute("FROM keys").to_arrow_table())
        return compare_source_base(
            self.workspace,
            held,
            self.plan,
            self.view,
            observe=lambda at: capture if held.snapshot_read else self._observe_again(sides, at),
            judge=self._judge,
            has_later=self.load_later is not None,
            is_over=is_over,
        )

    def _load_base(self) -> None:
        """Make ``base_rows`` of ``keys``."""
        load_base_rows(self.workspace, self.view, self.key)

    def _observe_again(self, sides: Sides, position: str) -> Capture:
        """Observe once more: without a snapshot, rows were read of later instants than the scan's."""
        capture, _ = self.observe(sides, position)
        mark_awaited(self.workspace, sides)
        return capture

    def _behind(self, position: str, capture: Capture) -> list[tuple[Verdict, str]]:
        """Return that the source is behind capture, which stands against MATCH; an export is of the past."""
        behind = behind_capture(position, capture) if self.when is None else None
        return [(behind.verdict, behind.reason)] if behind is not None else []

    def _judge(self, position: str, capture: Capture) -> Judgement:
        return (self.when.judge if self.when is not None else judge_difference)(position, capture)
