"""The verdict of a segment: no way to MATCH but equal counts and lanes of every row, all of them read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.errors import RawFileError
from cdc_platform.events import before_name
from cdc_platform.reconcile import drill, full_run
from cdc_platform.reconcile.base_rows import BaseView
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.cut_sides import make_sides
from cdc_platform.reconcile.digest import RowDigest, Salt, new_salt
from cdc_platform.reconcile.drill import Drilled, load_changed_keys
from cdc_platform.reconcile.full_options import FullOptions
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.full_run import FullRun
from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.scan import Scan
from cdc_platform.reconcile.segment_results import Findings, LookedUp, judge_segment
from cdc_platform.reconcile.segments import Segments
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.pairs import (
    Row,
    RowsReader,
    RowsSnapshot,
    as_base,
    memory_plan,
    nothing_on_its_way,
    typed_table,
)

NAMES, TYPES = ("id", "v"), (pa.int64(), pa.string())
EQUAL: list[Row] = [(number, f"text {number}") for number in range(40)]


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


Made = Callable[[pa.Table, ReadPlan], RowsReader]


def compared(
    connection: duckdb.DuckDBPyConnection,
    source: Sequence[Row],
    base: Sequence[Row],
    *,
    types: Sequence[pa.DataType] = TYPES,
    base_types: Sequence[pa.DataType] | None = None,
    ranged: bool = False,
    reader: Made = RowsReader,
) -> FullComparison:
    """Compare two tables (id, v) in segments of ten rows."""
    plan = memory_plan(NAMES, types, 1, ranged=ranged)
    held = as_base(typed_table(NAMES, base_types or types, base))
    connection.register("base_table", held)
    view = BaseView("base_table", held.schema, 42)
    made = reader(typed_table(NAMES, types, source), plan)
    options = FullOptions(rows_per_segment=10, budget=Budget(max_rows=10**9) if ranged else Budget())
    observe = nothing_on_its_way(connection)
    return FullRun(view, ("id",), connection, made, plan, observe, None, options, "run").compare()


@pytest.mark.parametrize("rows", [[], EQUAL, [(None, "x"), (1, None), (None, None)]])
def test_c8_equal_tables_match_also_empty_ones_and_rows_without_a_key(
    connection: duckdb.DuckDBPyConnection, rows: list[Row]
) -> None:
    found = compared(connection, rows, list(reversed(rows)))

    assert (Verdict.MATCH, len(rows)) == (found.verdict, found.comparison.tally.matched)


def test_a_key_of_several_rows_on_both_sides_is_different_though_the_rows_are_equal(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    rows: list[Row] = [*EQUAL, (7, "text 7"), (7, "other")]

    found = compared(connection, rows, rows)

    assert (Verdict.DIFFERENT, 1, 39) == (
        found.verdict,
        found.comparison.tally.different,
        found.comparison.tally.matched,
    )
    assert [7] == [one.key["id"] for one in found.comparison.discrepancies]


@pytest.mark.parametrize(
    ("source", "base"),
    [
        ([], EQUAL),
        (EQUAL, []),
        (EQUAL, EQUAL[:10] + EQUAL[20:]),
        (EQUAL, [*EQUAL, (None, "x")]),
        ([*EQUAL, (None, "x")], EQUAL),
        ([*EQUAL, (None, "x")], [*EQUAL, (None, "y")]),
        ([*EQUAL, (None, "x"), (None, "x")], [*EQUAL, (None, "x")]),
    ],
    ids=["source empty", "base empty", "a segment empty", "key null in base", "in the source", "v", "n"],
)
def test_c8_d1_an_empty_side_an_empty_segment_and_a_row_without_a_key_are_different(
    connection: duckdb.DuckDBPyConnection, source: list[Row], base: list[Row]
) -> None:
    assert Verdict.DIFFERENT is compared(connection, source, base).verdict


def test_c4_rows_that_stand_under_another_key_of_another_segment_are_different(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    moved = [(39 - number, text) for number, text in EQUAL]

    assert 40 == compared(connection, EQUAL, moved).comparison.tally.different


@pytest.mark.parametrize(
    ("type_", "base_type", "value"),
    [
        (pa.float64(), pa.float32(), 0.1),
        (pa.decimal128(20, 4), pa.decimal128(12, 2), "1.2345"),
        (pa.decimal128(20, 4), pa.int64(), "1.5"),
    ],
    ids=str,
)
def test_b5_what_a_narrower_type_of_base_has_cut_off_is_different(
    connection: duckdb.DuckDBPyConnection, type_: pa.DataType, base_type: pa.DataType, value: Any
) -> None:
    exact = pa.scalar(value).cast(type_)
    cut = exact.cast(pa.float64()).cast(base_type, safe=False).as_py()

    found = compared(
        connection,
        [(1, exact.as_py())],
        [(1, cut)],
        types=(pa.int64(), type_),
        base_types=(pa.int64(), base_type),
    )

    assert (Verdict.DIFFERENT, "v") == (found.verdict, found.comparison.discrepancies[0].columns[0])


@pytest.mark.parametrize("digest", [(2, 3, 4), (1, 0, 4), (1, 3, 0), (0, 0, 0)])
def test_a_segment_is_equal_by_its_count_and_both_lanes_only(digest: tuple[int, int, int]) -> None:
    scan = Scan({0: (1, 3, 4)}, {0: digest})

    assert [0] == scan.differing
    assert [] == Scan({0: (1, 3, 4)}, {0: (1, 3, 4)}).differing


@dataclass(frozen=True)
class Everything(RowsReader):
    """A source whose order of keys is another one: asked for a range it gives all rows."""

    @contextmanager
    def snapshot(self) -> Iterator[RowsSnapshot]:
        yield EverySnapshot(self.rows)


class EverySnapshot(RowsSnapshot):
    def rows_between(self, low: Any, high: Any, plan: ReadPlan) -> Iterator[pa.RecordBatch]:
        yield from self.rows.to_batches()


def test_keys_outside_of_the_range_a_source_was_asked_for_are_an_error(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    found = compared(connection, EQUAL, EQUAL, ranged=True, reader=Everything)

    assert Verdict.ERROR is found.verdict
    assert "it orders them differently" in found.comparison.reason


class Moving(RowsReader):
    """A source whose row 7 changes between the first snapshot and the next."""

    @contextmanager
    def snapshot(self) -> Iterator[RowsSnapshot]:
        rows = self.rows if Moving.snapshots == 0 else self.rows.filter(pa.array([False] + [True] * 39))
        Moving.snapshots += 1
        yield RowsSnapshot(rows)

    snapshots = 0


def test_before_a_key_is_different_it_is_read_again_in_a_snapshot_of_its_own(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    Moving.snapshots = 0

    found = compared(connection, EQUAL, EQUAL[1:], reader=Moving)

    assert (Verdict.IN_FLIGHT, 2) == (found.verdict, Moving.snapshots)


def test_keys_beyond_those_looked_up_are_not_verified(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_SUSPECTS", 2)

    found = compared(connection, EQUAL[:9], [(number, "x") for number, _ in EQUAL[:9]])

    tally = found.comparison.tally
    assert (2, 7, 0) == (tally.different, tally.unverified, tally.matched)
    assert "7 more keys differ by digest" in " ".join(found.comparison.notes)


def judged(numbers: Mapping[str, Any], *, looked: LookedUp | None = None) -> Verdict:
    """Judge one drilled segment of unequal digests."""
    found = Findings(
        segments=Segments(("BIGINT",)),
        scan=Scan({0: (numbers["base"], 1, 1)}, {0: (numbers["source"], 2, 2)}),
        drilled=Drilled((0,)),
        looked_up={0: looked} if looked else {},
        changed={},
        judgement=Judgement(Verdict.DIFFERENT, "captured"),
        source_position="0/10",
        numbers_drilled=frozenset({0}),
    )
    return judge_segment(found, 0).verdict


def test_unequal_digests_that_no_row_explains_are_never_a_match() -> None:
    assert Verdict.UNVERIFIED is judged({"source": 5, "base": 5})
    assert Verdict.UNVERIFIED is judged({"source": 5, "base": 6}, looked=LookedUp(equal=1, in_source=1))
    assert Verdict.MATCH is judged({"source": 5, "base": 5}, looked=LookedUp(equal=1, in_source=1))


@dataclass(frozen=True)
class Waiting:
    """A waiting file: its events, or that it cannot be read."""

    events: pa.RecordBatch | None
    rejected: Sequence[int] = ()

    def batches(self) -> Iterator[Waiting]:
        if self.events is None:
            raise RawFileError("it is not whole", where="a file", mend="write it again")
        yield self


def waiting(*keys: tuple[int, int], rejected: Sequence[int] = ()) -> Any:
    columns = list(zip(*keys, strict=True))
    names = ["id", before_name("id")]
    batch = pa.RecordBatch.from_arrays([pa.array(column, pa.int64()) for column in columns], names=names)
    return lambda: Waiting(batch, rejected)


def sides_of(connection: duckdb.DuckDBPyConnection) -> Sides:
    held = as_base(typed_table(NAMES, TYPES, EQUAL))
    connection.register("base_table", held)
    plan = memory_plan(NAMES, TYPES, 1, ranged=False)
    view = BaseView("base_table", held.schema, 42)
    return make_sides(connection, plan, view, new_salt(), bounds=(("20",),), rows_per_segment=10)


def test_e8_a_waiting_change_of_a_key_is_one_of_both_keys(connection: duckdb.DuckDBPyConnection) -> None:
    untold = load_changed_keys(connection, sides_of(connection), [waiting((25, 5), (7, 7))])

    changed = connection.execute("FROM changed_keys ORDER BY ALL").fetchall()
    assert (0, [(0, 5), (0, 7), (1, 25)]) == (untold, changed)


def test_waiting_files_that_cannot_tell_their_keys_are_counted(
    connection: duckdb.DuckDBPyConnection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drill, "MOST_FILES_READ", 3)
    unreadable: Any = lambda: Waiting(None)  # noqa: E731
    files = [unreadable, waiting((1, 1), rejected=[4]), waiting((2, 2)), waiting((3, 3)), waiting((4, 4))]

    assert 4 == load_changed_keys(connection, sides_of(connection), files)


@pytest.fixture
def weak_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Digests of 16 bits."""

    def weak(*given: Any, **options: Any) -> Sides:
        sides = make_sides(*given, **options)
        return replace(sides, digest=replace(sides.digest, lane_bits=8))

    monkeypatch.setattr(full_run, "make_sides", weak)


