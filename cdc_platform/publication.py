"""Publishing what reconciles: main of a table that holds back is moved to what the newest verdicts prove.

Nothing is remembered for it: what is pending is the table's own history between main and the branch that
merges write, and the verdicts are those recorded. So it may be repeated, by anybody, after any crash.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from cdc_platform.config.tables import Publish
from cdc_platform.errors import StaleCommit
from cdc_platform.lake import summary
from cdc_platform.lake.branch import holds_back, published_id
from cdc_platform.lake.outages import outages
from cdc_platform.lake.publishing import let_go, publish_up_to, unpublished
from cdc_platform.publication_rule import MATCH, Decision, Held, Judged, Pending, decide
from cdc_platform.raw.files import FileKind
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

_ATTEMPTS = 10
_LONGEST_PAUSE_SECONDS = 0.5
#: So many windows are named in a sentence.
_NAMED = 3


@dataclass(frozen=True, slots=True)
class Publication:
    """Where main of a table stands after publishing, or would stand."""

    source: str
    table_id: str
    #: Whether main waits for verdicts; if not it shows every merge.
    holds_back: bool
    #: Where main was before, and is now; None without a table.
    before: int | None = None
    published: int | None = None
    #: The newest snapshot merges have left.
    newest: int | None = None
    #: How many snapshots main was moved over, and how many are still pending.
    moved: int = 0
    pending: int = 0
    held: tuple[Held, ...] = ()
    dry_run: bool = False

    @property
    def is_refused(self) -> bool:
        """Whether main waits because something is wrong, and not only unproven so far."""
        return any(one.is_refused for one in self.held)

    @property
    def sentence(self) -> str:
        """Say where main stands and why it is not moved further."""
        if not self.holds_back:
            return "main shows every merge" if self.newest is not None else "there is no base table yet"
        moved = "would be moved" if self.dry_run else "was moved"
        parts = (
            [f"main {moved} over {counted(self.moved, 'snapshot')} to {self.published}"] if self.moved else []
        )
        if not self.pending:
            return "; ".join([*parts, "nothing is pending"])
        waits = "waits" if self.pending == 1 else "wait"
        parts.append(f"{counted(self.pending, 'snapshot')} {waits} after {self.published}")
        named = [f"{one.window}: {one.reason}" if one.window else one.reason for one in self.held[:_NAMED]]
        more = [f"and {len(self.held) - _NAMED} more"] if len(self.held) > _NAMED else []
        return "; ".join([*parts, *named, *more])


def publish(platform: Platform, source: str, table_id: str, *, dry_run: bool = False) -> Publication:
    """Move main of a table to the newest snapshot that its windows' verdicts prove; ``dry_run`` only looks.

    A table that still holds back though ``cdc.yaml`` does not ask for it any more is published whole.
    Raises MergeError when main is not in the history of the branch merges write, StaleCommit when other
    writers moved first each time.
    """
    lake, where = platform.lake, f"{source}/{table_id}"
    wanted = platform.table(source, table_id).publish is Publish.ON_MATCH
    for attempt in range(1, _ATTEMPTS + 1):
        with outages(where):
            base = lake.load(source, table_id)
            if base is None:
                return Publication(source, table_id, False)
            try:
                return (_publish if wanted else _all)(platform, source, table_id, base, dry_run)
            except StaleCommit:
                if attempt == _ATTEMPTS:
                    raise
        time.sleep(random.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.02 * 2**attempt)))
    raise AssertionError("unreachable")


def _all(platform: Platform, source: str, table_id: str, base: Table, dry_run: bool) -> Publication:
    held, before, newest = holds_back(base), published_id(base), base.metadata.current_snapshot_id
    moved = len(unpublished(base, f"{source}/{table_id}"))
    if held and not dry_run:
        let_go(base, f"{source}/{table_id}")
    return Publication(source, table_id, held, before, newest, newest, moved, dry_run=dry_run)


def _publish(platform: Platform, source: str, table_id: str, base: Table, dry_run: bool) -> Publication:
    before, newest = published_id(base), base.metadata.current_snapshot_id
    if not holds_back(base):
        # the next merge begins the branch
        return Publication(source, table_id, False, before, before, newest)
    snapshots = unpublished(base, f"{source}/{table_id}")
    decision = _decide(platform, source, table_id, base, snapshots)
    target = snapshots[decision.publishable - 1].snapshot_id if decision.publishable else before
    if decision.publishable and target is not None and not dry_run:
        publish_up_to(base, target, f"{source}/{table_id}")
    left = len(snapshots) - decision.publishable
    return Publication(
        source,
        table_id,
        True,
        before,
        target,
        newest,
        decision.publishable,
        left,
        decision.held if left else (),
        dry_run,
    )


def _decide(
    platform: Platform, source: str, table_id: str, base: Table, snapshots: tuple[Snapshot, ...]
) -> Decision:
    from cdc_platform.reconcile.full_result import latest_full
    from cdc_platform.reconcile.verdict_index import read_index

    if not snapshots:
        return Decision(0, ())
    index = read_index(platform.objects(source, table_id))
    verdicts = {
        # what capture may still bring is in no snapshot that waits
        window: _judged(
            MATCH if entry.get("is_equal_so_far") else entry["verdict"],
            entry.get("snapshot_id"),
            entry["run_id"],
        )
        for window, entry in index.items()
    }
    told = latest_full(platform.lake, source, table_id)
    # an export is of the past: only the source itself speaks for what is pending
    is_of_source = told is not None and told["against"] == "source"
    full = _judged(told["verdict"], told["snapshot_id"], told["run_id"]) if told and is_of_source else None
    return decide(list(_pending(platform, source, table_id, base, snapshots)), verdicts, full)


def _judged(verdict: str, snapshot_id: str | None, run_id: str) -> Judged:
    return Judged(verdict, int(snapshot_id) if snapshot_id else None, run_id)


def _pending(
    platform: Platform, source: str, table_id: str, base: Table, snapshots: tuple[Snapshot, ...]
) -> Iterator[Pending]:
    published = published_id(base)
    complete = _complete(base.snapshot_by_id(published) if published is not None else None)
    for snapshot in snapshots:
        windows = set(filter(None, summary.properties_of(snapshot).get(summary.WINDOWS, "").split(",")))
        generation = _complete(snapshot)
        completes = generation > complete
        if completes:
            complete = generation
            windows |= _load_windows(platform, source, table_id, generation)
        yield Pending(snapshot.snapshot_id, frozenset(windows), completes, not summary.is_ours(snapshot))


def _load_windows(platform: Platform, source: str, table_id: str, generation: int) -> set[str]:
    files = platform.accepted(source, table_id).readable
    return {one.window for one in files if one.kind is FileKind.LOAD and one.generation == generation}


def _complete(snapshot: Snapshot | None) -> int:
    return int(summary.properties_of(snapshot).get(summary.GENERATION_COMPLETE, 0))
