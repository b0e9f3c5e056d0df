"""The positions a merge's delete files hold."""

from __future__ import annotations

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.lake import gone_rows
from cdc_platform.lake.gone_rows import gone_positions

PLACES = st.lists(st.tuples(st.sampled_from([0, 1, 2, 9]), st.integers(0, 6)), max_size=30)


@pytest.mark.parametrize("bound", [1, 5, 1000])
@given(gone=PLACES, deleted=PLACES)
@settings(deadline=None, max_examples=40)
def test_new_and_old_positions_of_the_files_touched_come_together_ascending(
    bound: int, gone: list[tuple[int, int]], deleted: list[tuple[int, int]]
) -> None:
    with duckdb.connect() as con, pytest.MonkeyPatch.context() as patch:
        patch.setattr(gone_rows, "_POSITIONS", bound)
        for name, rows in (("gone", gone), ("base_deleted", deleted)):
            con.execute(f"CREATE TABLE {name} (file INTEGER, pos BIGINT)")
            if rows:
                con.executemany(f"INSERT INTO {name} VALUES (?, ?)", rows)
        found = [(file, positions.to_pylist()) for file, positions in gone_positions(con, len(deleted))]
    touched = sorted({file for file, _ in gone})
    expected = [(file, sorted({pos for f, pos in (*gone, *deleted) if f == file})) for file in touched]
    assert expected == found
