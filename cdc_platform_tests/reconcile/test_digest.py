"""Digests of rows: different for bags that differ, equal for those that do not."""

from __future__ import annotations

import itertools
import string
import struct
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from cdc_platform.reconcile.digest import RowDigest, Salt, duckdb_types, implementation, new_salt

SALT = Salt(b"the salt of this test, no secret")
TWO_TEXTS = [pa.string(), pa.string()]


@pytest.fixture(scope="module")
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute("SET TimeZone = 'UTC'")
        yield opened


Row = Sequence[Any]


def digest(
    connection: duckdb.DuckDBPyConnection,
    rows: Sequence[Row],
    types: Sequence[pa.DataType],
    *,
    as_types: Sequence[pa.DataType] | None = None,
    salt: Salt = SALT,
) -> tuple[Any, ...]:
    """Return the digest of ``rows`` held as ``types``, compared as ``as_types``."""
    names = [f"c{place}" for place in range(len(types))]
    arrays = [pa.array([row[place] for row in rows], kind) for place, kind in enumerate(types)]
    connection.register("rows_", pa.table(arrays, names=names))
    one = RowDigest(duckdb_types(connection, as_types or types), salt)
    found = connection.execute(f"SELECT {one.aggregates(names)} FROM rows_").fetchone()
    assert found is not None
    return found


@pytest.mark.parametrize("text", ["", "null", "NULL", "\\N", "~", "<null>", "_null_recon_", "0", " "])
def test_a1_null_is_no_text(connection: duckdb.DuckDBPyConnection, text: str) -> None:
    assert digest(connection, [(None,)], [pa.string()]) != digest(connection, [(text,)], [pa.string()])


@pytest.mark.parametrize("delimiter", ["", *string.printable, "3:", "\x00", "\x1f"])
def test_a2_characters_do_not_move_between_columns(
    connection: duckdb.DuckDBPyConnection, delimiter: str
) -> None:
    left = digest(connection, [(f"ab{delimiter}", "c")], TWO_TEXTS)

    assert left != digest(connection, [("ab", f"{delimiter}c")], TWO_TEXTS) or not delimiter
    assert left != digest(connection, [("a", f"b{delimiter}c")], TWO_TEXTS)


def test_a3_two_columns_of_a_type_are_not_exchanged(connection: duckdb.DuckDBPyConnection) -> None:
    assert digest(connection, [("a", "b")], TWO_TEXTS) != digest(connection, [("b", "a")], TWO_TEXTS)


def test_a4_a_row_of_nulls_a_row_of_empties_and_no_row_differ(connection: duckdb.DuckDBPyConnection) -> None:
    bags: list[list[Row]] = [[(None, None)], [("", "")], [(None, "")], [("", None)], []]

    assert len(bags) == len({digest(connection, rows, TWO_TEXTS) for rows in bags})


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("a", "a "), ("a", " a"), ("a", "a\t"), ("a", "a\u00a0"), ("a", "a\x00"), ("a\n", "a\r\n"),
        ("a", "\ufeffa"), ("a", "A"), ("é", "e\u0301"), ("ß", "ss"), ("i", "ı"), ("😀", "😁"),
    ],
)  # fmt: skip
def test_a5_a6_text_is_its_bytes(connection: duckdb.DuckDBPyConnection, left: str, right: str) -> None:
    assert digest(connection, [(left,)], [pa.string()]) != digest(connection, [(right,)], [pa.string()])


@pytest.mark.parametrize(
    ("type_", "left", "right"),
    [
        (pa.float64(), 0.3, 0.1 + 0.2),
        (pa.float64(), 1e-20, 2e-20),
        (pa.float64(), float("nan"), None),
        (pa.float64(), float("inf"), float("-inf")),
        (pa.int64(), 2**53, 2**53 + 1),
        (pa.int64(), 12345678901234, 12345678901235),
        (pa.int64(), 0, None),
        (pa.decimal128(38, 2), Decimal("123456789012345678901234567890123456.78"),
         Decimal("123456789012345678901234567890123456.79")),
        (pa.decimal128(12, 2), Decimal("1.10"), Decimal("1.11")),
        (pa.timestamp("us"), 0, 1),
        (pa.timestamp("us", tz="UTC"), 0, 3_600_000_000),
        (pa.date32(), -25567, None),
        (pa.binary(), b"a", b"a\x00"),
        (pa.bool_(), False, None),
    ],
    ids=repr,
)  # fmt: skip
def test_b1_b3_values_one_step_apart_differ(
    connection: duckdb.DuckDBPyConnection, type_: pa.DataType, left: object, right: object
) -> None:
    assert digest(connection, [(left,)], [type_]) != digest(connection, [(right,)], [type_])


