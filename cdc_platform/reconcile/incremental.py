"""An incremental run: proofs are brought up to now by the keys that changed, and the oldest are made anew.

Of a segment proven at snapshot S and position P everything is known but for what changed since, and that is
found on both sides: in base by its immutable files, in the source by the raw files accepted since. Those keys
are looked up on both sides and compared in full, in one source snapshot. What neither side tells, a change
that was never captured, is found when the segment is read again, which its age decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

from cdc_platform.reconcile.base_delta import restricted_sql
from cdc_platform.reconcile.base_rows import load_base_rows
from cdc_platform.reconcile.budget import Spending
from cdc_platform.reconcile.changed_rows import FirstLook, look_at_changed
from cdc_platform.reconcile.changes_since import Since, find_changes, usable_proofs
from cdc_platform.reconcile.cut_sides import make_sides
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.full_state import Carried, Progress
from cdc_platform.reconcile.proofs import VERIFY_WITHIN, Proof, write_proofs
from cdc_platform.reconcile.proven_segments import (
    KeyCounts,
    Standing,
    base_digests_of,
    count_keys,
    judge_proven,
)
from cdc_platform.reconcile.scan import Scan, ranges_of
from cdc_platform.reconcile.segment_results import Findings, SegmentResult
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import SourceSnapshot
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.window_events import count
from cdc_platform.reconcile.window_reach import with_table
from cdc_platform.words import counted


@dataclass(slots=True)
class IncrementalRun(FullRun):
    """A comparison of what may have changed since the table's proofs; of everything where there are none.

    ``subject`` tells which raw files and which base; it and ``ledger`` must be given.
    """

    subject: Subject | None = None
    since: Since | None = None
    sides: Sides | None = None
    #: The changed keys that were looked up, by segment.
    counts: Mapping[int, KeyCounts] = field(default_factory=dict)
    #: What the first look at the changed keys found.
    look: FirstLook = field(default_factory=FirstLook)
    spending: Spending | None = None

    def compare(self) -> FullComparison:
        self.spending = Spending(self.options.budget)
        found = self._prepare()
        if isinstance(found, str):
            return self._whole(found)
        assert self.subject is not None
        self.since = found
        sides, numbers = self.sides, sorted(found.due)
        assert sides is not None
        self._tell_plan(sides, numbers)
        digests = base_digests_of(self.workspace, sides, numbers)
        scan = Scan(digests, keeps=self.reader.snapshot_read)
        progress = Progress(found.proofs.conditions, sides.segments.bounds)
        with self.reader.snapshot() as snapshot:
            self.sides = sides = ranges_of(sides, snapshot)
            if numbers:
                self._scan(snapshot, sides, scan, numbers, self.spending, progress)
            full = self._conclude(snapshot, sides, scan, {}, self.spending)
        # proofs rest on captured changes
        return replace(full, comparison=with_table(self.subject, full.comparison))

    def _prepare(self) -> Since | str:
        """Find what changed since the proofs, or say why everything has to be compared."""
        assert self.ledger is not None
        assert self.subject is not None
        if self.untold:
            return f"raw does not tell every change: {self.untold}"
        proofs = usable_proofs(self.ledger, self.subject)
        if isinstance(proofs, str):
            return proofs
        self.sides = make_sides(
            self.workspace,
            self.plan,
            self.view,
            self.options.salt,
            bounds=proofs.bounds,
            rows_per_segment=self.options.rows_per_segment,
        )
        within = self.options.verify_within or VERIFY_WITHIN
        size = self.options.rows_per_segment
        return find_changes(self.workspace, self.sides, self.subject, self.ledger, proofs, within, size)

    def _whole(self, why: str) -> FullComparison:
        text = f"every segment was compared: {why}"
        self.notes.append(text)
        self.options.tell(text)
        return FullRun.compare(self)

    def _tell_plan(self, sides: Sides, due: Sequence[int]) -> None:
        assert self.since is not None
        keys = count(self.workspace, "SELECT count(*) FROM touched_keys")
        text = (
            f"{len(due)} of {sides.segments.ranges + 1} segments were read whole, of the others "
            f"{keys:,} changed keys compared; {self.since.delta.sentence}"
        )
        assert self.ledger is not None
        self.notes += [text, *self.ledger.slot.notes]
        self.options.tell(text)

    def _by_ranges(self, sides: Sides) -> bool:
        return sides.plan.ranged if self.since is not None else FullRun._by_ranges(self, sides)

    def _save(self, progress: Progress) -> None:
        """Keep what is equal so far, so that a run that is killed need not be repeated."""
        if self.since is None:
            FullRun._save(self, progress)
        elif progress.equal:
            assert self.ledger is not None
            ledger, proofs, gained = self.ledger, self.since.proofs, self.since.gained
            anew = {
                number: Proof(ledger.at, one.source_position, ledger.snapshot_id, self.run_id)
                for number, one in progress.equal.items()
            }
            # rows are those of the snapshot changes are still counted from
            rows = {number: one.rows - gained.get(number, 0) for number, one in progress.equal.items()}
            kept = replace(proofs, segments={**proofs.segments, **anew}, rows={**proofs.rows, **rows})
            write_proofs(ledger.objects, kept)

    def _more_suspects(self, snapshot: SourceSnapshot, sides: Sides, scan: Scan) -> bool:
        has_others = FullRun._more_suspects(self, snapshot, sides, scan)
        if self.since is None:
            return has_others
        due, names = ", ".join(map(str, self.since.due)) or "-1", ", ".join(sides.key_names)
        # in order, so that those looked at together are neighbours in the source
        self.workspace.execute(
            f"CREATE OR REPLACE TEMP TABLE changed AS SELECT segment, {names} FROM touched_keys "
            f"WHERE segment NOT IN ({due}) ORDER BY {names}"
        )
        if not count(self.workspace, "SELECT count(*) FROM changed"):
            return has_others
        assert self.spending is not None
        relation = partial(self._base_relation, of_changes=True)
        self.look = look_at_changed(self.workspace, snapshot, sides, relation, self.spending)
        return bool(count(self.workspace, "SELECT count(*) FROM suspects"))

    def _load_base(self) -> None:
        if self.since is None or self.sides is None or self.subject is None or self.subject.base is None:
            FullRun._load_base(self)
            return
        listed = ", ".join(map(str, self.since.due)) or "-1"
        drilled = count(self.workspace, f"SELECT count(*) FROM suspects WHERE segment IN ({listed})")
        relation = self._base_relation(of_changes=not drilled)
        load_base_rows(self.workspace, replace(self.view, relation=relation, tombstones=None), self.key)

    def _base_relation(self, *, of_changes: bool) -> str:
        """Return base's live rows without the files that have none of the keys; see ``restricted_sql``."""
        assert self.sides is not None
        assert self.since is not None
        assert self.subject is not None
        assert self.subject.base is not None
        return restricted_sql(
            self.workspace, self.sides, self.subject.base, self.since.delta, of_changes=of_changes
        )

    def _result(self, found: Findings, number: int, carried: Carried | None) -> SegmentResult:
        if self.since is None or self.sides is None or number in self.since.due:
            return FullRun._result(self, found, number, carried)
        if found.looked_up and not self.counts:
            self.counts = count_keys(self.workspace)
        equal = self.look.equal.get(number, KeyCounts())
        proofs = self.since.proofs
        standing = Standing(
            base_rows=proofs.rows.get(number, 0) + self.since.gained.get(number, 0),
            keys=equal + self.counts.get(number, KeyCounts()),
            waiting=found.changed.get(number, 0),
            left_over="; ".join(self._reasons(number)),
            keys_left=self.look.keys_left.get(number, 0) + self.left.get(number, 0),
        )
        return judge_proven(self.sides, number, proofs.segments[number], standing, found.judgement)

    def _reasons(self, number: int) -> list[str]:
        """Return why changed keys of a segment were not compared."""
        reasons = [self.look.left_over] if number in self.look.keys_left else []
        if number in self.left:
            keys = counted(self.left[number], "changed key")
            reasons.append(f"the budget of time was spent before {keys} that may differ could be looked up")
        return reasons

    def _keep_proofs(self, sides: Sides, found: Findings, segments: Sequence[SegmentResult]) -> None:
        assert self.ledger is not None
        if self.since is None:
            FullRun._keep_proofs(self, sides, found, segments)
        elif not (self.look.left_over or self.left or found.scan.unread):
            carried = {one.number for one in segments} - self.since.due
            self.ledger.keep(self.workspace, sides, found, segments, carried)
