"""A reader whose source is read already: what is looked up first is looked up in that same snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pyarrow as pa

from cdc_platform.reconcile.sources import ReadPlan, SourceReader, SourceSnapshot


@dataclass(frozen=True, slots=True)
class HeldReader:
    """A reader whose first snapshot is the one that is open already; the next ones are new."""

    reader: SourceReader
    open: list[SourceSnapshot]

    @property
    def snapshot_read(self) -> bool:
        return self.reader.snapshot_read

    def plan(self, schema: str, table: str, key: Sequence[str], base_columns: pa.Schema) -> ReadPlan:
        return self.reader.plan(schema, table, key, base_columns)

    def position(self) -> str:
        return self.reader.position()

    @contextmanager
    def snapshot(self) -> Iterator[SourceSnapshot]:
        if self.open:
            yield self.open.pop()
        else:
            with self.reader.snapshot() as snapshot:
                yield snapshot
