"""Carrying out a merge plan: files first, then one snapshot that names them all.

Until the snapshot exists nothing a reader sees has changed. If the commit certainly failed, every file the
plan wrote is removed again; once the snapshot was offered and nothing proves that it does not exist (the
outcome is unknown, the process is interrupted), none is.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from threading import Event

import duckdb
import pyarrow as pa
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata

from cdc_platform.errors import StaleCommit, StorageUnavailable
from cdc_platform.lake import summary
from cdc_platform.lake.applied import (
    CONSOLIDATE_EVERY,
    AppliedFile,
    BatchManifest,
    manifest_objects,
    manifest_path,
    write_manifest_object,
)
from cdc_platform.lake.data_files import DataFileWriter, write_position_deletes
from cdc_platform.lake.declared import changed_declaration
from cdc_platform.lake.gone_rows import gone_positions
from cdc_platform.lake.inputs import MergeInput
from cdc_platform.lake.merge_plan import MergePlan
from cdc_platform.lake.quarantine import mark_replayed
from cdc_platform.lake.quarantine import record as record_items
from cdc_platform.lake.read_ahead import after, read_ahead, telling_end
from cdc_platform.lake.result import MergeResult
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta
from cdc_platform.lake.rows_to_write import parts_to_write, rows_to_write
from cdc_platform.lake.schema import new_table
from cdc_platform.lake.tombstones import Horizon, TombstoneFiles, tombstone_objects
from cdc_platform.lake.written import Written


def commit_merge(plan: MergePlan) -> MergeResult:
    """Carry ``plan`` out in one snapshot, or in none when there is nothing to record.

    Raises StaleCommit when another writer was faster (nothing has changed) and CommitOutcomeUnknown when
    neither the catalog nor the table tells whether the snapshot exists.
    """
    record_items(plan.objects, plan.quarantined)
    mark_replayed(plan.objects, plan.selection.settled)
    if not plan.has_record:
        return _result(plan, None, {})
    written = Written()
    try:
        snapshot_id, laps = _Commit(plan, written).run()
    except BaseException as e:
        if not written.is_offered or isinstance(e, StaleCommit):
            written.remove(plan)
        raise
    started = time.perf_counter()
    plan.rows.build_indexes()
    laps["index"] = time.perf_counter() - started
    with suppress(StorageUnavailable):
        # the snapshot records the replay: the next merge closes what this one could not
        mark_replayed(plan.objects, plan.intake.replayed)
    return _result(plan, snapshot_id, laps)


#: Delete files, and the paths of what they replace or what is wholly gone.
_Deletes = tuple[tuple[DataFile, ...], frozenset[str]]


class _Commit:
    """One attempt to carry a plan out."""

    def __init__(self, plan: MergePlan, written: Written) -> None:
        self._plan = plan
        self._written = written

    def run(self) -> tuple[int, dict[str, float]]:
        """Write the files and commit; return the snapshot's id and the seconds it took."""
        started = time.perf_counter()
        plan = self._plan
        self._written.objects = [*manifest_objects(plan.batch_id), *tombstone_objects(plan.batch_id)]
        table = self._written.table = plan.base or plan.created or self._create()
        transaction, metadata = table.transaction(), table.metadata
        if plan.base is not None and plan.target.is_changed:
            with transaction.update_schema() as update:
                plan.target.evolve(update)
            metadata = transaction.table_metadata
        loaded, rejected = self._loaded(table)
        if plan.is_small:
            tombstones, (deletes, removed) = self._tombstones(plan.con), self._deletes(plan.con, table)
            appended = (*loaded, *self._data_files(table, metadata))
        else:
            rows, (deletes, removed), tombstones = self._side_by_side(table, metadata)
            appended = (*loaded, *rows)
        manifest = self._manifest(tombstones)
        write_manifest_object(plan.objects, manifest, plan.record)
        wrote = time.perf_counter()
        delta = RowDelta(
            appended,
            (*rejected, *deletes),
            removed,
            self._properties(manifest),
            table_properties={
                summary.BATCH_MANIFEST: manifest_path(plan.batch_id),
                **changed_declaration(table, plan.config),
            },
        )
        snapshot_id = commit_row_delta(
            transaction, table, delta, metadata=metadata, offering=self._written.offer
        )
        return snapshot_id, {"write": wrote - started, "commit": time.perf_counter() - wrote}

    def _side_by_side(
        self, table: Table, metadata: TableMetadata
    ) -> tuple[list[DataFile], _Deletes, TombstoneFiles]:
        """Write what does not depend on each other side by side, first the rows, which take longest."""
        parts = parts_to_write(self._plan, metadata, self._plan.lake.config.engine.threads)
        gathered = Event()
        with (
            ThreadPoolExecutor(len(parts) + 2) as threads,
            self._cursor() as one,
            self._cursor() as other,
        ):
            written = [threads.submit(self._part, table, metadata, part) for part in parts]
            buried = threads.submit(after, gathered, lambda: self._tombstones(one))
            hidden = threads.submit(after, gathered, lambda: self._deletes(other, table))
            try:
                rows = [] if parts else list(self._data_files(table, metadata, gathered))
            finally:
                gathered.set()
            rows += [file for part in written for file in part.result()]
            return rows, hidden.result(), buried.result()

    def _create(self) -> Table:
        plan = self._plan
        return new_table(plan.lake, plan.source, plan.config, plan.target, where=plan.where)

    def _loaded(self, table: Table) -> tuple[list[DataFile], list[DataFile]]:
        """Take over what was written ahead: data files, and delete files of the rows that did not make it."""
        direct = self._plan.direct
        return direct.data_files(table, self._written.files) if direct is not None else ([], [])

    def _data_files(
        self, table: Table, metadata: TableMetadata, gathered: Event | None = None
    ) -> Iterator[DataFile]:
        """Write the rows; set ``gathered`` when the last of them is to be written."""
        rows = rows_to_write(self._plan, metadata)
        writer = self._writer(table, metadata)
        yield from writer.write(rows if gathered is None else read_ahead(telling_end(rows, gathered)))

    def _part(self, table: Table, metadata: TableMetadata, rows: Iterator[pa.RecordBatch]) -> list[DataFile]:
        return list(self._writer(table, metadata).write(rows))

    def _writer(self, table: Table, metadata: TableMetadata) -> DataFileWriter:
        """Return a writer whose files are removed when the commit certainly fails."""
        writer = DataFileWriter(metadata, table.io, table.location_provider())
        writer.paths = self._written.files
        return writer

    def _cursor(self) -> closing[duckdb.DuckDBPyConnection]:
        """Return a connection of its own to the workspace, for what runs beside the data files."""
        return closing(self._plan.con.cursor())

    def _tombstones(self, con: duckdb.DuckDBPyConnection) -> TombstoneFiles:
        plan = self._plan
        folded = plan.decision.folded
        rows = plan.decision.tombstones_sql if folded is None else folded.tombstones()
        return plan.tombstones.write(con, plan.batch_id, rows, self._horizon())

    def _deletes(self, con: duckdb.DuckDBPyConnection, table: Table) -> _Deletes:
        """Write one delete file per data file touched, old and new positions together.

        Return them, with the paths of the delete files they replace and of files that are wholly gone.
        """
        deletes: list[DataFile] = []
        removed: set[str] = set()
        for index, positions in gone_positions(con, self._plan.rows.most_deleted):
            file = self._plan.rows.files[index]
            removed.update(file.scoped_deletes)
            if len(positions) == file.data.record_count:
                removed.add(file.data.file_path)
                continue
            delete = write_position_deletes(file.data, positions, table.io)
            self._written.files.append(delete.file_path)
            deletes.append(delete)
        return tuple(deletes), frozenset(removed)

    def _horizon(self) -> Horizon:
        plan = self._plan
        generation = max(plan.completed or 0, plan.record.generation_complete)
        if plan.reach.watermark is None:
            return Horizon(generation, None)
        newest = min(plan.reach.watermark, datetime.now(UTC))
        return Horizon(generation, newest - timedelta(days=plan.config.tombstone_horizon_days))

    def _manifest(self, tombstones: TombstoneFiles) -> BatchManifest:
        plan = self._plan
        record = plan.record
        previous = record.manifest
        depth = previous.depth + 1 if previous else 0
        whole = depth >= CONSOLIDATE_EVERY
        kinds = {str(generation): kind for generation, kind in plan.intake.position_kinds.items()}
        floor = tombstones.floor
        return BatchManifest(
            batch_id=plan.batch_id,
            created_at=datetime.now(UTC).isoformat(timespec="milliseconds"),
            previous=record.path,
            depth=0 if whole else depth,
            files=tuple(self._applied_files()),
            replayed=tuple(item.release for item in plan.intake.replayed),
            consolidated=manifest_objects(plan.batch_id)[1] if whole else None,
            position_kinds={**(previous.position_kinds if previous else {}), **kinds},
            tombstones=tombstones.files,
            tombstone_bounds={
                file: (bound.generation, bound.sequence) for file, bound in tombstones.bounds.items()
            },
            tombstone_floor=(floor.generation, floor.sequence) if floor else None,
            generation_complete=max(plan.completed or 0, record.generation_complete),
            watermark=plan.reach.watermark.isoformat() if plan.reach.watermark else None,
            counts=plan.counts.as_dict(),
        )

    def _applied_files(self) -> Iterator[AppliedFile]:
        for staged in self._plan.intake.staged:
            yield _applied(staged.input, staged.rows, len(staged.rejected))
        for source in self._plan.selection.superseded:
            yield _applied(source, source.accepted.rows, 0)

    def _properties(self, manifest: BatchManifest) -> dict[str, str]:
        plan = self._plan
        windows = sorted({file.window for file in manifest.files})
        low, high = plan.reach.low, plan.reach.high
        values = {
            summary.BATCH_ID: plan.batch_id,
            summary.BATCH_MANIFEST: manifest_path(plan.batch_id),
            summary.WINDOWS: ",".join(windows),
            summary.POSITION_LOW: f"{low.generation}:{low.sequence}" if low else None,
            summary.POSITION_HIGH: f"{high.generation}:{high.sequence}" if high else None,
            summary.POSITION_KIND: ",".join(sorted(set(plan.intake.position_kinds.values()))),
            summary.WATERMARK: manifest.watermark,
            summary.GENERATION_COMPLETE: str(manifest.generation_complete),
            summary.FILES_APPLIED: str(len(manifest.files)),
            summary.FILES_QUARANTINED: str(sum(item.row is None for item in plan.quarantined)),
        }
        counts = {
            f"{summary.COUNT_PREFIX}{name.replace('_', '-')}": str(count)
            for name, count in plan.counts.as_dict().items()
        }
        return {**{name: value for name, value in values.items() if value}, **counts}


def _applied(source: MergeInput, rows: int | None, rejected: int) -> AppliedFile:
    accepted = source.accepted
    return AppliedFile(
        key=accepted.file.key,
        etag=accepted.file.etag,
        kind=accepted.kind.value,
        generation=accepted.generation,
        window=accepted.window,
        rows=rows,
        rejected=rejected,
    )


def _result(plan: MergePlan, snapshot_id: int | None, laps: dict[str, float]) -> MergeResult:
    taken = (*(staged.input for staged in plan.intake.staged), *plan.selection.superseded)
    return MergeResult(
        source=plan.source,
        table_id=plan.config.id,
        batch_id=plan.batch_id,
        snapshot_id=snapshot_id,
        counts=plan.counts,
        files_applied=tuple(source.accepted.file for source in taken),
        files_skipped=plan.selection.skipped,
        files_waiting=len(plan.selection.waiting),
        quarantined=plan.quarantined,
        generation_completed=plan.completed,
        watermark=plan.reach.watermark,
        seconds={**plan.seconds, **laps},
    )