@pytest.mark.usefixtures("weak_digest")
def test_c6_equality_by_a_digest_below_the_policy_is_not_verified(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    found = compared(connection, EQUAL, EQUAL)

    assert Verdict.UNVERIFIED is found.verdict
    assert "a digest of 16 bits proves nothing" in found.comparison.reason


@pytest.mark.usefixtures("weak_digest")
def test_c6_no_pair_of_unequal_tables_matches_by_a_digest_that_collides(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    random, verdicts = Random(6), set()
    for _ in range(12):
        other = [(number, f"other {random.random()}") for number, _ in EQUAL]
        verdicts.add(compared(connection, EQUAL, other).verdict)

    assert verdicts <= {Verdict.DIFFERENT, Verdict.UNVERIFIED}


@pytest.mark.parametrize("size", [1, 2, 4])
def test_c6_bags_that_collide_under_one_salt_do_not_under_others(
    connection: duckdb.DuckDBPyConnection, size: int
) -> None:
    """A birthday search for one row, two and four, in sums of 2 × 8 bits: what it finds is worth nothing."""

    def bags(salt: Salt, bag: str = "true") -> str:
        digest = RowDigest(("VARCHAR",), salt, lane_bits=8)
        text = "printf('row %d', i)"
        return (
            f"SELECT i // {size} AS bag, {digest.aggregates([text])} FROM range({8000 * size}) r(i) "
            f"WHERE {bag.format('i')} GROUP BY 1"
        )

    salts = [Salt(bytes([number]) * 32) for number in range(31)]
    collisions = connection.execute(
        f"""SELECT min(bag), max(bag) FROM ({bags(salts[0])}) GROUP BY n, lane1, lane2
            HAVING count(*) > 1 ORDER BY ALL LIMIT 40"""
    ).fetchall()
    held = 0
    for salt in salts[1:]:
        digests = {bag: tuple(rest) for bag, *rest in connection.execute(bags(salt)).fetchall()}
        held += sum(digests[one] == digests[other] for one, other in collisions)

    assert len(collisions) >= 10
    # 40 pairs under 30 salts collide by chance in 16 bits about once in 55 times, in sums of four in 200
    assert held <= 3
