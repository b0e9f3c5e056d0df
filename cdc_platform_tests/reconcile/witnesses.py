"""Small raw files and base tables for reconciliation tests, made of plain Python rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.events import CONTROL_COLUMNS, EVENT_COLUMNS, Position, before_name
from cdc_platform.raw.files import AcceptedFile, FileKind, RawFile
from cdc_platform.reconcile.base_rows import BaseView, load_base_rows
from cdc_platform.reconcile.raw_base import compare_raw_base
from cdc_platform.reconcile.verdict import Comparison
from cdc_platform.reconcile.window_events import Standing, WindowFile, load_window_events

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Batch:
    events: pa.RecordBatch
    rejected: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Rejected:
    row: int


@dataclass(frozen=True)
class EventsOf:
    """An event file held in memory."""

    schema: pa.Schema
    rows: Sequence[Mapping[str, Any]]
    rejected: tuple[Rejected, ...] = ()

    def batches(self) -> Iterator[Batch]:
        size = max(2, len(self.rows) // 8)
        for start in range(0, len(self.rows), size):
            part = pa.RecordBatch.from_pylist(
                [dict(row) for row in self.rows[start : start + size]], self.schema
            )
            yield Batch(part, self.rejected if start == 0 else ())


def event(
    op: str,
    position: int,
    *,
    generation: int = 0,
    before: Mapping[str, Any] | None = None,
    committed_at: datetime = NOON,
    **columns: Any,
) -> dict[str, Any]:
    """Return one event; ``before`` holds the before image of the key."""
    return {
        "_cdc_op": op,
        "_cdc_generation": generation,
        "_cdc_position": Decimal(position),
        "_cdc_committed_at": committed_at,
        **{before_name(name): value for name, value in (before or {}).items()},
        **columns,
    }


def row(position: int, *, generation: int = 0, op: str = "I", **columns: Any) -> dict[str, Any]:
    """Return one base row."""
    return {
        "_cdc_op": op,
        "_cdc_generation": generation,
        "_cdc_position": Decimal(position),
        "_cdc_committed_at": NOON,
        **columns,
    }


@dataclass(frozen=True)
class Case:
    """A table with key ``id`` and other columns, whose raw events and base rows are compared."""

    columns: Mapping[str, pa.DataType] = field(default_factory=lambda: {"id": pa.int64(), "v": pa.string()})
    key: tuple[str, ...] = ("id",)
    base_columns: Mapping[str, pa.DataType] | None = None

    def event_schema(self, columns: Mapping[str, pa.DataType] | None = None) -> pa.Schema:
        types = columns or self.columns
        before = [pa.field(before_name(name), types[name]) for name in self.key]
        return pa.schema([*EVENT_COLUMNS, *(pa.field(n, t) for n, t in types.items()), *before])

    def file(
        self,
        *events: Mapping[str, Any],
        name: str = "20260301-120000000",
        standing: Standing = Standing.APPLIED,
        held_rows: frozenset[int] = frozenset(),
        discarded_rows: frozenset[int] = frozenset(),
        rejected: tuple[Rejected, ...] = (),
        columns: Mapping[str, pa.DataType] | None = None,
    ) -> WindowFile:
        """Return a raw file of ``events``, in their order."""
        raw = RawFile(f"public/t/{name}.parquet", 1, f"etag-{name}", NOON)
        rows = [{"_cdc_row": number, **one} for number, one in enumerate(events)]
        accepted = AcceptedFile(raw, FileKind.CHANGES, NOON, "2026-03-01", 0)
        opened = EventsOf(self.event_schema(columns), rows, rejected)
        return WindowFile(accepted, standing, lambda: opened, held_rows, discarded_rows)

    def base(self, *rows: Mapping[str, Any]) -> pa.Table:
        types = self.base_columns or self.columns
        schema = pa.schema([*CONTROL_COLUMNS, *(pa.field(n, t) for n, t in types.items())])
        return pa.Table.from_pylist([dict(one) for one in rows], schema)

    @contextmanager
    def loaded(
        self,
        files: Sequence[WindowFile],
        base: pa.Table | None,
        *,
        completed_generation: int | None = None,
        tombstones: Sequence[tuple[Any, ...]] = (),
        soft: bool = False,
        partial: bool = False,
    ) -> Iterator[tuple[duckdb.DuckDBPyConnection, Any, BaseView]]:
        """Load both witnesses; ``tombstones`` are (key…, generation, position)."""
        with duckdb.connect(config={"threads": 1}) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            if base is not None:
                connection.register("base_table", base)
            if tombstones:
                names = [*self.key, "_cdc_generation", "_cdc_position"]
                rows = [dict(zip(names, one, strict=True)) for one in tombstones]
                types = [self.columns[k] for k in self.key]
                schema = pa.schema(
                    [
                        *zip(self.key, types, strict=True),
                        ("_cdc_generation", pa.int64()),
                        ("_cdc_position", pa.decimal128(38, 0)),
                    ]
                )
                connection.register("dead", pa.Table.from_pylist(rows, schema))
            view = BaseView(
                relation="base_table" if base is not None else None,
                schema=base.schema if base is not None else pa.schema([]),
                snapshot_id=42 if base is not None else None,
                tombstones="dead" if tombstones else None,
                completed_generation=completed_generation,
                soft_deletes=soft,
                partial_images=partial,
            )
            events = load_window_events(
                connection,
                files,
                key=self.key,
                base_columns=view.columns,
                completed_generation=completed_generation,
                where="retail.t 2026-03-01",
            )
            load_base_rows(connection, view, self.key)
            yield connection, events, view

    def compare(
        self,
        files: Sequence[WindowFile],
        base: pa.Table | None,
        *,
        unaccepted: Sequence[str] = (),
        tombstone_floor: Position | None = None,
        **options: Any,
    ) -> Comparison:
        """Compare raw with base."""
        with self.loaded(files, base, **options) as (connection, events, view):
            return compare_raw_base(
                connection, events, view, unaccepted=unaccepted, tombstone_floor=tombstone_floor
            )
