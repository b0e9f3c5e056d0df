"""What a table was made as holds, whatever cdc.yaml says later."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.table import Table
from pyiceberg.table.update import RemovePropertiesUpdate

from cdc_platform.errors import MergeError
from cdc_platform.lake.declared import MERGE_KEY
from cdc_platform.lake.health import table_health
from cdc_platform.lake.shown import Asked, shown_rows
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file

PAIR = pa.schema([pa.field("id", pa.int64()), pa.field("code", pa.string()), pa.field("v", pa.string())])


def pair(id_: int, code: str, v: str) -> dict[str, Any]:
    return {"id": id_, "code": code, "v": v}


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, "item")
    assert table is not None
    return table


@pytest.fixture
def pairs(bench: Bench) -> Bench:
    """A table by id and code."""
    made = bench.with_table(merge_key=("id", "code"))
    made.merge(load_file("l", pair(1, "a", "x"), pair(1, "b", "y"), columns=PAIR), completed=1)
    return made


@pytest.mark.parametrize("key", [("id",), ("code",), ("id", "code", "v")], ids=",".join)
def test_another_merge_key_than_the_tables_own_is_refused(pairs: Bench, key: tuple[str, ...]) -> None:
    other, before = pairs.with_table(merge_key=key), loaded(pairs).metadata

    with pytest.raises(MergeError, match=r"made with the merge key \[id, code\], cdc.yaml says"):
        other.merge(load_file("c", pair(1, "a", "z"), columns=PAIR, minute=1))

    assert before == loaded(pairs).metadata


def test_a_merge_key_given_in_another_order_is_the_same(pairs: Bench) -> None:
    other = pairs.with_table(merge_key=("code", "id"))
    other.merge(load_file("m", pair(2, "a", "z"), columns=PAIR, minute=1))

    assert [(1, "x"), (1, "y"), (2, "z")] == other.rows()


def test_a_table_that_does_not_name_its_key_has_the_one_it_is_sorted_by(pairs: Bench) -> None:
    table = loaded(pairs)
    table._do_commit((RemovePropertiesUpdate(removals=[MERGE_KEY]),), ())

    with pytest.raises(MergeError, match="made with the merge key"):
        pairs.with_table(merge_key=("id",)).merge(load_file("c", pair(1, "a", "z"), columns=PAIR, minute=1))
    pairs.merge(load_file("m", pair(2, "a", "z"), columns=PAIR, minute=1))
    assert MERGE_KEY in loaded(pairs).properties


def test_a_table_without_a_key_gets_none_later(bench: Bench) -> None:
    bare = bench.with_table(merge_key=(), no_key="append")
    bare.merge(change_file("a", ("I", 1, "a", 1)))

    with pytest.raises(MergeError, match=r"made with the merge key \[\], cdc.yaml says \[id\]"):
        bench.merge(change_file("b", ("U", 1, "b", 2), minute=1))


def shown(bench: Bench, **asked: Any) -> list[tuple[Any, ...]]:
    rows = shown_rows(bench.lake, loaded(bench), bench.config, Asked(columns=("id", "v"), **asked))
    return sorted(tuple(row.values()) for batch in rows.read() for row in batch.to_pylist())


def test_rows_that_soft_deletes_kept_stay_hidden_when_deletes_become_hard(bench: Bench) -> None:
    soft = bench.with_table(delete_mode="soft")
    soft.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")), completed=1)
    soft.merge(change_file("c", ("D", 2, None, 10), generation=1, minute=1))

    bench.merge(change_file("d", ("D", 3, None, 11), generation=1, minute=2))

    assert [(1, "a")] == shown(bench)
    assert [(1, "a"), (2, "b")] == shown(bench, deleted=True)
    found = table_health(bench.lake, SOURCE, bench.config)
    assert found is not None
    assert 1 == found.soft_deleted_rows


def test_a_row_that_a_soft_delete_kept_comes_back_when_it_is_inserted_again(bench: Bench) -> None:
    bench.with_table(delete_mode="soft").merge(change_file("c", ("I", 2, "b", 10), ("D", 2, None, 11)))

    bench.merge(change_file("d", ("U", 2, "late", 9), minute=1))
    assert [] == shown(bench)
    bench.merge(change_file("e", ("I", 2, "again", 12), minute=2))
    assert [(2, "again")] == shown(bench)
