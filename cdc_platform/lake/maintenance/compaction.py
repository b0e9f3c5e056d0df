"""Compaction: groups of data files rewritten without their deleted rows, one snapshot a group.

Each group proves, before it is offered, that the written files hold the rows that were read. A merge that
commits meanwhile does not undo the work: what it deleted in the group's files is deleted in the new ones by
the rows' old places, and the same files are offered again on top of it. Only a group whose files another
writer rewrote, or that loses every attempt, is skipped and its files removed. What was committed stays: the
next run goes on from there.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace

import duckdb
from pyiceberg.table import Table

from cdc_platform.errors import StaleCommit
from cdc_platform.lake import summary
from cdc_platform.lake.applied import record_path
from cdc_platform.lake.branch import reloaded
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.live_rows import live_files
from cdc_platform.lake.maintenance.compaction_plan import CompactionPlan, Group
from cdc_platform.lake.maintenance.rewrite import Rewrite, rewrite
from cdc_platform.lake.read import open_workspace
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta

COMPACTION = "compaction"


@dataclass(frozen=True, slots=True)
class GroupResult:
    """What became of one group; ``skipped`` says why nothing was committed."""

    files_before: int
    files_after: int
    bytes_before: int
    bytes_after: int
    rows: int
    deleted_rows: int
    #: The sum of the rows' hashes, the same before and after.
    hash_sum: int
    snapshot_id: int | None
    attempts: int
    seconds: float
    skipped: str | None = None

    @classmethod
    def expected(cls, group: Group) -> GroupResult:
        """Return what a dry run knows of ``group``: its files, not what they become."""
        live = group.rows - group.deleted
        return cls(len(group.files), 0, group.bytes, 0, live, group.deleted, 0, None, 0, 0.0)


def commit_compaction(
    lake: Lake, plan: CompactionPlan, *, attempts: int, each: Callable[[GroupResult], None] = lambda _: None
) -> tuple[GroupResult, ...]:
    """Rewrite the groups of ``plan``, one snapshot each; ``each`` is told of every group that is done.

    Raises MergeError when a proof fails (that group is not committed, the ones before it are), and
    CommitOutcomeUnknown when a snapshot may exist and nobody can say.
    """
    results = []
    for group in plan.groups:
        con = open_workspace(lake)
        try:
            result = _Compaction(con, plan, group).run(attempts)
        finally:
            con.close()
        results.append(result)
        each(result)
    return tuple(results)


class _Overtaken(Exception):
    """Another writer rewrote or removed files of the group."""


class _Compaction:
    """The rewrite of one group, and its way into the table."""

    def __init__(self, con: duckdb.DuckDBPyConnection, plan: CompactionPlan, group: Group) -> None:
        self._con = con
        self._plan = plan
        self._group = group
        #: Whether the catalog was asked to commit: the files may be in the table from then on.
        self._is_offered = False

    def run(self, attempts: int) -> GroupResult:
        started = time.perf_counter()
        written = rewrite(self._con, self._plan.table, self._plan.live, self._group)
        result = self._result(written)
        try:
            committed, attempt = self._offer(written, attempts)
        except _Overtaken as e:
            written.remove(self._plan.table)
            return replace(result, skipped=str(e), seconds=time.perf_counter() - started)
        except BaseException:
            if not self._is_offered:
                written.remove(self._plan.table)
            raise
        seconds = time.perf_counter() - started
        return replace(result, snapshot_id=committed, attempts=attempt, seconds=seconds)

    def _offer(self, written: Rewrite, attempts: int) -> tuple[int, int]:
        """Commit what is written on the table as it stands now; return the snapshot and the attempts."""
        for attempt in range(1, attempts + 1):
            table = reloaded(self._plan.table)
            delta = self._delta(written, table)
            self._is_offered = False
            try:
                return commit_row_delta(table.transaction(), table, delta, offering=self._offered), attempt
            except StaleCommit:
                self._is_offered = False
        raise _Overtaken(f"other writers committed first, {attempts} times")

    def _offered(self) -> None:
        self._is_offered = True

    def _delta(self, written: Rewrite, table: Table) -> RowDelta:
        """Return the delta that replaces the group's files in ``table``, with what was deleted since."""
        files = {file.data.file_path: file for file in live_files(table).files}
        now = []
        for file in self._group.files:
            if file.data.file_path not in files:
                raise _Overtaken(f"another writer removed {file.data.file_path}")
            now.append(replace(files[file.data.file_path], index=file.index))
        is_same = all(
            {d.file_path for d in mine.deletes} == {d.file_path for d in theirs.deletes}
            for mine, theirs in zip(self._group.files, now, strict=True)
        )
        deletes = () if is_same else tuple(written.deletes_of(self._con, now, table))
        old = {file.data.file_path for file in now}
        others = {d.file_path for path, file in files.items() if path not in old for d in file.deletes}
        useless = {d.file_path for file in now for d in file.deletes} - others
        return RowDelta(
            appended=written.files,
            deletes=deletes,
            removed=frozenset(old | useless),
            properties=_properties(table, written),
            is_replacement=True,
        )

    def _result(self, written: Rewrite) -> GroupResult:
        group = self._group
        return GroupResult(
            files_before=len(group.files),
            files_after=len(written.files),
            bytes_before=group.bytes,
            bytes_after=sum(file.file_size_in_bytes for file in written.files),
            rows=written.proof.rows,
            deleted_rows=group.rows - written.proof.rows,
            hash_sum=written.proof.hash_sum,
            snapshot_id=None,
            attempts=0,
            seconds=0.0,
        )


def _properties(table: Table, written: Rewrite) -> dict[str, str]:
    """Return the summary: what was done, its proof, and what the record of applied files needs."""
    parent = summary.properties_of(table.current_snapshot())
    path = record_path(table)
    return {
        **{name: parent[name] for name in summary.INHERITED if name in parent},
        **({summary.BATCH_MANIFEST: path} if path is not None else {}),
        summary.MAINTENANCE: COMPACTION,
        summary.MAINTENANCE_ID: str(uuid.uuid4()),
        summary.PROOF_ROWS: str(written.proof.rows),
        summary.PROOF_HASH_SUM: str(written.proof.hash_sum),
    }
