"""One Iceberg snapshot that appends data files and adds position deletes, which pyiceberg 0.12 cannot.

This module leans on how pyiceberg 0.12 works inside, as :mod:`cdc_platform.lake.sql_catalog` does: what a
transaction has staged, :meth:`Table._do_commit`, a manifest writer whose content is DELETES. The conformance
tests read its result through pyiceberg, DuckDB and Spark and so hold these names; its version is pinned.

The commit is optimistic: it asserts that the branch still ends at the snapshot the delta was planned on.
Another writer's commit makes it :class:`StaleCommit` (nothing happened, the delta's own metadata files are
removed); any other failure is :class:`CommitOutcomeUnknown` (no file is removed: the snapshot may exist).
"""

from __future__ import annotations

import itertools
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.io import FileIO
from pyiceberg.manifest import (
    DataFile,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    ManifestFile,
    ManifestWriter,
    write_manifest_list,
)
from pyiceberg.partitioning import PartitionSpec
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Operation, Snapshot, Summary, update_snapshot_summaries

from cdc_platform.errors import CommitOutcomeUnknown, MergeError, StaleCommit
from cdc_platform.lake.branch import adding, write_branch
from cdc_platform.lake.delta_counts import delta_counts
from cdc_platform.lake.manifest_writers import DataManifestWriter, DeleteManifestWriter
from cdc_platform.lake.moments import moment_after
from cdc_platform.lake.outcome import Outcome, outcome_of

#: The kind of a manifest and the partition spec of its files.
_Group = tuple[ManifestContent, int]
#: Entries of manifests to be written anew, and whether each goes.
_Entries = dict[_Group, list[tuple[ManifestEntry, bool]]]
#: Small manifests of one kind and spec are gathered into one when there are this many of them.
MANIFESTS_BEFORE_REWRITE = 8
#: A manifest of so many files is not small: it is left as it is until one of its files goes.
_FULL_MANIFEST = 2_000


@dataclass(frozen=True, slots=True)
class RowDelta:
    """What one snapshot changes: files by their place in the table, never by predicate."""

    appended: tuple[DataFile, ...] = ()
    #: New position-delete files, each of one data file.
    deletes: tuple[DataFile, ...] = ()
    #: Paths of data files no row of which remains, and of delete files that are replaced or useless.
    removed: frozenset[str] = frozenset()
    #: Summary properties of ours.
    properties: Mapping[str, str] = field(default_factory=dict)
    #: Properties of the table to set in the same commit.
    table_properties: Mapping[str, str] = field(default_factory=dict)
    #: Whether the rows stay as they are and only the files that hold them change.
    is_replacement: bool = False


def commit_row_delta(
    transaction: Transaction,
    table: Table,
    delta: RowDelta,
    *,
    metadata: TableMetadata | None = None,
    offering: Callable[[], None] = lambda: None,
) -> int:
    """Commit ``delta`` and whatever ``transaction`` already staged as one snapshot; return the snapshot's id.

    ``metadata`` is the transaction's, which it works out anew, in time that grows with the table's snapshots,
    whenever it is asked; without it ``transaction`` has nothing staged.
    Raises StaleCommit when the table moved since ``table`` was loaded: the snapshot certainly does not exist.
    Raises CommitOutcomeUnknown when neither the catalog nor the table's history tells. ``offering`` is called
    before the catalog is: whatever else is raised after it, the files of ``delta`` may be in the table.
    """
    where = ".".join(table.name())
    _check_format(table, where)
    producer = _Snapshot(metadata or table.metadata, table, delta)
    try:
        snapshot = producer.write()
    except BaseException:
        producer.discard()
        raise
    updates, requirements = adding(table, snapshot, delta.table_properties)
    offering()
    try:
        # As the transaction's own commit would, which works the metadata out again for each requirement.
        table._do_commit((*transaction._updates, *updates), (*transaction._requirements, *requirements))
    except Exception as e:
        outcome = outcome_of(table, snapshot)
        if outcome is Outcome.COMMITTED:
            return snapshot.snapshot_id
        if isinstance(e, CommitFailedException | ValidationException) and outcome is Outcome.ABSENT:
            producer.discard()
            raise StaleCommit(
                "another writer committed first", where=where, mend="nothing: the merge plans again"
            ) from e
        # Anything but a refusal may still land after this look.
        raise CommitOutcomeUnknown(
            f"the catalog did not say whether snapshot {snapshot.snapshot_id} was committed "
            f"({type(e).__name__}: {e})",
            where=where,
            mend="the merge looks for its batch id before it acts; if this persists, check the catalog",
        ) from e
    return snapshot.snapshot_id


def empty_snapshot(table: Table) -> Snapshot:
    """Write a snapshot without a row for a table that has none, and return it; it is not committed."""
    return _Snapshot(table.metadata, table, RowDelta()).write()


def _check_format(table: Table, where: str) -> None:
    if table.metadata.format_version != 2:
        raise MergeError(
            f"format version {table.metadata.format_version} cannot be merged into",
            where=where,
            mend="recreate the table as format version 2",
        )


