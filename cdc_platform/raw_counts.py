"""How many rows of each op the raw files of a table hold, counted once per file and remembered.

``counts/<window>.json`` in the table's object store maps a file version to its counts. It is a cache of what
the immutable files say: losing it costs a reading.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.events import OP
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.repairs import is_repair

if TYPE_CHECKING:
    from cdc_platform.lake.inputs import EventFile
    from cdc_platform.pipeline import Platform

FOLDER = "counts/"


@dataclass(frozen=True, slots=True)
class OpCounts:
    """Rows by op, and rows that do not parse."""

    loads: int = 0
    inserts: int = 0
    updates: int = 0
    deletes: int = 0
    rejected: int = 0

    @property
    def rows(self) -> int:
        """Rows that parse."""
        return self.loads + self.inserts + self.updates + self.deletes

    def __iter__(self) -> Iterator[int]:
        return iter((self.loads, self.inserts, self.updates, self.deletes, self.rejected))

    def __add__(self, other: OpCounts) -> OpCounts:
        return OpCounts(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))

    def as_dict(self) -> dict[str, int]:
        """Return every count by name."""
        return asdict(self)


def count_ops(file: EventFile) -> OpCounts:
    """Read ``file`` whole, in batches. Raises RawFileError or SchemaError as reading does."""
    total = OpCounts()
    for batch in file.batches():
        ops = batch.events.column(OP)
        loads, inserts, updates, deletes = (_how_many(ops, op) for op in "LIUD")
        total += OpCounts(loads, inserts, updates, deletes, len(batch.rejected))
    return total


def _how_many(ops: pa.Array[Any], op: str) -> int:
    return int(pc.sum(pc.equal(ops, pa.scalar(op)).cast(pa.int64())).as_py() or 0)


def count_files(
    platform: Platform, source: str, table_id: str, window: str, files: Iterable[AcceptedFile]
) -> dict[tuple[str, str], OpCounts]:
    """Return the counts of a window's ``files`` by (key, ETag), reading those not counted before.

    Raises RawFileError or SchemaError for the first file that cannot be read.
    """
    known = stored_counts(platform, source, table_id, window)
    new = {
        (one.file.key, one.file.etag): count_ops(platform.event_file(source, table_id, one))
        for one in files
        if (one.file.key, one.file.etag) not in known
    }
    if new:
        store_counts(platform, source, table_id, window, new)
    return known | new


def stored_counts(
    platform: Platform, source: str, table_id: str, window: str
) -> dict[tuple[str, str], OpCounts]:
    """Return what was counted of a window before."""
    data = platform.objects(source, table_id).get(_key(window))
    return _parse(data) if data else {}


def store_counts(
    platform: Platform,
    source: str,
    table_id: str,
    window: str,
    counts: Mapping[tuple[str, str], OpCounts],
) -> None:
    """Remember counts of file versions, beside those remembered before."""
    objects = platform.objects(source, table_id)
    while True:
        stored = objects.read(_key(window))
        merged = (_parse(stored.data) if stored else {}) | dict(counts)
        listed = [[key, etag, one.as_dict()] for (key, etag), one in sorted(merged.items())]
        if objects.replace(_key(window), json.dumps(listed).encode(), stored.version if stored else None):
            return


def generation_counts(platform: Platform, source: str, table_id: str) -> OpCounts:
    """Return the totals of the newest generation's readable files, over all windows."""
    accepted = platform.accepted(source, table_id)
    newest = accepted.load_sets.newest()
    generation = newest.generation if newest else 0
    total = OpCounts()
    for manifest in accepted.manifests:
        # what a repair wrote, DMS never counted
        files = [
            one for one in manifest.readable if one.generation == generation and not is_repair(one.file.key)
        ]
        counts = count_files(platform, source, table_id, manifest.window, files)
        for one in files:
            total += counts[one.file.key, one.file.etag]
    return total


def _key(window: str) -> str:
    return f"{FOLDER}{window.replace(':', '_')}.json"


def _parse(data: bytes) -> dict[tuple[str, str], OpCounts]:
    return {(key, etag): OpCounts(**counts) for key, etag, counts in json.loads(data)}