@pytest.mark.parametrize(
    ("left", "left_type", "right", "right_type", "common"),
    [
        (Decimal("1.1"), pa.decimal128(4, 1), Decimal("1.1000"), pa.decimal128(10, 4), pa.decimal128(10, 4)),
        (7, pa.int32(), Decimal(7), pa.decimal128(38, 0), pa.decimal128(38, 0)),
        (-0.0, pa.float64(), 0.0, pa.float64(), pa.float64()),
        (float("nan"), pa.float64(), -float("nan"), pa.float64(), pa.float64()),
        (0.1, pa.float32(), 0.10000000149011612, pa.float64(), pa.float64()),
        (5, pa.int16(), 5, pa.int64(), pa.int64()),
    ],
    ids=repr,
)
def test_b2_one_value_in_two_types_is_equal(
    connection: duckdb.DuckDBPyConnection,
    left: object,
    left_type: pa.DataType,
    right: object,
    right_type: pa.DataType,
    common: pa.DataType,
) -> None:
    assert digest(connection, [(left,)], [left_type], as_types=[common]) == digest(
        connection, [(right,)], [right_type], as_types=[common]
    )


BAGS: list[tuple[list[Row], list[Row]]] = [
    ([(1, "a"), (2, "b")], [(1, "b"), (2, "a")]),
    ([(1, "a"), (2, "a")], [(1, "b"), (2, "b")]),
    ([(1, "x"), (1, "x")], []),
    ([(1, "x"), (1, "x")], [(1, "y"), (1, "y")]),
    ([(1, "x"), (1, "x"), (2, "y")], [(1, "x"), (2, "y"), (2, "y")]),
    ([(1, "x"), (2, "y")], [(1, "x"), (3, "z")]),
]


@pytest.mark.parametrize(("left", "right"), BAGS, ids=repr)
def test_c1_c3_c5_swaps_lost_updates_duplicates_and_exchanged_rows_are_seen(
    connection: duckdb.DuckDBPyConnection, left: list[Row], right: list[Row]
) -> None:
    types = [pa.int64(), pa.string()]

    assert digest(connection, left, types) != digest(connection, right, types)


def test_c2_one_update_lost_on_any_number_of_rows_is_seen(connection: duckdb.DuckDBPyConnection) -> None:
    query = "SELECT {} FROM (SELECT i, CASE WHEN i < {} THEN 'new' ELSE 'old' END AS v FROM range(64) r(i))"
    one = RowDigest(("BIGINT", "VARCHAR"), SALT)
    found = {
        connection.execute(query.format(one.aggregates(["i", "v"]), lost)).fetchone() for lost in range(64)
    }

    assert 64 == len(found)


