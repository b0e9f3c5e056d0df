"""What may be done to a table between two merges without any row of it changing, and how merges are tuned."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from unittest.mock import patch

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction

SOURCE = "histories"

#: Limits below which the few rows of a history would never come: name → module, constant, value.
TUNINGS: dict[str, tuple[str, str, int]] = {
    "load directly": ("direct_load", "LEAST_ROWS", 1),
    "gather tombstones": ("tombstones", "GATHER_AT", 2),
    "consolidate": ("commit", "CONSOLIDATE_EVERY", 1),
    "rewrite manifests": ("row_delta", "MANIFESTS_BEFORE_REWRITE", 2),
    "key ranges": ("candidates", "_IN_FILTER_KEYS", 0),
    "open twice": ("intake", "_KEEP_OPEN", 0),
}


@contextmanager
def tuned(names: Iterable[str]) -> Iterator[None]:
    """Let merges reach for a while what they do at sizes no history has."""
    with ExitStack() as stack:
        for name in names:
            module, constant, value = TUNINGS[name]
            found = importlib.import_module(f"cdc_platform.lake.{module}")
            stack.enter_context(patch.object(found, constant, value))
        yield


def without_statistics(lake: Lake, table: TableConfig) -> None:
    """Let later data files have no statistics."""
    _set_metrics(lake, table, "none")


def short_statistics(lake: Lake, table: TableConfig) -> None:
    """Let the bounds of later data files be cut after a character."""
    _set_metrics(lake, table, "truncate(1)")


def _set_metrics(lake: Lake, table: TableConfig, mode: str) -> None:
    base = lake.load(SOURCE, table.id)
    if base is not None:
        names = [name for name in base.properties if name.startswith("write.metadata.metrics.column.")]
        with base.transaction() as transaction:
            transaction.set_properties({"write.metadata.metrics.default": mode} | dict.fromkeys(names, mode))


def compact(lake: Lake, table: TableConfig) -> None:
    """Rewrite every two files of a partition into one, and every file a row of which is deleted."""
    base = lake.load(SOURCE, table.id)
    if base is not None:
        options = CompactionOptions(min_files=2, min_deleted_rows=1, delete_debt=0.01)
        commit_compaction(lake, plan_compaction(base, options), attempts=2)


AFTERWARDS: dict[str, Callable[[Lake, TableConfig], None]] = {
    "compact": compact,
    "drop statistics": without_statistics,
    "cut statistics": short_statistics,
}
