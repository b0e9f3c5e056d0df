"""What differing keys have in common is said when it stands out, and nothing when it does not."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import duckdb
import pytest

from cdc_platform.reconcile.slices import KEY_RANGE, attribute


@pytest.fixture
def connection() -> Iterator[duckdb.DuckDBPyConnection]:
    """10,000 keys of three ops, twenty files and two countries."""
    with duckdb.connect(config={"threads": 1}) as opened:
        opened.execute(
            """CREATE TABLE keys AS SELECT i AS id, ['I', 'U', 'D'][i % 3 + 1] AS op,
                      'file ' || (i // 500) AS file, CASE WHEN i % 7 = 0 THEN 'DE' ELSE 'FR' END AS country
               FROM range(10000) t(i)"""
        )
        yield opened


def slices(condition: str) -> str:
    return f"(SELECT *, {condition} AS differs FROM keys)"


DIMENSIONS = ["op", "file", "country"]


def test_one_file_whose_updates_were_lost_is_named_with_both_conditions(
    connection: duckdb.DuckDBPyConnection,
) -> None:
    found = attribute(connection, slices("op = 'U' AND file = 'file 7'"), DIMENSIONS)

    assert found is not None
    assert {("file", "file 7"), ("op", "U")} == {(one.dimension, one.value) for one in found.conditions}
    assert found.slice_differing == found.differing == found.slice_keys
    assert found.sentence.startswith("all of the 166 keys that differ have ")
    assert "1.7 % of the 10,000 keys compared" in found.sentence


def test_a_slice_with_a_few_exceptions_is_named_with_its_share(connection: duckdb.DuckDBPyConnection) -> None:
    found = attribute(connection, slices("(country = 'DE' AND id % 2 = 0) OR id IN (1, 2, 3)"), DIMENSIONS)

    assert found is not None
    assert ["country = DE"] == [one.words for one in found.conditions]
    assert "99.6 % of the 718 keys" in found.sentence


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("\u202eevil", "country = '<U+202E>evil'"),
        ("bell\x07", "country = 'bell<U+0007>'"),
        ("x" * 5000, f"country = {'x' * 80}… (5,000 characters)"),
    ],
)
def test_a_value_in_the_sentence_turns_nothing_about_and_is_cut(
    connection: duckdb.DuckDBPyConnection, value: str, shown: str
) -> None:
    connection.execute("UPDATE keys SET country = ? WHERE id % 7 = 0", [value])

    found = attribute(connection, slices("id % 7 = 0"), DIMENSIONS)

    assert found is not None
    assert [shown] == [one.words for one in found.conditions]
    assert shown in found.sentence


def test_differences_spread_evenly_have_nothing_in_common(connection: duckdb.DuckDBPyConnection) -> None:
    chosen = ", ".join(map(str, Random(5).sample(range(10000), 400)))

    assert attribute(connection, slices(f"id IN ({chosen})"), DIMENSIONS) is None


@pytest.mark.parametrize("seed", range(12))
def test_a_handful_of_keys_drawn_at_random_seldom_stands_out(
    connection: duckdb.DuckDBPyConnection, seed: int
) -> None:
    chosen = ", ".join(map(str, Random(seed).sample(range(10000), 6)))

    assert attribute(connection, slices(f"id IN ({chosen})"), DIMENSIONS) is None


@pytest.mark.parametrize("condition", ["true", "false", "id < 4"])
def test_of_all_keys_none_or_very_few_nothing_is_said(
    connection: duckdb.DuckDBPyConnection, condition: str
) -> None:
    assert attribute(connection, slices(condition), DIMENSIONS) is None


def test_a_value_with_quotes_and_null_are_conditions_as_well(connection: duckdb.DuckDBPyConnection) -> None:
    relation = (
        "(SELECT id % 10 = 0 AS differs, CASE WHEN id % 10 = 0 THEN NULL ELSE 'it''s' END AS note FROM keys)"
    )
    found = attribute(connection, relation, ["note"])

    assert found is not None
    assert ["note = NULL"] == [one.words for one in found.conditions]
    assert 10.0 == found.lift


@pytest.mark.parametrize(
    ("value", "words"),
    [("''", "note = ''"), ("'NULL'", "note = 'NULL'"), ("' EU'", "note = ' EU'"), ("'EU'", "note = EU")],
)
def test_a_text_is_quoted_where_it_could_be_read_as_another_value(
    connection: duckdb.DuckDBPyConnection, value: str, words: str
) -> None:
    relation = f"(SELECT id % 10 = 0 AS differs, if(id % 10 = 0, {value}, 'other') AS note FROM keys)"
    found = attribute(connection, relation, ["note"])

    assert found is not None
    assert [words] == [one.words for one in found.conditions]


@pytest.mark.parametrize(
    "words", ["keys below 66577", "keys from 7 to below 9", "keys from a and b", "no key"]
)
def test_a_range_of_the_key_is_told_as_a_sentence_has_it_and_not_as_a_value(
    connection: duckdb.DuckDBPyConnection, words: str
) -> None:
    relation = (
        f"(SELECT id % 10 = 0 AS differs, if(id % 10 = 0, '{words}', 'keys from z') AS {KEY_RANGE} FROM keys)"
    )
    found = attribute(connection, relation, [KEY_RANGE])

    assert found is not None
    assert found.sentence.startswith(f"all of the 1,000 keys that differ have {words}, as have 10.0 % of ")