def test_swapped_values_collide_in_no_lane_of_many_random_pairs(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    one = RowDigest(("BIGINT", "BIGINT"), SALT)
    parts = [one.lanes([a, b]) for a, b in (("a", "b"), ("c", "d"), ("a", "d"), ("c", "b"))]
    sums = [
        f"({parts[0][lane]}::HUGEINT + {parts[1][lane]}) <> ({parts[2][lane]}::HUGEINT + {parts[3][lane]})"
        for lane in (0, 1)
    ]
    found = connection.execute(
        f"""SELECT count(*), count(*) FILTER ({sums[0]}), count(*) FILTER ({sums[1]}) FROM (
                SELECT hash(i)::HUGEINT % 1000003 AS a, i % 7 AS b, hash(i + 1)::HUGEINT % 1000003 AS c,
                       7 + i % 5 AS d FROM range(20000) r(i)) WHERE a <> c"""
    ).fetchone()

    assert found is not None
    assert found[0] == found[1] == found[2] > 19000


def test_digests_of_disjoint_sets_add_up_in_any_order(connection: duckdb.DuckDBPyConnection) -> None:
    rows: list[Row] = [(number, f"text {number}") for number in range(50)]
    types = [pa.int64(), pa.string()]
    parts = [digest(connection, part, types) for part in (rows[:20], rows[20:])]

    assert digest(connection, list(reversed(rows)), types) == tuple(map(sum, zip(*parts, strict=True)))


def test_a_text_that_collides_in_one_lane_does_not_in_the_other(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    first, second = RowDigest(("VARCHAR",), SALT).lanes(["v"])

    assert SALT.text("before") not in first
    assert f"hash(concat('{SALT.text('before')}', (v)" in second


def letters_sql(size: int, places: Sequence[int]) -> str:
    """Return the SQL of a text of so many letters, of which those at ``places`` depend on the number i."""
    drawn = {place: f"chr((48 + hash(i * {len(places)} + {n}) % 75)::INT)" for n, place in enumerate(places)}
    return " || ".join(drawn.get(place, f"'{place % 10}'") for place in range(size))


@pytest.mark.parametrize(
    "places",
    [(7, 15), (3, 11), (7, 15, 23), (6, 7, 14, 15), (3, 7), (3, 11, 19, 27), (0, 8), (7, 31), (0, 7, 8, 15)],
    ids=str,
)
@pytest.mark.parametrize("kind", ["VARCHAR", "BLOB"])
def test_no_two_long_texts_that_differ_at_a_few_places_share_their_second_lane(
    connection: duckdb.DuckDBPyConnection, kind: str, places: tuple[int, ...]
) -> None:
    """Of texts that differ in letters 8 and 16 alone, the engine's own hash knows 256."""
    _, second = RowDigest((kind,), SALT).lanes(["v"])
    text = letters_sql(33, places)
    found = connection.execute(
        f"""SELECT count(*), count(DISTINCT {second}) FROM (
                SELECT DISTINCT {text if kind == "VARCHAR" else f"encode({text})"} AS v
                FROM range(20000) r(i))"""
    ).fetchone()

    assert found is not None
    assert found[0] == found[1] > 3000


def test_no_two_short_texts_that_differ_at_two_places_share_a_lane(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    lanes = RowDigest(("VARCHAR",), SALT).lanes(["v"])
    for places in itertools.combinations(range(12), 2):
        found = connection.execute(
            f"""SELECT count(*), count(DISTINCT {lanes[0]}), count(DISTINCT {lanes[1]}) FROM (
                    SELECT DISTINCT {letters_sql(12, places)} AS v FROM range(5000) r(i))"""
        ).fetchone()

        assert found is not None
        assert found[0] == found[1] == found[2], places


def test_two_bytes_whose_highest_bits_turned_are_seen(connection: duckdb.DuckDBPyConnection) -> None:
    left, right = bytearray(32), bytearray(32)
    right[7], right[15] = 0x80, 0x80
    hashes = connection.execute("SELECT hash(?::BLOB), hash(?::BLOB)", [bytes(left), bytes(right)]).fetchone()

    assert hashes is not None
    assert hashes[0] == hashes[1]
    assert digest(connection, [(bytes(left),)], [pa.binary()]) != digest(
        connection, [(bytes(right),)], [pa.binary()]
    )


#: The number whose hash is that of NULL, as the bits of a double.
AS_DOUBLE = struct.unpack("<d", struct.pack("<q", -2930909409056394622))[0]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("BIGINT", "-2930909409056394622"),
        ("DOUBLE", repr(AS_DOUBLE)),
        ("TIMESTAMP", "make_timestamp(-2930909409056394622)"),
        ("TIMESTAMP WITH TIME ZONE", "make_timestamptz(-2930909409056394622)"),
    ],
)
def test_the_value_with_the_hash_of_null_is_not_null_in_either_lane(
    connection: duckdb.DuckDBPyConnection, kind: str, value: str
) -> None:
    digest_of = RowDigest((kind,), SALT)
    hashes = connection.execute(f"SELECT hash(({value})::{kind}), hash(NULL)").fetchone()
    found, other = (
        connection.execute(f"SELECT {digest_of.aggregates([one])}").fetchone() for one in (value, "NULL")
    )

    assert hashes is not None
    assert found is not None
    assert other is not None
    assert hashes[0] == hashes[1]
    assert [True, True] == [lane != null for lane, null in zip(found[1:], other[1:], strict=True)]


@pytest.mark.parametrize(
    ("kind", "value", "number"),
    [
        ("BOOLEAN", "true", 1),
        ("TINYINT", "-1", 2**32 - 1),
        ("SMALLINT", "-1", 2**32 - 1),
        ("INTEGER", "-1", 2**32 - 1),
        ("INTEGER", "2147483647", 2**31 - 1),
        ("FLOAT", "-1", 0xBF800000),
        ("DATE", "'1969-12-31'", 2**32 - 1),
        ("DECIMAL(4,0)", "-1", 2**32 - 1),
        ("DECIMAL(9,0)", "-1", 2**32 - 1),
        ("DECIMAL(18,0)", "-999999999999999999", -999999999999999999),
        ("TIME", "'23:59:59.999999'", 86_399_999_999),
    ],
)
def test_values_of_short_types_hash_as_numbers_far_from_the_one_that_hashes_as_null(
    connection: duckdb.DuckDBPyConnection, kind: str, value: str, number: int
) -> None:
    hashes = connection.execute(f"SELECT hash({value}::{kind}), hash({number}::BIGINT)").fetchone()

    assert hashes is not None
    assert hashes[0] == hashes[1]
    assert abs(number) < 2930909409056394622


def test_every_salt_gives_other_digests_and_tells_nothing_of_itself(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    one, other = new_salt(), new_salt()
    found = [digest(connection, [("a",)], [pa.string()], salt=salt) for salt in (one, other)]

    assert found[0] != found[1]
    assert (12, False) == (len(one.id), one.id in one.secret.hex())


def test_c7_sums_beyond_64_bits_do_not_wrap(connection: duckdb.DuckDBPyConnection) -> None:
    one = RowDigest(("BIGINT",), SALT)
    found = connection.execute(f"SELECT {one.aggregates(['1::BIGINT'])} FROM range(100000)").fetchone()
    single = connection.execute(f"SELECT {one.aggregates(['1::BIGINT'])}").fetchone()

    assert single is not None
    assert tuple(100000 * part for part in single) == found


def test_the_implementation_names_the_engine_and_its_version() -> None:
    assert implementation().startswith("two-lane sum 4, duckdb ")
