"""What may be done to a table between two merges without any row of it changing, and how merges are tuned."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from unittest.mock import patch

from cdc_platform.config.maintenance import CompactionOptions
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.key_lookup import KeyLookup
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction

SOURCE = "histories"

#: Ways of large tables that the few rows of a history take none of: name → (module, constant, value)…
TUNINGS: dict[str, tuple[tuple[str, str, int], ...]] = {
    "load directly": (("direct_load", "LEAST_ROWS", 1),),
    "gather tombstones": (("tombstones", "GATHER_AT", 2),),
    "consolidate": (("commit", "CONSOLIDATE_EVERY", 1),),
    "rewrite manifests": (("row_delta", "MANIFESTS_BEFORE_REWRITE", 2),),
    "key ranges": (("candidates", "_IN_FILTER_KEYS", 0),),
    "open twice": (("intake", "_KEEP_OPEN", 0),),
    "index keys": (
        ("key_search", "LEAST_ROWS", 0),
        ("key_lookup", "LEAST_ROWS", 0),
        ("key_lookup", "ROWS_PER_KEY", 0),
        ("key_lookup", "ROWS_PER_WHOLE_NUMBER", 0),
        ("key_lookup", "ROWS_PER_KEY_TO_BUILD", 0),
    ),
    "search in order": (("key_search", "LEAST_ROWS", 0),),
    #: Takes effect with indexes only: every two keys have one hash.
    "let hashes collide": (),
}


@contextmanager
def tuned(names: Iterable[str]) -> Iterator[None]:
    """Let merges do for a while what they do at sizes no history has."""
    with ExitStack() as stack:
        for name in names:
            for module, constant, value in TUNINGS[name]:
                found = importlib.import_module(f"cdc_platform.lake.{module}")
                stack.enter_context(patch.object(found, constant, value))
        if "let hashes collide" in names:
            stack.enter_context(patch.object(KeyLookup, "_hash_sql", _colliding(KeyLookup._hash_sql)))
        yield


def _colliding(hash_sql: Callable[[KeyLookup], str]) -> Callable[[KeyLookup], str]:
    return lambda lookup: f"({hash_sql(lookup)} % 2::UBIGINT)"


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


def lose_indexes(lake: Lake, table: TableConfig) -> None:
    """Remove every other key index."""
    for path in _indexes(lake)[::2]:
        path.unlink()


def damage_indexes(lake: Lake, table: TableConfig) -> None:
    """Cut every third key index short, and turn some bytes round in the others."""
    for number, path in enumerate(_indexes(lake)):
        content = bytearray(path.read_bytes())
        if number % 3 == 0:
            content = content[: len(content) * 2 // 3]
        else:
            for place in range(number % 3 * 97, len(content), 1009):
                content[place] ^= 0x55
        path.write_bytes(bytes(content))


def _indexes(lake: Lake) -> list[Path]:
    folder = lake.index_folder().path
    return sorted(folder.glob("*.keys")) if folder.exists() else []


AFTERWARDS: dict[str, Callable[[Lake, TableConfig], None]] = {
    "compact": compact,
    "lose indexes": lose_indexes,
    "damage indexes": damage_indexes,
    "drop statistics": without_statistics,
    "cut statistics": short_statistics,
}
