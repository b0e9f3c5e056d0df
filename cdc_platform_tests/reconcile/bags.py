"""Tables without a key in memory: bags of rows on both sides, with nothing on its way between them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.config.model import NoKey
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.row_outcomes import RawSays
from cdc_platform.reconcile.row_run import Observed, RowRun
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import ReadPlan, SourceReader
from cdc_platform.reconcile.suspect_events import Reading
from cdc_platform.reconcile.verdict import Kind
from cdc_platform_tests.reconcile.pairs import as_base, memory_plan, typed_table

Row = tuple[Any, ...]
#: Rows, or a table of them.
Bag = Sequence[Row] | pa.Table

NO_EVENTS = (
    "CREATE OR REPLACE TEMP TABLE row_events (lane1 UBIGINT, lane2 UBIGINT, came INT, went INT, op VARCHAR, "
    "generation BIGINT, position DECIMAL(38, 0), committed_at TIMESTAMPTZ, source_position VARCHAR, "
    '"row" BIGINT, file INT, standing VARCHAR)'
)


@dataclass
class BagReader:
    """Rows as a source: those of ``readings`` one after the other, the last of them from then on."""

    names: Sequence[str]
    types: Sequence[pa.DataType]
    readings: Sequence[Bag]
    taken: int = 0

    snapshot_read = True
    position = staticmethod(lambda: "0/20")

    @property
    def read_plan(self) -> ReadPlan:
        return memory_plan(self.names, self.types, 0, ranged=False)

    def plan(self, *_: Any) -> ReadPlan:
        return self.read_plan

    @contextmanager
    def snapshot(self) -> Iterator[BagSnapshot]:
        rows = self.readings[min(self.taken, len(self.readings) - 1)]
        self.taken += 1
        yield BagSnapshot(as_table(self.names, self.types, rows))


@dataclass(frozen=True)
class BagSnapshot:
    rows: pa.Table
    position: str = "0/10"

    def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
        raise AssertionError("a table without a key has no keys to ask for")

    def rows_between(self, low: Any, high: Any, plan: ReadPlan) -> Iterator[pa.RecordBatch]:
        assert (low, high) == (None, None)
        yield from self.rows.to_batches(max_chunksize=max(7, self.rows.num_rows // 10))


@dataclass
class Bags:
    """Two bags to compare, capture being up to date and nothing on its way."""

    connection: duckdb.DuckDBPyConnection
    names: Sequence[str]
    types: Sequence[pa.DataType]
    policy: NoKey = NoKey.MULTISET
    options: Mapping[str, Any] = field(default_factory=dict)

    def compare(self, source: Bag, base: Bag, *later: Bag) -> FullComparison:
        """Compare; the source has what ``later`` says at each further reading."""
        reader = BagReader(self.names, self.types, (source, *later))
        return self.compare_source(reader, reader.read_plan, base)

    def compare_source(self, reader: SourceReader, plan: ReadPlan, base: Bag) -> FullComparison:
        """Compare what a reader reads with base."""
        held = as_base(as_table(self.names, self.types, base))
        self.connection.register("base_table", held)
        return RowRun(
            view=BaseView("base_table", held.schema, 42),
            workspace=self.connection,
            reader=reader,
            plan=plan,
            policy=self.policy,
            observe=self.nothing_on_its_way,
            ask_raw=self.no_events,
            options=FullOptions(**self.options),
            run_id="run",
        ).compare()

    def nothing_on_its_way(self, sides: Sides, position: str) -> Observed:
        self.connection.execute(
            "CREATE OR REPLACE TEMP TABLE changing (part USMALLINT, lane1 UBIGINT, lane2 UBIGINT, "
            "came BIGINT, went BIGINT)"
        )
        return Observed(Capture("FFFFFFFF/0"))

    def no_events(self, sides: Sides) -> tuple[RawSays, Reading]:
        self.connection.execute(NO_EVENTS)
        return RawSays(), Reading()


def as_table(names: Sequence[str], types: Sequence[pa.DataType], rows: Bag) -> pa.Table:
    """Return a bag as a table."""
    return rows if isinstance(rows, pa.Table) else typed_table(names, types, rows)


def comparable(row: Row) -> Row:
    """Return a row that is equal to others just where its values are."""
    return tuple(
        "NaN" if isinstance(one, float) and math.isnan(one) else one + 0.0 if isinstance(one, float) else one
        for one in row
    )


def differences(source: Sequence[Row], base: Sequence[Row]) -> Counter[tuple[Kind, int, int]]:
    """Return kind and number of copies on both sides of each row that is not as often in both: the oracle."""
    left, right = (Counter(map(comparable, rows)) for rows in (source, base))
    found: Counter[tuple[Kind, int, int]] = Counter()
    for row in {*left, *right}:
        here, there = left[row], right[row]
        if here > there:
            found[Kind.MISSING, here, there] += 1
        elif there > here:
            found[Kind.DUPLICATE if here else Kind.UNEXPECTED, here, there] += 1
    return found


def found_in(full: FullComparison) -> Counter[tuple[Kind, int, int]]:
    """Return the same of what a comparison found."""
    return Counter(
        (one.kind, int(one.key["rows in source"]), int(one.key["rows in base"]))
        for one in full.comparison.discrepancies
    )
