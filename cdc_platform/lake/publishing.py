"""Holding main back, moving it, and letting it go: each one commit of the table's metadata.

Each asserts where main and the branch of pending merges stood, so that none is lost beside a writer, and may
be repeated.
"""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.table import Table
from pyiceberg.table.refs import MAIN_BRANCH
from pyiceberg.table.snapshots import Snapshot
from pyiceberg.table.update import AddSnapshotUpdate, RemoveSnapshotRefUpdate, TableUpdate

from cdc_platform.config.tables import Publish, TableConfig
from cdc_platform.errors import CommitOutcomeUnknown, MergeError, StaleCommit
from cdc_platform.lake.branch import (
    PENDING,
    held_back,
    history,
    holds_back,
    moved,
    published_id,
    standing_still,
)
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.moments import check_clock
from cdc_platform.lake.row_delta import empty_snapshot
from cdc_platform.lake.standing import Standing, read_standing


def hold_back(table: Table) -> None:
    """Let merges write a branch of their own, which begins where main ends.

    A table without a snapshot gets an empty one first: something has to be published, and to be asserted.
    Raises StaleCommit when another writer was faster.
    """
    if holds_back(table):
        return
    current = table.current_snapshot()
    if current is not None:
        _commit(table, [moved(PENDING, current.snapshot_id)])
        return
    first = empty_snapshot(table)
    added = AddSnapshotUpdate(snapshot=first)
    _commit(table, [added, moved(MAIN_BRANCH, first.snapshot_id), moved(PENDING, first.snapshot_id)])


def let_go(table: Table, called: str = "") -> None:
    """Publish all there is and end the branch, so that merges write main again.

    ``called`` is how commands name the table, for the mend of an error.
    Raises MergeError when main is not in the branch's history, StaleCommit when another writer was faster.
    """
    if not holds_back(table):
        return
    check_ancestry(table, called)
    head = table.metadata.refs[PENDING].snapshot_id
    _commit(table, [moved(MAIN_BRANCH, head), RemoveSnapshotRefUpdate(ref_name=PENDING)])


def publish_up_to(table: Table, snapshot_id: int, called: str = "") -> None:
    """Move main forward to a snapshot of the branch; nothing happens when it has that already.

    Raises MergeError when main is not in the branch's history, or the snapshot not in it after main, and
    StaleCommit when main or the branch moved since ``table`` was loaded.
    """
    check_ancestry(table, called)
    published = published_id(table)
    main = table.snapshot_by_id(published) if published is not None else None
    if any(one.snapshot_id == snapshot_id for one in history(table, main)):
        return
    if all(one.snapshot_id != snapshot_id for one in held_back(table)):
        what = f"snapshot {snapshot_id} does not follow main on branch {PENDING}"
        raise MergeError(what, where=".".join(table.name()), mend="take one that `cdc inspect` lists")
    _commit(table, [moved(MAIN_BRANCH, snapshot_id)])


def check_ancestry(table: Table, called: str = "") -> None:
    """Raise MergeError unless main is in the history of the branch that merges write."""
    name = called or table.name()[-1]
    published = published_id(table)
    branch = [one.snapshot_id for one in history(table, table.current_snapshot())]
    if not holds_back(table) or published in branch:
        return
    main = table.snapshot_by_id(published) if published is not None else None
    common = next((one.snapshot_id for one in history(table, main) if one.snapshot_id in branch), None)
    mend = (
        f"set both back to the newest snapshot they share and merge again: cdc rollback {name} "
        f"--to-snapshot {common} && cdc apply -t {name}"
        if common is not None
        else "restore the expired snapshots between them, or reload the table"
    )
    what = (
        f"main is at snapshot {published}, which is not in the history of branch {PENDING}: another program "
        "wrote main, or expired snapshots in between, so main cannot be moved forward"
    )
    raise MergeError(what, where=".".join(table.name()), mend=mend)


def unpublished(table: Table, called: str = "") -> tuple[Snapshot, ...]:
    """Return the snapshots main has not, oldest first. Raises MergeError when main is beside the branch."""
    check_ancestry(table, called)
    return tuple(reversed(list(held_back(table))))


def as_declared(lake: Lake, source: str, table: TableConfig, known: Standing) -> Standing:
    """Return where the table stands once it holds back, or not, as ``cdc.yaml`` says.

    Raises what :func:`hold_back` and :func:`let_go` do.
    """
    wanted = table.publish is Publish.ON_MATCH
    if known.base is None or wanted == holds_back(known.base):
        return known
    if wanted:
        hold_back(known.base)
    else:
        let_go(known.base, f"{source}/{table.id}")
    return read_standing(lake, source, table.id)


def _commit(table: Table, updates: Sequence[TableUpdate]) -> None:
    where = ".".join(table.name())
    check_clock(table.metadata, where)
    try:
        table._do_commit(tuple(updates), standing_still(table))
    except (CommitFailedException, ValidationException) as e:
        raise StaleCommit(
            "another writer moved main or its branch meanwhile", where=where, mend="run it again"
        ) from e
    except Exception as e:
        what = f"the catalog did not say whether main or its branch was moved ({type(e).__name__}: {e})"
        raise CommitOutcomeUnknown(
            what, where=where, mend="run it again: what is done is not done twice"
        ) from e
