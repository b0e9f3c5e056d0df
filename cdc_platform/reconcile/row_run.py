"""One full comparison of a table without a key: bags of whole rows, by the number of their copies.

Base is pinned; the source is read once, in one snapshot at position L, and digested by parts of the rows' own
hash (``row_parts``). Only where parts differ it is read once more, in a snapshot of its own (``odd_rows``).
Then capture is asked how far it has come, files on their way are read, and what raw tells of the rows that
are not as often on both sides is reckoned in (``row_outcomes``) before they are judged by position.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import duckdb

from cdc_platform.config.model import NoKey
from cdc_platform.errors import CdcError
from cdc_platform.reconcile.as_of import AsOf
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.bracket import Bracket
from cdc_platform.reconcile.budget import BudgetSpent, Spending
from cdc_platform.reconcile.carried_rows import KEPT_ROWS
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison, full_comparison
from cdc_platform.reconcile.full_run import LEAST_SECONDS_TO_DRILL
from cdc_platform.reconcile.in_flight import Capture, Judgement, behind_capture, judge_difference
from cdc_platform.reconcile.odd_rows import LookedInto, choose_parts, load_odd_rows, no_odd_rows
from cdc_platform.reconcile.recent_runs import OF_SOURCE
from cdc_platform.reconcile.row_events import no_row_events
from cdc_platform.reconcile.row_faults import located
from cdc_platform.reconcile.row_outcomes import (
    RawSays,
    State,
    count_changing,
    counts_of,
    load_balances,
    load_outcomes,
    load_shifts,
    unexplained_later,
)
from cdc_platform.reconcile.row_parts import (
    Buckets,
    load_base_parts,
    load_parts,
    load_source_parts,
    row_sides,
)
from cdc_platform.reconcile.row_results import (
    RowFindings,
    compared_rows,
    guilty_columns,
    segment_results,
    without_numbers,
)
from cdc_platform.reconcile.ruled_rows import load_ruled
from cdc_platform.reconcile.run_ids import begun_at
from cdc_platform.reconcile.scan import ranges_of
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.suspect_events import Reading
from cdc_platform.reconcile.verdict import Comparison, Verdict
from cdc_platform.reconcile.window_events import count
from cdc_platform.words import counted

METHOD = (
    "every row: multiset of whole rows by hash buckets, then the number of copies of each row that differs"
)
_LATER = "raw has applied changes after the export of {} of which base has no more and no fewer than it"
Points = list[tuple[Verdict, str]]


@dataclass(frozen=True, slots=True)
class Observed:
    """What was found after the source was read. ``changing`` was made; ``in_between`` forbids to judge."""

    capture: Capture
    points: Points = field(default_factory=list)
    #: Why base is in between two states, whatever rows it has; empty where it is not.
    in_between: str = ""


@dataclass(slots=True)
class RowRun:
    """One such comparison.

    ``observe`` is asked after the source was read, and makes ``changing``; ``ask_raw`` makes ``row_events``
    of ``odd`` rows and says what follows. ``when`` is of what moment an export is.
    """

    view: BaseView
    workspace: duckdb.DuckDBPyConnection
    reader: SourceReader
    plan: ReadPlan
    policy: NoKey
    observe: Callable[[Sides, str], Observed]
    ask_raw: Callable[[Sides], tuple[RawSays, Reading | None]]
    options: FullOptions
    run_id: str
    when: AsOf | None = None
    notes: tuple[str, ...] = ()

    def compare(self) -> FullComparison:
        con, spending = self.workspace, Spending(self.options.budget)
        sides = row_sides(con, self.plan, self.view, self.options.salt)
        load_base_parts(con, sides)
        rows = count(con, "SELECT sum(n) FROM base_parts")
        buckets = Buckets.of(rows, self.options.rows_per_segment)
        bracket, stopped = self._read(sides, spending)
        is_read = stopped is None
        no_odd_rows(con)
        looked = LookedInto()
        if is_read and load_parts(con):
            looked, stopped = self._look_into(sides, spending)
        observed = self.observe(sides, bracket.high)
        judgement = self._judge(bracket.high, observed)
        reading, later = self._outcomes(sides, judgement)
        found = RowFindings(
            buckets=buckets,
            is_read=is_read,
            looked=looked,
            stopped=stopped,
            by_segment=counts_of(con, buckets),
            changing=count_changing(con, buckets),
            judgement=judgement,
            source_position=bracket.high,
            read_at=begun_at(self.run_id) if self.options.origin == OF_SOURCE else None,
            snapshot_id=self.view.snapshot_id,
        )
        points = [*observed.points, *bracket.points(judgement), *self._behind(bracket.high, observed.capture)]
        points += later if is_read and not looked.is_sample else []
        return self._concluded(sides, found, points, bracket, reading)

    def _read(self, sides: Sides, spending: Spending) -> tuple[Bracket, tuple[Verdict, str] | None]:
        """Read the source once; return where its log stood, and what stopped the reading."""
        stopped = None
        with self.reader.snapshot() as snapshot:
            sides = ranges_of(sides, snapshot)
            spending.bound(snapshot)
            try:
                load_source_parts(self.workspace, snapshot, sides, spending)
            except (BudgetSpent, CdcError) as error:
                stopped = (_verdict_of(error), str(error))
            position = snapshot.position
        if stopped is None:
            rows = count(self.workspace, "SELECT sum(n) FROM source_parts")
            self.options.tell(f"{counted(rows, 'row')} of the source read")
        return Bracket.of(self.reader, position), stopped

    def _look_into(self, sides: Sides, spending: Spending) -> tuple[LookedInto, tuple[Verdict, str] | None]:
        """Make ``odd`` of the parts that differ; return how many there are, and what stopped that."""
        looked = choose_parts(self.workspace)
        self.options.tell(f"looking into {looked.chosen:,} of {looked.differing:,} hash buckets that differ")
        try:
            with self.reader.snapshot() as again:
                spending.bound(again, at_least=LEAST_SECONDS_TO_DRILL)
                load_odd_rows(self.workspace, again, sides, spending)
        except (BudgetSpent, CdcError) as error:
            no_odd_rows(self.workspace)
            reason = f"the digests differ, and the rows could not be read again: {error}"
            return replace(looked, chosen=0), (_verdict_of(error), reason)
        return looked, None

    def _judge(self, position: str, observed: Observed) -> Judgement:
        if observed.in_between:
            return Judgement(Verdict.IN_FLIGHT, observed.in_between)
        return (self.when.judge if self.when is not None else judge_difference)(position, observed.capture)

    def _outcomes(self, sides: Sides, judgement: Judgement) -> tuple[Reading | None, Points]:
        """Make ``row_outcomes``; return which files of raw were asked, and what base does not show."""
        con, raw, reading = self.workspace, RawSays(), None
        has_odd = count(con, "SELECT count(*) FROM odd WHERE NOT moved") > 0
        is_kept = self.policy is NoKey.APPEND
        if self.when is not None or (has_odd and (is_kept or judgement.verdict is Verdict.DIFFERENT)):
            raw, reading = self.ask_raw(sides)
            if judgement.verdict is not Verdict.DIFFERENT:
                # nothing is called a difference, so nothing need be in doubt
                raw = replace(raw, doubt_of_surplus="")
        else:
            no_row_events(con)
        if has_odd:
            load_ruled(con, sides)
        else:
            con.execute("CREATE OR REPLACE TEMP TABLE ruled (id BIGINT, n BIGINT, undecided BOOLEAN)")
        load_shifts(con, raw)
        load_balances(con, self.policy)
        load_outcomes(con, raw)
        later = unexplained_later(con, raw, self.policy)
        return reading, [(Verdict.UNVERIFIED, _LATER.format(counted(later, "row")))] if later else []

    def _concluded(
        self,
        sides: Sides,
        found: RowFindings,
        points: Points,
        bracket: Bracket,
        reading: Reading | None,
    ) -> FullComparison:
        con = self.workspace
        rows: Comparison | None = None
        if count(con, "SELECT count(*) FROM row_outcomes"):
            other = "the source" if self.options.origin == OF_SOURCE else "the export"
            rows = compared_rows(con, sides, found.judgement, other)
            shown = located(con, rows.discrepancies, self.policy, reading)
            rows = replace(rows, discrepancies=without_numbers(shown))
        segments = segment_results(con, found)
        comparison = full_comparison(
            sides,
            segments,
            points,
            rows,
            found,
            method=METHOD,
            notes=(*self.notes, *bracket.notes),
        )
        kept = count(con, f"SELECT sum(copies) FROM row_outcomes WHERE state = '{State.KEPT}'")
        if kept:
            of_rows = f"{counted(kept, 'row')} that the source deleted, as raw says"
            note = f"{of_rows}, kept in base by declaration (no_key: append)"
            rows_read = {**comparison.rows, KEPT_ROWS: kept}
            comparison = replace(comparison, notes=(*comparison.notes, note), rows=rows_read)
        if comparison.tally.different and not found.looked.is_sample:
            guilty = guilty_columns(con, sides)
            comparison = replace(comparison, guilty=guilty, attribution=_attribution(sides, guilty))
        return FullComparison(comparison, segments, self.options.salt, found.looked.is_sample)

    def _behind(self, position: str, capture: Capture) -> Points:
        """Return that the source is behind capture, which stands against MATCH; an export is of the past."""
        behind = behind_capture(position, capture) if self.when is None else None
        return [(behind.verdict, behind.reason)] if behind is not None else []


def _attribution(sides: Sides, guilty: Sequence[str]) -> str:
    """Say in which columns rows differ that are missing, where as many others are too many."""
    if not guilty or len(guilty) == len(sides.plan.columns):
        return ""
    names = ", ".join(guilty)
    return f"as many rows are missing as are too many, and together they differ in no column but {names}"


def _verdict_of(error: Exception) -> Verdict:
    return Verdict.UNVERIFIED if isinstance(error, BudgetSpent) else Verdict.ERROR
