"""Keys as words are equal and in order just as the keys are, and are found in files by them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import DataFile

from cdc_platform.lake import word_search
from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.key_words import KeyShape, differs, order_of
from cdc_platform.lake.word_search import WordSearch, WordTable

FIELDS = (4, 9)
NUMBERS = st.one_of(st.integers(-3, 3), st.sampled_from([-(2**63), -(2**31), 2**63 - 1]))


def texts(width: int) -> st.SearchStrategy[str]:
    """Texts of so many bytes, many of them alike up to their end."""
    tail = st.text(st.sampled_from("ab\x00~"), min_size=1, max_size=1)
    return st.builds(lambda a, b: (a * width)[: width - 1] + b, st.sampled_from(["a", "ab", "z"]), tail)


def columns_of(width: int) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.tuples(texts(width)) if width < 20 else st.tuples(NUMBERS, texts(width))


CASES = st.sampled_from([1, 5, 8, 9, 16, 23, 36]).flatmap(
    lambda width: st.tuples(
        st.lists(columns_of(width), min_size=1, max_size=30), st.lists(columns_of(width), max_size=30)
    )
)


def arrow(keys: Sequence[tuple[Any, ...]]) -> list[pa.ChunkedArray[Any]]:
    """Return the columns of keys, in two chunks, the second with an offset."""
    columns = []
    for part in zip(*keys, strict=True):
        kind = pa.string() if isinstance(part[0], str) else pa.int64()
        array, half = pa.array([*part[:1], *part], kind), len(part) // 2
        columns.append(pa.chunked_array([array[1 : 1 + half], array[1 + half :]], kind))
    return columns


def encoded(key: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(part.encode() if isinstance(part, str) else part for part in key)


@given(case=CASES)
def test_words_sort_and_are_equal_as_their_keys(case: Any) -> None:
    keys, _ = case
    columns = arrow(keys)
    shape = KeyShape.of(columns)
    assert shape is not None
    words = shape.words(columns)
    order = order_of(words)

    expected = sorted(map(encoded, keys))
    assert expected == [encoded(keys[row]) for row in order]
    new = [True, *differs(tuple(word[order] for word in words)).tolist()]
    assert [at == 0 or expected[at] != expected[at - 1] for at in range(len(keys))] == new


def test_the_words_of_a_column_begin_after_those_of_the_columns_before() -> None:
    columns = arrow([(7, "a" * 36, 9, "b" * 3, 11)])
    shape = KeyShape.of(columns)
    assert shape is not None
    words = shape.words(columns)

    assert [0, 1, 6, 7, 8] == [shape.word_of(place) for place in range(5)]
    assert [7, 9, 11] == [int(words[shape.word_of(place)][0]) for place in (0, 2, 4)]


@pytest.mark.parametrize(
    "values", [["a", "ab"], ["", ""], ["a" * 65], [None, "a"], [1.5], [True], []], ids=str
)
def test_keys_that_cannot_be_words_are_declined(values: list[Any]) -> None:
    assert KeyShape.of([pa.chunked_array([pa.array(values)])]) is None


def write(path: Path, keys: Sequence[tuple[Any, ...] | None], types: Sequence[pa.DataType]) -> BaseFile:
    """Write keys, None being NULL, in row groups of four."""
    fields = [
        pa.field(f"part{field}", kind, metadata={"PARQUET:field_id": str(field)})
        for field, kind in zip(FIELDS, types, strict=False)
    ]
    arrays = [pa.array([key and key[at] for key in keys], kind) for at, kind in enumerate(types)]
    # the file's columns need not be in the order of the key
    pq.write_table(pa.Table.from_arrays(arrays[::-1], schema=pa.schema(fields[::-1])), path, row_group_size=4)
    return BaseFile(
        3, DataFile.from_args(file_path=str(path), record_count=len(keys), file_size_in_bytes=1), ()
    )


def find(file: BaseFile, asked: Sequence[tuple[Any, ...]]) -> list[tuple[int, tuple[Any, ...]]] | None:
    columns = arrow(asked)
    shape = KeyShape.of(columns)
    assert shape is not None
    search = WordSearch(PyArrowFileIO(), FIELDS[: len(columns)], shape, shape.words(columns), 2)
    tables, left = search.find([file])
    if left:
        return None
    return [(row["pos"], asked[row["number"]]) for table in tables for row in table.to_pylist()]


@given(case=CASES, noise=st.lists(st.sampled_from([None, "", "a" * 7, "a" * 40]), max_size=3))
@settings(deadline=None, max_examples=50)
def test_every_row_with_one_of_the_keys_is_found_and_no_other(
    tmp_path_factory: pytest.TempPathFactory, case: Any, noise: list[str | None]
) -> None:
    asked, others = list(dict.fromkeys(case[0])), case[1]
    width = len(asked[0])
    strays = [None if text is None else (1, text) if width == 2 else (text,) for text in noise]
    stored = [*others, *strays, *asked[::2], *others]
    types = [pa.int32(), pa.large_string()] if width == 2 else [pa.large_string()]
    if width == 2 and any(key and abs(key[0]) >= 2**31 for key in stored):
        types = [pa.int64(), pa.string()]
    file = write(tmp_path_factory.mktemp("words") / "one.parquet", stored, types)

    expected = [(row, key) for row, key in enumerate(stored) if key in set(asked)]
    assert expected == find(file, asked)


@given(numbers=st.lists(NUMBERS, min_size=1, unique=True), stored=st.lists(NUMBERS))
def test_keys_whose_hashes_are_alike_are_told_apart(numbers: list[int], stored: list[int]) -> None:
    def alike(words: tuple[Any, ...]) -> Any:
        return np.full(len(words[0]), 7, dtype=np.uint64)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(word_search, "_hashes", alike)
        rows, found = WordTable((np.array(numbers, np.int64),)).find((np.array(stored, np.int64),))

    expected = [(row, numbers.index(key)) for row, key in enumerate(stored) if key in numbers]
    assert expected == list(zip(rows.tolist(), found.tolist(), strict=True))


def test_keys_that_crowd_into_few_slots_are_left_to_the_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(word_search, "_hashes", lambda words: np.zeros(len(words[0]), dtype=np.uint64))
    file = write(tmp_path / "one.parquet", [("a",)], [pa.string()])
    assert find(file, [(f"{number:03}",) for number in range(100)]) is None


@pytest.mark.parametrize("kind", [pa.int64(), pa.binary()])
def test_a_file_whose_key_is_of_another_type_is_left(tmp_path: Path, kind: pa.DataType) -> None:
    stored = 1 if kind == pa.int64() else b"a"
    assert find(write(tmp_path / "one.parquet", [(stored,)], [kind]), [("a",)]) is None


def test_a_file_without_a_column_of_the_key_is_left(tmp_path: Path) -> None:
    assert find(write(tmp_path / "one.parquet", [(1,)], [pa.int64()]), [(1, "a")]) is None
