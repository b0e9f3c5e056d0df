"""Keys that are others in base than in the source, or that the source cannot hold; names of key columns."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.verdict import Kind, Reconciliation, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

END = datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
MakeShop = Callable[..., WholeShop]


@pytest.fixture
def make_shop(tmp_path: Path, postgres_database: str) -> Iterator[MakeShop]:
    made: list[WholeShop] = []

    def make(types: dict[str, pa.DataType], *ddl: str, rows: list[dict[str, Any]], **table: Any) -> WholeShop:
        shop = WholeShop(tmp_path, postgres_database, types, **table)
        made.append(shop)
        shop.sql(*ddl)
        shop.load(rows)
        shop.apply()
        shop.catch_up()
        return shop

    yield make
    for one in made:
        one.platform.lake.close()


def window(shop: WholeShop) -> Reconciliation:
    return compare_window(shop.platform, "retail", "item", "2026-03-01")


def found(run: Reconciliation) -> set[tuple[Kind, Verdict, Any]]:
    return {
        (one.kind, one.verdict, one.key.get("id"))
        for one in run.comparison("source_matches_base").discrepancies
    }


@pytest.mark.parametrize(
    ("kind", "type_", "there", "here", "plain"),
    [
        ("timestamptz", pa.timestamp("us", tz="UTC"), "infinity", END, datetime(2026, 1, 1, tzinfo=UTC)),
        ("date", pa.date32(), "12026-01-01", date(9999, 12, 31), date(2026, 1, 1)),
        ("time", pa.time64("us"), "10:00:00.123456", time(10, 0, 0, 123000), time(9)),
        ("numeric", pa.decimal128(28, 6), "1.1234567", Decimal("1.123457"), Decimal(2)),
    ],
)
def test_a_key_that_is_changed_on_its_way_is_unverified_as_long_as_there_is_one(
    make_shop: MakeShop, kind: str, type_: pa.DataType, there: str, here: Any, plain: Any
) -> None:
    shop = make_shop(
        {"id": type_, "name": pa.string()},
        f"CREATE TABLE item (id {kind} PRIMARY KEY, name text)",
        f"INSERT INTO item VALUES ('{there}', 'a'), ('{plain}', 'b')",
        rows=[{"id": here, "name": "a"}, {"id": plain, "name": "b"}],
    )

    assert (Verdict.UNVERIFIED, Verdict.UNVERIFIED) == (shop.compare().verdict, window(shop).verdict)

    shop.sql(f"UPDATE item SET name = 'lost' WHERE id = '{there}'")
    lost = shop.compare()
    assert {Verdict.UNVERIFIED} == {verdict for _, verdict, _ in found(lost)}
    assert "a key column is changed on its way to base" in lost.comparisons[0].reason

    shop.sql(f"UPDATE item SET id = '{here}', name = 'a' WHERE id = '{there}'")
    assert (Verdict.MATCH, Verdict.MATCH) == (shop.compare().verdict, window(shop).verdict)


def test_keys_beside_one_that_is_changed_on_its_way_are_still_compared(make_shop: MakeShop) -> None:
    shop = make_shop(
        {"id": pa.int64(), "valid_to": pa.timestamp("us", tz="UTC"), "name": pa.string()},
        "CREATE TABLE item (id bigint, valid_to timestamptz, name text, PRIMARY KEY (id, valid_to))",
        "INSERT INTO item VALUES (1, 'infinity', 'a'), (2, '9999-12-31 23:59:59.999999+00', 'b'), "
        "(3, '2026-01-01 00:00+00', 'c')",
        rows=[
            {"id": 1, "valid_to": END, "name": "a"},
            {"id": 2, "valid_to": END, "name": "b"},
            {"id": 3, "valid_to": datetime(2026, 1, 1, tzinfo=UTC), "name": "c"},
        ],
        merge_key=("id", "valid_to"),
    )
    (_, compared) = window(shop).comparisons
    assert (2, 0, 1) == (compared.tally.matched, compared.tally.different, compared.tally.unverified)

    modes: list[dict[str, Any]] = [{"keys_only": True}, {"incremental": True}]
    assert [Verdict.UNVERIFIED] * 2 == [shop.compare(**mode).verdict for mode in modes]

    shop.sql("UPDATE item SET name = 'lost' WHERE id = 3")
    both = (found(shop.compare()), found(window(shop)))
    assert [(Kind.CHANGED, Verdict.DIFFERENT, 3)] * 2 == [
        one for run in both for one in run if one[1] is Verdict.DIFFERENT
    ]


def test_keys_the_types_of_the_source_cannot_hold_are_rows_too_many_in_base(make_shop: MakeShop) -> None:
    good = "00000000-0000-0000-0000-00000000000a"
    shop = make_shop(
        {"id": pa.int64(), "u": pa.string(), "mood": pa.string(), "code": pa.string(), "name": pa.string()},
        "CREATE TYPE mood AS ENUM ('sad', 'ok')",
        "CREATE TABLE item (id int, u uuid, mood mood, code varchar(3), name text, "
        "PRIMARY KEY (id, u, mood, code))",
        f"INSERT INTO item VALUES (1, '{good}', 'ok', 'abc', 'x')",
        rows=[{"id": 1, "u": good, "mood": "ok", "code": "abc", "name": "x"}],
        merge_key=("id", "u", "mood", "code"),
    )
    strange = (
        "3000000000 AS id",
        "'no uuid' AS u",
        "'happy' AS mood",
        "'abcd' AS code",
        "'a' || chr(0) AS code",
    )
    of_one = (f"SELECT * REPLACE ({one}) FROM base WHERE id = 1" for one in strange)
    shop.tamper(f"INSERT INTO base {' UNION ALL '.join(of_one)}")

    run = shop.compare()

    assert Verdict.DIFFERENT is run.verdict
    assert [(Kind.UNEXPECTED, Verdict.DIFFERENT)] * 5 == [
        (one.kind, one.verdict) for one in run.comparisons[0].discrepancies
    ]
    assert (1, 5) == (run.comparisons[0].tally.matched, run.comparisons[0].tally.different)


def test_keys_of_arrays_composites_domains_and_names_are_looked_up_as_any(make_shop: MakeShop) -> None:
    key = ("tags", "grid", "pair", "hue", "relation", "bits")
    one = {"tags": '{a,"b c"}', "grid": "{{1,2},{3,4}}", "pair": "(1,a)", "hue": "red"}
    rows = [
        {**one, "relation": "pg_class", "bits": "101", "name": "x"},
        {**one, "tags": "{}", "relation": "pg_type", "bits": "111", "name": "y"},
    ]
    shop = make_shop(
        {name: pa.string() for name in (*key, "name")},
        "CREATE TYPE of_two AS (x int, y text)",
        "CREATE TYPE colour AS ENUM ('red', 'green')",
        "CREATE DOMAIN hue AS colour CHECK (VALUE <> 'green')",
        "CREATE TABLE item (tags text[], grid int[], pair of_two, hue hue, relation regclass, bits bit(3), "
        f"name text, PRIMARY KEY ({', '.join(key)}))",
        *(f"INSERT INTO item VALUES ({', '.join(repr(value) for value in row.values())})" for row in rows),
        rows=rows,
        merge_key=key,
    )
    assert Verdict.MATCH is window(shop).verdict
    shop.sql("UPDATE item SET name = 'lost' WHERE bits = '101'")
    strange = ("'{a' AS tags", "'{5}' AS grid", "'(2,a)' AS pair", "'green' AS hue")
    stranger = ("'none' AS relation", "'1010' AS bits")
    of_one = (f"SELECT * REPLACE ({one}) FROM base WHERE bits = '101'" for one in strange + stranger)
    shop.tamper(f"INSERT INTO base {' UNION ALL '.join(of_one)}")

    run = shop.compare()

    assert [(Kind.CHANGED, 1), (Kind.UNEXPECTED, 6)] == sorted(
        Counter(
            one.kind for one in run.comparisons[0].discrepancies if one.verdict is Verdict.DIFFERENT
        ).items()
    )


def test_keys_of_a_type_without_equality_are_looked_up_by_their_text(make_shop: MakeShop) -> None:
    day = date(2026, 1, 1)
    rows = [
        {"id": 1, "place": '{"a":  1}', "day": day, "name": "x"},
        {"id": 2, "place": "[]", "day": day, "name": "y"},
    ]
    shop = make_shop(
        {"id": pa.int64(), "place": pa.string(), "day": pa.date32(), "name": pa.string()},
        "CREATE TABLE item (id int, place json, day date, name text)",
        """INSERT INTO item VALUES (1, '{"a":  1}', '2026-01-01', 'x'), (2, '[]', '2026-01-01', 'y')""",
        rows=rows,
        merge_key=("id", "place", "day"),
    )
    equal = window(shop)
    shop.tamper("INSERT INTO base SELECT * REPLACE ('{' AS place) FROM base WHERE id = 2")
    shop.sql("UPDATE item SET name = 'lost' WHERE id = 1")

    run = shop.compare()

    assert Verdict.MATCH is equal.verdict
    assert {(Kind.CHANGED, Verdict.DIFFERENT, 1), (Kind.UNEXPECTED, Verdict.DIFFERENT, 2)} == found(run)


def test_a_key_the_source_cannot_hold_does_not_stop_a_run_by_ranges(make_shop: MakeShop) -> None:
    shop = make_shop(
        {"id": pa.int64(), "name": pa.string()},
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        "INSERT INTO item SELECT n, 'x' FROM generate_series(1, 40) n",
        "ANALYZE item",
        rows=[{"id": n, "name": "x"} for n in range(1, 41)],
        rows_per_segment=5,
    )
    shop.tamper("INSERT INTO base SELECT * REPLACE (3000000000 + id AS id) FROM base")

    run = shop.compare(budget=Budget(max_rows=1000))

    assert (Verdict.DIFFERENT, 40) == (run.verdict, run.comparisons[0].tally.different)


def test_key_columns_may_have_a_percent_sign_in_their_names(make_shop: MakeShop) -> None:
    shop = make_shop(
        {"a_b": pa.int64(), "name": pa.string()},
        'CREATE TABLE item ("a%b" int PRIMARY KEY, name text)',
        "INSERT INTO item VALUES (1, 'a'), (2, 'b')",
        rows=[{"a_b": 1, "name": "a"}, {"a_b": 2, "name": "b"}],
        merge_key=("a_b",),
    )
    assert Verdict.MATCH is window(shop).verdict

    shop.sql("UPDATE item SET name = 'lost' WHERE \"a%b\" = 2")

    assert [{"a_b": 2}] == [dict(one.key) for one in shop.compare().comparisons[0].discrepancies]
