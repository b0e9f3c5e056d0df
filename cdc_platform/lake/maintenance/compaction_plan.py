"""Which data files of a table are rewritten, and in which groups; nothing is read but the manifests.

In each partition these files are due: those with too large a share of deleted rows, and small ones once
there are enough of them. Small files are gathered by size, the smallest first, so that a row is rewritten a
few times in its life, not in each compaction, and no more than a few small files ever stay. What is due is
packed in the order of the sort key into groups of bounded size, one snapshot each.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from pyiceberg.table import Table

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.lake.base_files import BaseFile, bounds, target_size
from cdc_platform.lake.live_rows import LiveFiles, live_files

_MB = 1024 * 1024
#: Small files are of one tier while none is this many times the size of another.
_TIER = 8
_SMALLEST_TIER = 64 * 1024


@dataclass(frozen=True, slots=True)
class Group:
    """Files of one partition that are rewritten in one snapshot."""

    files: tuple[BaseFile, ...]

    @property
    def bytes(self) -> int:
        """Size of the data files."""
        return sum(file.data.file_size_in_bytes for file in self.files)

    @property
    def rows(self) -> int:
        """Rows of the data files, deleted ones included."""
        return sum(file.data.record_count for file in self.files)

    @property
    def deleted(self) -> int:
        """Deleted rows, by the count of the delete files."""
        return sum(map(deleted_rows, self.files))


@dataclass(frozen=True, slots=True)
class CompactionPlan:
    """What a compaction of one snapshot rewrites."""

    table: Table
    live: LiveFiles
    groups: tuple[Group, ...]


def plan_compaction(
    table: Table, options: CompactionOptions, *, most_bytes: int | None = None
) -> CompactionPlan:
    """Choose the files of the current snapshot that are due, at most ``most_bytes`` of them.

    Raises MergeError when the table has delete files of a kind only other engines read.
    """
    live = live_files(table)
    partitions: dict[Any, list[BaseFile]] = defaultdict(list)
    for file in live.files:
        partitions[file.data.spec_id, repr(file.data.partition)].append(file)
    target = target_size(table)
    groups = [
        group
        for files in partitions.values()
        for group in _groups(table, _due(files, target, options), options)
    ]
    if most_bytes is not None:
        groups = list(_affordable(groups, most_bytes))
    return CompactionPlan(table, live, tuple(groups))


def deleted_rows(file: BaseFile) -> int:
    """Return how many rows of a file its delete files name; too many when they name others' as well."""
    return min(sum(delete.record_count for delete in file.deletes), file.data.record_count)


def is_small(file: BaseFile, target: int, options: CompactionOptions) -> bool:
    """Whether a file is small beside the table's target size."""
    return file.data.file_size_in_bytes < target * options.small_file_share


def is_in_debt(file: BaseFile, options: CompactionOptions) -> bool:
    """Whether too large a share of a file's rows is deleted."""
    deleted = deleted_rows(file)
    least = min(options.min_deleted_rows, file.data.record_count)
    return deleted >= max(least, options.delete_debt * file.data.record_count)


def _due(files: Sequence[BaseFile], target: int, options: CompactionOptions) -> list[BaseFile]:
    """Return the files of a partition that are due."""
    small = [file for file in files if is_small(file, target, options)]
    in_debt = [file for file in files if is_in_debt(file, options)]
    if in_debt:
        # The partition is rewritten anyway: what is small goes along.
        others = {file.index for file in in_debt}
        return [*in_debt, *(file for file in small if file.index not in others)]
    return _lowest_tiers(small, options)


def _lowest_tiers(small: Sequence[BaseFile], options: CompactionOptions) -> list[BaseFile]:
    if len(small) < options.min_files:
        return []
    for tier in count():
        chosen = [file for file in small if file.data.file_size_in_bytes < _SMALLEST_TIER * _TIER**tier]
        if len(chosen) >= options.min_files:
            return chosen
    raise AssertionError("unreachable")


def _groups(table: Table, due: Sequence[BaseFile], options: CompactionOptions) -> Iterable[Group]:
    """Pack files in the order of the sort key; a group of one file without deletes would change nothing."""
    packed: list[BaseFile] = []
    size = 0
    for file in sorted(due, key=lambda file: _sort_key(table, file)):
        if packed and size + file.data.file_size_in_bytes > options.group_mb * _MB:
            yield from _worthwhile(packed)
            packed, size = [], 0
        packed.append(file)
        size += file.data.file_size_in_bytes
    yield from _worthwhile(packed)


def _worthwhile(files: list[BaseFile]) -> Iterable[Group]:
    if len(files) > 1 or any(file.deletes for file in files):
        yield Group(tuple(files))


def _sort_key(table: Table, file: BaseFile) -> tuple[bool, Any, str]:
    columns = sort_columns(table)
    lowest = bounds(file, table.schema(), columns[0])[0] if columns else None
    return lowest is None, lowest if lowest is not None else 0, file.data.file_path


def sort_columns(table: Table) -> list[str]:
    """Return the columns the table is sorted by: its merge key."""
    return [table.schema().find_column_name(field.source_id) or "" for field in table.sort_order().fields]


def _affordable(groups: Sequence[Group], most_bytes: int) -> Iterable[Group]:
    for group in sorted(groups, key=lambda group: group.bytes):
        most_bytes -= group.bytes
        if most_bytes < 0:
            return
        yield group