class _Snapshot:
    """Writes the manifests and the manifest list of one row delta."""

    def __init__(self, metadata: TableMetadata, table: Table, delta: RowDelta) -> None:
        self._metadata = metadata
        self._io: FileIO = table.io
        self._locations = table.location_provider()
        self._delta = delta
        self._parent = self._metadata.snapshot_by_name(write_branch(table.metadata))
        self._id = self._metadata.new_snapshot_id()
        self._uuid = uuid.uuid4()
        self._counter = itertools.count()
        self._written: list[str] = []
        self._removed: list[DataFile] = []
        self._missing = set(delta.removed)

    def write(self) -> Snapshot:
        """Write all metadata files but the table's own and return the snapshot."""
        kept, gathered = self._kept()
        manifests = [*self._written_anew(gathered), *kept]
        sequence_number = self._metadata.next_sequence_number()
        path = self._new_path(f"snap-{self._id}-0-{self._uuid}.avro")
        parent_id = self._parent.snapshot_id if self._parent else None
        with write_manifest_list(
            format_version=2,
            output_file=self._io.new_output(path),
            snapshot_id=self._id,
            parent_snapshot_id=parent_id,
            sequence_number=sequence_number,
            avro_compression="deflate",
        ) as writer:
            writer.add_manifests(manifests)
        return Snapshot(
            snapshot_id=self._id,
            parent_snapshot_id=parent_id,
            manifest_list=path,
            sequence_number=sequence_number,
            timestamp_ms=moment_after(self._metadata),
            summary=self._summary(),
            schema_id=self._metadata.current_schema_id,
        )

    def discard(self) -> None:
        """Remove what :meth:`write` wrote. Only for a snapshot that certainly does not exist."""
        for path in self._written:
            # what cannot be removed now is an orphan, which the clean-up finds
            with suppress(Exception):
                self._io.delete(path)

    def _new_path(self, name: str) -> str:
        path = self._locations.new_metadata_location(name)
        self._written.append(path)
        return path

    def _writer(self, content: ManifestContent, spec: PartitionSpec) -> ManifestWriter:
        output = self._io.new_output(self._new_path(f"{self._uuid}-m{next(self._counter)}.avro"))
        kind = DeleteManifestWriter if content == ManifestContent.DELETES else DataManifestWriter
        return kind(spec, self._metadata.schema(), output, self._id, "deflate")

    def _written_anew(self, gathered: _Entries) -> Iterator[ManifestFile]:
        """Write manifests of the files added, each with what is gathered of others of its kind and spec."""
        added: dict[_Group, list[DataFile]] = defaultdict(list)
        for file in self._delta.appended:
            added[ManifestContent.DATA, file.spec_id].append(file)
        for file in self._delta.deletes:
            added[ManifestContent.DELETES, file.spec_id].append(file)
        for group in [*added, *(group for group in gathered if group not in added)]:
            files, entries = added.get(group, []), gathered.get(group, [])
            for start in range(0, max(len(entries), 1), _FULL_MANIFEST):
                yield self._manifest(
                    group, files if not start else [], entries[start : start + _FULL_MANIFEST]
                )

    def _manifest(
        self, group: _Group, added: Sequence[DataFile], entries: Sequence[tuple[ManifestEntry, bool]]
    ) -> ManifestFile:
        content, spec_id = group
        with self._writer(content, self._metadata.specs()[spec_id]) as writer:
            for file in added:
                writer.add(ManifestEntry.from_args(status=ManifestEntryStatus.ADDED, data_file=file))
            for entry, gone in entries:
                if gone:
                    self._removed.append(entry.data_file)
                    writer.delete(entry)
                else:
                    writer.existing(entry)
        return writer.to_manifest_file()

    def _kept(self) -> tuple[list[ManifestFile], _Entries]:
        """Return the parent's manifests that stay, and the entries of those to be written anew."""
        if self._parent is None:
            return [], {}
        live = [m for m in self._parent.manifests(self._io) if m.has_added_files() or m.has_existing_files()]
        kept: list[ManifestFile] = []
        gathered: _Entries = {}
        groups: dict[_Group, list[ManifestFile]] = defaultdict(list)
        for manifest in live:
            groups[manifest.content, manifest.partition_spec_id].append(manifest)
        # Mostly it is delete files that go: once all are found, the manifests of data files stay unread.
        for group in sorted(groups, key=lambda group: group[0] != ManifestContent.DELETES):
            stay, entries = self._gathered(groups[group])
            kept += stay
            if entries:
                gathered[group] = entries
        if self._missing:
            raise StaleCommit(f"{len(self._missing)} files to remove are gone: {min(self._missing)}")
        return kept, gathered

    def _gathered(
        self, manifests: list[ManifestFile]
    ) -> tuple[list[ManifestFile], list[tuple[ManifestEntry, bool]]]:
        """Return the manifests that need no change, and the entries of the others with whether they go."""
        counts = [(m.manifest_path, m.added_files_count or 0, m.existing_files_count or 0) for m in manifests]
        small = {path for path, added, existing in counts if added + existing < _FULL_MANIFEST}
        gather = small if len(small) >= MANIFESTS_BEFORE_REWRITE else set()
        kept: list[ManifestFile] = []
        gathered: list[tuple[ManifestEntry, bool]] = []
        for manifest in manifests:
            is_gathered = manifest.manifest_path in gather
            if not (is_gathered or self._missing):
                kept.append(manifest)
                continue
            entries = manifest.fetch_manifest_entry(self._io, discard_deleted=True)
            marked = [(entry, entry.data_file.file_path in self._delta.removed) for entry in entries]
            self._missing -= {entry.data_file.file_path for entry, gone in marked if gone}
            if is_gathered or any(gone for _, gone in marked):
                gathered += marked
            else:
                kept.append(manifest)
        return kept, gathered

    def _summary(self) -> Summary:
        counts = delta_counts(self._delta.appended, self._delta.deletes, self._removed)
        operation = Operation.OVERWRITE if self._delta.deletes or self._removed else Operation.APPEND
        parent = self._parent.summary if self._parent else None
        summary = update_snapshot_summaries(
            Summary(operation=operation, **counts, **dict(self._delta.properties)),
            previous_summary=parent if parent is not None else None,
        )
        if self._delta.is_replacement:
            # pyiceberg counts no totals for this operation, so they are counted first.
            return Summary(operation=Operation.REPLACE, **summary.additional_properties)
        return summary
