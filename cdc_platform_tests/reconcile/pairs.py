"""Random pairs of tables with a few random edits between them, and a plain oracle of what is found."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.events import CONTROL_COLUMNS
from cdc_platform.naming import quoted
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import KEY_NUMBER, ColumnPlan, ReadPlan, SourceTable
from cdc_platform.reconcile.verdict import Verdict

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
#: What base has of a day or a moment without end.
LAST_DAY, LAST_MOMENT = date(9999, 12, 31), datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)
_TEXTS = ("", " ", "a", "A", "a ", "ab", "null", "NULL", "\\N", "é", "e\u0301", "0", "|", "3:abc", "x" * 40)
_FLOATS = (0.0, -0.0, 0.1, 0.1 + 0.2, 0.3, 1e-20, 2e-20, math.inf, -math.inf, math.nan, 1e300)
TYPES: dict[str, pa.DataType] = {
    "whole": pa.int64(),
    "text": pa.string(),
    "ratio": pa.float64(),
    "price": pa.decimal128(12, 2),
    "wide": pa.decimal128(38, 4),
    "at": pa.timestamp("us", tz="UTC"),
    "flag": pa.bool_(),
    "raw": pa.binary(),
    "day": pa.date32(),
    "clock": pa.time64("us"),
    "until": pa.timestamp("us", tz="UTC"),
    "amount": pa.decimal128(28, 6),
    "label": pa.string(),
    "code": pa.string(),
    "doc": pa.string(),
}
_DAYS = (date(1, 1, 1), date(1969, 12, 31), date(2026, 3, 1), LAST_DAY)
_CLOCKS = (time(0), time(0, 0, 0, 1000), time(12, 30, 0, 999000), time(23, 59, 59, 999000))
_AMOUNTS = tuple(map(Decimal, ("0", "1", "-1", "0.000001", "1.5", "-1.500001", "1234567890123456.000001")))
_CODES = tuple(f"00000000-0000-4000-8000-00000000000{digit}" for digit in "01af")

Row = tuple[Any, ...]


def random_value(kind: str, random: Random) -> Any:
    if random.random() < 0.15:
        return None
    match kind:
        case "whole":
            return random.choice([random.randint(-3, 3), random.randint(-(2**63), 2**63 - 1)])
        case "text":
            return random.choice(_TEXTS)
        case "ratio":
            return random.choice(_FLOATS)
        case "price":
            return Decimal(random.randint(-200, 200)) / 100
        case "wide":
            return Decimal(random.choice([1, 10**30, 10**30 + 1, -5])) / 10000
        case "at":
            return NOON + timedelta(microseconds=random.choice([0, 1, 3_600_000_000]))
        case "flag":
            return random.random() < 0.5
        case "day":
            return random.choice(_DAYS)
        case "clock":
            return random.choice(_CLOCKS)
        case "until":
            return random.choice([NOON, NOON + timedelta(microseconds=1), LAST_MOMENT])
        case "amount":
            return random.choice(_AMOUNTS)
        case "label":
            return random.choice(["", "a", "A", " a", "ab", "é"])
        case "code":
            return random.choice(_CODES)
        case "doc":
            return random.choice(['{"a": 1}', '{"a": 2}', "[1]", "[]", '"a"', "1.5"])
        case _:
            return random.choice([b"", b"\x00", b"a", b"a\x00"])


@dataclass(frozen=True)
class Pair:
    """Two tables with columns ``names``, the first ``key`` of them being the key."""

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    key: int
    source: tuple[Row, ...]
    base: tuple[Row, ...]

    def differing_keys(self) -> set[Row]:
        """Return the keys whose rows are not the same bag, or that stand for several rows: the oracle."""
        left, right = (Counter(map(_comparable, rows)) for rows in (self.source, self.base))
        several = Counter(row[: self.key] for row in left.elements())
        doubled = {key for key, rows in several.items() if rows > 1 and None not in key}
        return doubled | {row[: self.key] for row in [*(left - right), *(right - left)]}


def typed_table(names: Sequence[str], types: Sequence[pa.DataType], rows: Sequence[Row]) -> pa.Table:
    """Return rows as a table of typed columns."""
    columns: Sequence[Sequence[Any]] = list(zip(*rows, strict=True)) or [()] * len(names)
    arrays = [pa.array(column, kind) for column, kind in zip(columns, types, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(list(zip(names, types, strict=True))))


def as_base(rows: pa.Table) -> pa.Table:
    """Return rows with the control columns base has beside them."""
    values = {"_cdc_op": "I", "_cdc_generation": 0, "_cdc_position": Decimal(1)}
    control = [pa.array([values.get(field.name)] * rows.num_rows, field.type) for field in CONTROL_COLUMNS]
    return pa.Table.from_arrays([*control, *rows.columns], schema=pa.schema([*CONTROL_COLUMNS, *rows.schema]))


def memory_plan(names: Sequence[str], types: Sequence[pa.DataType], key: int, *, ranged: bool) -> ReadPlan:
    """Return how a table in memory is read: every column as it is."""
    plans = tuple(
        ColumnPlan(name, name, str(kind), quoted(name), kind, kind)
        for name, kind in zip(names, types, strict=True)
    )
    return ReadPlan(SourceTable("public", "t", (), ()), plans[:key], plans, (), ranged)


def nothing_on_its_way(
    connection: duckdb.DuckDBPyConnection,
) -> Callable[[Sides, str], tuple[Capture, list[tuple[Verdict, str]]]]:
    """Return what observes a source whose capture is up to date."""

    def observe(sides: Sides, position: str) -> tuple[Capture, list[tuple[Verdict, str]]]:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE changed_keys (segment INT, {sides.key_fields})")
        return Capture("FFFFFFFF/0"), []

    return observe


def _comparable(row: Row) -> Row:
    return tuple(
        "NaN" if isinstance(one, float) and math.isnan(one) else one + 0.0 if isinstance(one, float) else one
        for one in row
    )


@dataclass(frozen=True)
class Shape:
    """The kinds of the key columns and of the others, which bear their kinds as names."""

    key: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        return (*self.key, *self.columns)


def random_shape(random: Random) -> Shape:
    """Return the columns of a table: one or two of the key, one to five others."""
    columns = random.sample(list(TYPES), random.randint(1, 5))
    return Shape(
        tuple(random.choice(["whole", "text"]) for _ in range(random.choice([1, 1, 2]))), tuple(columns)
    )


def random_pair(random: Random, shape: Shape | None = None) -> Pair:
    """Return two tables that are equal but for none to five edits of one of them."""
    shape = shape or random_shape(random)
    every, key = shape.kinds, len(shape.key)
    names = (*(f"k{place}" for place in range(key)), *shape.columns)
    rows: dict[Row, Row] = {}
    for _ in range(random.choice([0, 1, 2, 5, 20, 60])):
        row = tuple(random_value(kind, random) for kind in every)
        if all(one is not None for one in row[:key]):
            rows[row[:key]] = row
    source, base = list(rows.values()), list(rows.values())
    for _ in range(random.choice([0, 0, 1, 1, 2, 3, 4, 5])):
        edit(random.choice([source, base]), key, every, random)
    random.shuffle(base)
    types = tuple(TYPES[kind] for kind in every)
    return Pair(names, types, key, tuple(source), tuple(base))


def edit(rows: list[Row], key: int, kinds: Sequence[str], random: Random) -> None:
    """Change a value, drop, double or add a row, or let two rows swap a value."""
    what = random.choice(["change", "change", "drop", "double", "add", "swap"])
    if what == "add" or not rows:
        row = tuple(random_value(kind, random) for kind in kinds)
        if all(one is not None for one in row[:key]):
            rows.append(row)
        return
    at, place = random.randrange(len(rows)), random.randrange(key, len(kinds))
    if what == "drop":
        del rows[at]
    elif what == "double":
        rows.append(rows[at])
    elif what == "change":
        rows[at] = (*rows[at][:place], random_value(kinds[place], random), *rows[at][place + 1 :])
    else:
        other = random.randrange(len(rows))
        first, second = rows[at], rows[other]
        rows[at] = (*first[:place], second[place], *first[place + 1 :])
        if other != at:
            rows[other] = (*second[:place], first[place], *second[place + 1 :])


@dataclass(frozen=True)
class RowsReader:
    """The rows of a table in memory, as a source: in ranges of the key when ``ranged``."""

    rows: pa.Table
    read_plan: ReadPlan

    snapshot_read = True
    position = staticmethod(lambda: "0/20")

    def plan(self, *_: Any) -> ReadPlan:
        return self.read_plan

    @contextmanager
    def snapshot(self) -> Iterator[RowsSnapshot]:
        yield RowsSnapshot(self.rows)


@dataclass(frozen=True)
class RowsSnapshot:
    rows: pa.Table
    position: str = "0/10"

    def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
        names = [column.column for column in plan.key]
        asked = {key: number for number, key in enumerate(zip(*keys.to_pydict().values(), strict=True))}
        held = list(zip(*(self.rows.column(name).to_pylist() for name in names), strict=True))
        found = [(asked[key], at) for at, key in enumerate(held) if key in asked]
        rows = self.rows.take(pa.array([at for _, at in found], pa.int64()))
        return rows.add_column(0, KEY_NUMBER, pa.array([number for number, _ in found], pa.int64()))

    def rows_between(self, low: Any, high: Any, plan: ReadPlan) -> Iterator[pa.RecordBatch]:
        kinds = [str(column.arrow) for column in plan.key]

        def typed(bound: Any) -> tuple[Any, ...]:
            pairs = zip(bound, kinds, strict=True)
            return tuple(int(one) if kind == "int64" else one.encode() for one, kind in pairs)

        names = [column.column for column in plan.key]
        keys = zip(*(self.rows.column(name).to_pylist() for name in names), strict=True)
        chosen = []
        for at, key in enumerate(keys):
            order = tuple(one.encode() if isinstance(one, str) else one for one in key)
            if (low is None or order >= typed(low)) and (high is None or order < typed(high)):
                chosen.append(at)
        yield from self.rows.take(pa.array(chosen, pa.int64())).to_batches(max_chunksize=7)


def compare_pair(
    connection: duckdb.DuckDBPyConnection, pair: Pair, *, rows_per_segment: int, ranged: bool
) -> FullComparison:
    """Compare the pair as a full comparison does, capture being up to date."""
    source, base = (typed_table(pair.names, pair.types, rows) for rows in (pair.source, pair.base))
    held = as_base(base)
    connection.register("base_table", held)
    plan = memory_plan(pair.names, pair.types, pair.key, ranged=ranged)
    view = BaseView("base_table", held.schema, 42)
    reader = RowsReader(source, plan)
    budget = Budget(max_rows=10**9) if ranged else Budget()
    options = FullOptions(rows_per_segment=rows_per_segment, budget=budget)
    observe = nothing_on_its_way(connection)
    key = pair.names[: pair.key]
    return FullRun(view, key, connection, reader, plan, observe, None, options, "run").compare()


def fault_of(pair: Pair, found: FullComparison) -> str | None:
    """Return what is wrong with an outcome, None when the oracle agrees."""
    wanted = pair.differing_keys()
    verdict = Verdict.DIFFERENT if wanted else Verdict.MATCH
    if found.verdict is not verdict:
        return f"{found.verdict.value} instead of {verdict.value}: {found.comparison.reason}"
    keys = {tuple(one.key.values()) for one in found.comparison.discrepancies}
    if keys != wanted:
        return f"differing keys {sorted(map(repr, keys))} instead of {sorted(map(repr, wanted))}"
    rows = found.comparison.rows
    if (rows["source rows"], rows["base rows"]) != (len(pair.source), len(pair.base)):
        return f"rows {rows}"
    return None
