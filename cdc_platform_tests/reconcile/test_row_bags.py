"""Tables without a key are equal just where their rows are the same bag."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from cdc_platform.config.model import Connection
from cdc_platform.reconcile import odd_rows, row_parts
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.digest import Salt
from cdc_platform.reconcile.full_result import FullComparison
from cdc_platform.reconcile.postgres import PostgresReader
from cdc_platform.reconcile.row_parts import PART
from cdc_platform.reconcile.ruled_rows import Link, pair
from cdc_platform.reconcile.sides import RowDigest
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.bags import Bag, Bags, Row, differences, found_in
from cdc_platform_tests.reconcile.packets import random_packet
from cdc_platform_tests.reconcile.pair_places import PostgresPlace

Rows = Sequence[Row]
NAMES = ("whole", "text", "ratio", "flag")
TYPES = (pa.int64(), pa.string(), pa.float64(), pa.bool_())
SALT = Salt(bytes(32))
X, Y = (1, "x", 0.5, True), (1, "y", 0.5, True)

ROWS = st.tuples(
    st.sampled_from([None, 0, 1, -1, 2**63 - 1, -2930909409056394622]),
    st.sampled_from([None, "", "a", "A", "a ", "NULL", "x" * 40]),
    st.sampled_from([None, 0.0, -0.0, 0.1, float("nan"), float("inf")]),
    st.sampled_from([None, True, False]),
)
FEW = st.lists(st.one_of(st.sampled_from([X, Y]), ROWS), max_size=12)


@st.composite
def edited(draw: st.DrawFn) -> tuple[Rows, Rows]:
    """Return two bags that are equal but for some edits, in any order."""
    source = draw(FEW)
    base = list(draw(st.permutations(source)))
    for _ in range(draw(st.integers(0, 3))):
        what = draw(st.sampled_from(["drop", "double", "add", "replace"])) if base else "add"
        at = draw(st.integers(0, len(base) - 1)) if base else 0
        if what == "drop":
            del base[at]
        elif what == "double":
            base.append(base[at])
        else:
            base[at : at + (what == "replace")] = [draw(st.one_of(st.sampled_from([X, Y]), ROWS))]
    return source, base


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


@pytest.fixture(scope="module")
def bags(connection: duckdb.DuckDBPyConnection) -> Bags:
    return Bags(connection, NAMES, TYPES, options={"rows_per_segment": 2})


#: Rows lie in parts by their hash, so many that they meet no others there, or all in one.
PARTS = pytest.mark.parametrize("part", [PART, "0::USMALLINT"], ids=["many parts", "one part"])


def in_parts(part: str, bags: Bags, *sides: Bag) -> FullComparison:
    with pytest.MonkeyPatch.context() as patch:
        for module in (row_parts, odd_rows):
            patch.setattr(module, "PART", part)
        return bags.compare(*sides)


@PARTS
@settings(max_examples=60)
@given(sides=edited())
def test_the_verdict_and_every_count_are_those_of_plain_counters(
    bags: Bags, part: str, sides: tuple[Rows, Rows]
) -> None:
    source, base = sides
    wanted = differences(source, base)

    found = in_parts(part, bags, source, base)

    assert (Verdict.DIFFERENT if wanted else Verdict.MATCH) is found.verdict
    assert wanted == found_in(found)
    assert sum(n * abs(here - there) for (_, here, there), n in wanted.items()) == (
        found.comparison.tally.different
    )
    assert {"source rows": len(source), "base rows": len(base)} == found.comparison.rows


FOUR = st.lists(st.sampled_from([(1, text, None, None) for text in "abcd"]), max_size=6)


@PARTS
@settings(max_examples=40)
@given(source=FOUR, base=FOUR, later=FOUR)
def test_rows_that_move_between_the_two_readings_are_never_called_different(
    bags: Bags, part: str, source: Rows, base: Rows, later: Rows
) -> None:
    first, held, again = (Counter(row[1] for row in rows) for rows in (source, base, later))

    found = in_parts(part, bags, source, base, later)

    confirmed = {
        (one.expected or one.actual or {})["text"]
        for one in found.comparison.discrepancies
        if one.verdict is Verdict.DIFFERENT
    }
    assert confirmed <= {text for text in "abcd" if held[text] != first[text] == again[text]}
    assert (first == held) is (found.verdict is Verdict.MATCH)


@pytest.mark.parametrize(
    ("source", "base"),
    [
        ([X, X], []),
        ([X, X], [Y, Y]),
        ([X, X, Y], [X, Y, Y]),
        ([], [X, X]),
        ([X], [X, X]),
        ([X, Y], [X, X]),
        ([(None,) * 4] * 2, [(None,) * 4]),
    ],
)
def test_c3_bags_of_as_many_rows_or_of_rows_that_cancel_each_other_differ(
    bags: Bags, source: list[Row], base: list[Row]
) -> None:
    found = bags.compare(source, base)

    assert Verdict.DIFFERENT is found.verdict
    assert differences(source, base) == found_in(found)


def test_a_row_that_is_seen_again_only_at_the_second_reading_is_in_flight(bags: Bags) -> None:
    found = bags.compare([X], [X, Y], [X, Y])

    assert (Verdict.IN_FLIGHT, 0) == (found.verdict, found.comparison.tally.different)


def test_rows_that_stand_still_are_judged_beside_others_that_move(bags: Bags) -> None:
    found = bags.compare([X], [X, X], [X, Y])

    assert Verdict.DIFFERENT is found.verdict
    assert ["duplicate"] == [one.kind.value for one in found.comparison.discrepancies]


def test_when_more_rows_lie_in_buckets_that_differ_than_are_looked_into_the_rest_is_unverified(
    bags: Bags, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(odd_rows, "MOST_ROWS", 3)
    source: list[Row] = [(number, "a", None, None) for number in range(10)]

    found = bags.compare(source, [])

    tally = found.comparison.tally
    assert (Verdict.DIFFERENT, 3, 7, True) == (
        found.verdict,
        tally.different,
        tally.unverified,
        found.is_systemic,
    )


@pytest.mark.parametrize(("most", "verdict"), [(9, Verdict.UNVERIFIED), (29, Verdict.MATCH)])
def test_what_a_budget_of_rows_leaves_over_is_unverified(
    connection: duckdb.DuckDBPyConnection, most: int, verdict: Verdict
) -> None:
    bags = Bags(connection, NAMES, TYPES, options={"budget": Budget(max_rows=most)})
    rows: Sequence[Row] = [X] * 20

    assert verdict is bags.compare(rows, rows).verdict


def test_a_second_reading_the_budget_has_no_rows_for_leaves_what_differs_unverified_and_the_rest_proven(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    bags = Bags(connection, NAMES, TYPES, options={"budget": Budget(max_rows=30), "rows_per_segment": 2})
    rows: list[Row] = [(number, "a", None, None) for number in range(20)]

    found = bags.compare(rows, rows[:-1])

    assert Verdict.UNVERIFIED is found.verdict
    assert {Verdict.MATCH, Verdict.UNVERIFIED} == {one.verdict for one in found.segments}


@pytest.mark.postgres
@pytest.mark.parametrize("number", range(4))
def test_bags_of_a_real_source_are_judged_as_plain_counters_do(
    connection: duckdb.DuckDBPyConnection, postgres_database: str, number: int
) -> None:
    packet = random_packet(Random(number), 20)
    PostgresPlace(postgres_database, connection).fill(packet)
    reader = PostgresReader(Connection(dsn=SecretStr(postgres_database)))
    base = packet.base()
    source, held = (list(zip(*one.to_pydict().values(), strict=True)) for one in (packet.source(), base))

    plan = reader.plan("public", "pair_rows", (), base.schema)
    bags = Bags(connection, packet.names, packet.types)
    found, equal = (bags.compare_source(reader, plan, one) for one in (base, packet.source()))

    wanted = differences(source, held)
    assert (Verdict.DIFFERENT if wanted else Verdict.MATCH) is found.verdict
    assert wanted == found_in(found)
    assert Verdict.MATCH is equal.verdict


def test_what_is_kept_of_rows_that_differ_does_not_grow_with_the_memory_the_engine_may_take(
    tmp_path: Path,
) -> None:
    numbers = pa.array(range(400_000), pa.int64())
    texts = pc.utf8_lpad(numbers.cast(pa.string()), 60, "x")
    source, base = (pa.table([column, texts], ["whole", "text"]) for column in (numbers, pc.negate(numbers)))
    limits = {"memory_limit": "48MB", "temp_directory": str(tmp_path), "threads": 1}

    with duckdb.connect(config=limits) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        found = Bags(connection, ("whole", "text"), (pa.int64(), pa.string())).compare(source, base)

    assert (Verdict.DIFFERENT, 2 * 399_999, False) == (
        found.verdict,
        found.comparison.tally.different,
        found.is_systemic,
    )


def test_c6_equality_by_a_weak_digest_is_not_verified(bags: Bags, monkeypatch: pytest.MonkeyPatch) -> None:
    def weak(*_: object) -> RowDigest:
        return RowDigest(("BIGINT", "VARCHAR", "DOUBLE", "BOOLEAN"), SALT, 8)

    monkeypatch.setattr("cdc_platform.reconcile.row_parts.row_digest", weak)

    assert Verdict.UNVERIFIED is bags.compare([X], [X]).verdict


def test_where_as_many_rows_are_missing_as_too_many_the_columns_they_differ_in_are_named(bags: Bags) -> None:
    changed = [(*row[:1], "z", *row[2:]) for row in (X, Y)]

    found = bags.compare([X, Y, X], [*changed, X])

    assert ("text",) == found.guilty_columns
    assert "no column but text" in found.comparison.attribution


def test_a_row_one_side_lacks_is_no_fault_of_a_column(bags: Bags) -> None:
    assert () == bags.compare([X, Y], [X]).guilty_columns


def test_forms_of_a_value_have_as_many_partners_as_there_are() -> None:
    found, undecided = pair(
        [Link(1, 10, 2, 5), Link(1, 11, 1, 5), Link(2, 12, 4, 6)], {1: 2, 2: 3, 5: 3, 6: 1}
    )

    assert ({1: 2, 5: 2, 2: 1, 6: 1}, set()) == (dict(found), undecided)


def test_a_form_of_a_value_has_no_more_partners_than_there_are_rows_of_it() -> None:
    found, _ = pair([Link(1, 10, 1, 5), Link(1, 10, 1, 6)], {1: 2, 5: 1, 6: 1})

    assert (1, 1) == (found[1], found[5] + found[6])


def test_where_more_than_one_pairing_is_possible_all_rows_it_reaches_are_undecided() -> None:
    links = [Link(1, 10, 1, 5), Link(1, 10, 1, 6), Link(2, 11, 1, 6), Link(3, 12, 1, 7)]

    assert {1, 2, 5, 6} == pair(links, dict.fromkeys((1, 2, 3, 5, 6, 7), 1))[1]
