"""Whichever way live rows are taken out of a column, they are those the mask names, in order."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from cdc_platform.lake.live_selection import LiveSelection

ROWS = 1_000
COLUMNS: dict[str, Any] = {
    "number": pa.array([None if n % 7 == 0 else n for n in range(ROWS)], pa.int32()),
    "decimal": pa.array([None if n % 7 == 0 else Decimal(n) for n in range(ROWS)], pa.decimal128(38, 0)),
    "text": pa.array([None if n % 7 == 0 else f"text {n}" for n in range(ROWS)]),
    "truth": pa.array([None if n % 7 == 0 else n % 2 == 0 for n in range(ROWS)]),
    "dictionary": pa.array([None if n % 7 == 0 else f"v{n % 5}" for n in range(ROWS)]).dictionary_encode(),
    "part of another": pa.array(range(2 * ROWS)).slice(ROWS),
}


@pytest.mark.parametrize("deleted", [1, 39, 40, 500, 999])
@pytest.mark.parametrize("name", COLUMNS)
def test_the_live_rows_are_those_of_the_mask(name: str, deleted: int) -> None:
    live = np.ones(ROWS, dtype=np.bool_)
    live[np.random.default_rng(deleted).permutation(ROWS)[:deleted]] = False
    selection = LiveSelection(live)
    values = COLUMNS[name].to_pylist()

    assert ROWS - deleted == selection.count
    assert [values[row] for row in np.flatnonzero(live)] == selection.taken(COLUMNS[name]).to_pylist()


def test_a_mask_that_leaves_nothing_out_is_no_selection() -> None:
    assert LiveSelection.of(np.ones(3, dtype=np.bool_)) is None
