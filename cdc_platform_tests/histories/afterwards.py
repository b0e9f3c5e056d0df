"""What may be done to a table between two merges, and how merges are tuned.

No row changes by any of it but for a rollback, which says to which snapshot.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from unittest.mock import patch

from cdc_platform.config.maintenance import CompactionOptions, OrphanOptions, SnapshotOptions
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.key_lookup import KeyLookup
from cdc_platform.lake.lineage import snapshot_history
from cdc_platform.lake.maintenance.compaction import commit_compaction
from cdc_platform.lake.maintenance.compaction_plan import plan_compaction
from cdc_platform.lake.maintenance.expiry import commit_expiry, plan_expiry
from cdc_platform.lake.maintenance.orphans import plan_orphans, remove_orphans
from cdc_platform.lake.publishing import publish_up_to, unpublished
from cdc_platform.lake.rollback import commit_rollback, plan_rollback

SOURCE = "histories"
#: Snapshots of its history that an expiry leaves of a table, unless another needs their record.
KEPT_SNAPSHOTS = 2

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
    "no batch is small": (
        ("staging", "FEW_EVENTS", 0),
        ("merge_plan", "FEW_EVENTS", 0),
        ("rules", "FEW_EVENTS", 1_000),
        ("touched_keys", "HELD_KEYS", 0),
    ),
    "fold": (("staging", "FEW_EVENTS", 0), ("merge_plan", "FEW_EVENTS", 0), ("rules", "FEW_EVENTS", 0)),
    #: Takes effect with the fold only.
    "write in parts": (("rows_to_write", "LEAST_ROWS_OF_A_PART", 1),),
    "no dense keys": (("dense_keys", "MOST_PLACES", 0),),
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


def expire(lake: Lake, table: TableConfig) -> None:
    """Leave the newest two snapshots, and what they need; those that were rolled back are old as well."""
    base = lake.load(SOURCE, table.id)
    if base is not None:
        options = SnapshotOptions(max_age_days=1e-9, min_count=KEPT_SNAPSHOTS, max_count=KEPT_SNAPSHOTS)
        commit_expiry(plan_expiry(base, lake.objects(SOURCE, table.id), options))


def clean_up(lake: Lake, table: TableConfig) -> None:
    """Remove every file that nothing names, whatever its age."""
    base = lake.load(SOURCE, table.id)
    if base is not None:
        options = OrphanOptions(min_age_hours=1e-9)
        remove_orphans(plan_orphans(base, lake.objects(SOURCE, table.id), options, force=True))


def roll_back(snapshots: int, lake: Lake, table: TableConfig) -> int | None:
    """Set a table back by so many snapshots, or as far as they are there; return the one it is set to."""
    base = lake.load(SOURCE, table.id)
    earlier = snapshot_history(base)[1 : snapshots + 1] if base is not None else ()
    if base is None or not earlier:
        return None
    commit_rollback(plan_rollback(lake, SOURCE, table.id, earlier[-1], base))
    return earlier[-1].snapshot_id


def publish(lake: Lake, table: TableConfig) -> None:
    """Move main over half of what it has not, or all where that is one snapshot."""
    base = lake.load(SOURCE, table.id)
    waiting = unpublished(base) if base is not None else ()
    if base is not None and waiting:
        publish_up_to(base, waiting[len(waiting) // 2].snapshot_id)


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


AFTERWARDS: dict[str, Callable[[Lake, TableConfig], int | None]] = {
    "compact": compact,
    "lose indexes": lose_indexes,
    "damage indexes": damage_indexes,
    "drop statistics": without_statistics,
    "cut statistics": short_statistics,
    "expire": expire,
    "clean up": clean_up,
    "roll back": partial(roll_back, 1),
    "roll back further": partial(roll_back, 3),
}
#: The turn of tables that hold main back.
PUBLISH = "publish"
#: What may come after a merge.
TURNS = {**AFTERWARDS, PUBLISH: publish}
#: Those for which the table's past is looked at as well.
OF_THE_PAST = ("expire", "clean up", "roll back", "roll back further")
