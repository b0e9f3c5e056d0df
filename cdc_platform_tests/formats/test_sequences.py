"""Sequences by whole-column arithmetic are those of Python's integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.formats.sequences import parse_change_sequences, sequences

DIGITS = st.text("0123456789", min_size=35, max_size=35)


@given(texts=st.lists(DIGITS, min_size=1, max_size=20), skipped=st.integers(0, 3))
def test_texts_of_35_digits_become_their_sequences(texts: list[str], skipped: int) -> None:
    column: pa.Array[Any] = pa.array(["x"] * skipped + texts).slice(skipped)
    parsed = parse_change_sequences(column)
    assert parsed is not None
    expected = [int(text[:16]) * 10**22 + int(text[16:]) for text in texts]
    assert expected == [int(value) for value in parsed.to_pylist()]


@pytest.mark.parametrize(
    "text",
    ["1" * 34, "1" * 36, "", "1" * 34 + " ", "1" * 34 + "/", "1" * 34 + ":", "-" + "1" * 34, "1" * 33 + "é"],
)
def test_a_column_with_any_other_text_is_declined(text: str) -> None:
    assert parse_change_sequences(pa.array(["2" * 35, text])) is None


def test_a_column_with_a_null_is_declined() -> None:
    assert parse_change_sequences(pa.array(["2" * 35, None])) is None


@given(
    rows=st.lists(st.tuples(st.integers(0, 10**16 - 1), st.integers(0, 2**40)), min_size=1, max_size=20),
    constant=st.integers(0, 10**22 - 2**41),
)
def test_time_part_constant_and_row_add_up(rows: list[tuple[int, int]], constant: int) -> None:
    time_part, varying = (np.array(column, dtype=np.uint64) for column in zip(*rows, strict=True))
    expected = [time * 10**22 + constant + row for time, row in rows]
    assert expected == [int(value) for value in sequences(time_part, constant, varying).to_pylist()]
