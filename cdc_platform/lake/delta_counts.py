"""The standard counts of a snapshot's summary; pyiceberg's own collector knows nothing of delete files."""

from __future__ import annotations

from collections.abc import Sequence

from pyiceberg.manifest import DataFile, DataFileContent


def delta_counts(
    appended: Sequence[DataFile], deletes: Sequence[DataFile], removed: Sequence[DataFile]
) -> dict[str, str]:
    """Return the standard counts of a row delta; pyiceberg's collector knows nothing of delete files."""
    gone_data = [file for file in removed if file.content == DataFileContent.DATA]
    gone_deletes = [file for file in removed if file.content != DataFileContent.DATA]
    partitions = {(f.spec_id, repr(f.partition)) for f in (*appended, *deletes, *removed)}
    counts = {
        "added-data-files": len(appended),
        "added-records": sum(file.record_count for file in appended),
        "added-files-size": sum(file.file_size_in_bytes for file in (*appended, *deletes)),
        "deleted-data-files": len(gone_data),
        "deleted-records": sum(file.record_count for file in gone_data),
        "removed-files-size": sum(file.file_size_in_bytes for file in removed),
        "added-delete-files": len(deletes),
        "added-position-delete-files": len(deletes),
        "added-position-deletes": sum(file.record_count for file in deletes),
        "removed-delete-files": len(gone_deletes),
        "removed-position-delete-files": len(gone_deletes),
        "removed-position-deletes": sum(file.record_count for file in gone_deletes),
        "changed-partition-count": len(partitions),
    }
    return {name: str(count) for name, count in counts.items() if count}
