"""Many rows are written as several data files, each a range of keys."""

from __future__ import annotations

from typing import Any

import pyarrow.parquet as pq
import pytest

from cdc_platform.lake import merge_plan, rows_to_write, rules, staging
from cdc_platform.lake.data_files import DataFileWriter
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file

CHANGES = [("U", key, f"new {key}", 100 + key) for key in (5, 2, 8, 1, 9, 4)]


@pytest.fixture(autouse=True)
def _many_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take every batch for a large one, and three rows for enough of a file."""
    for module in (staging, merge_plan, rules):
        monkeypatch.setattr(module, "FEW_EVENTS", 0)
    monkeypatch.setattr(rows_to_write, "LEAST_ROWS_OF_A_PART", 3)


def stored_keys(bench: Bench) -> list[list[int]]:
    """Return the keys of each data file, in the order of its rows."""
    table = bench.lake.load(SOURCE, "item")
    assert table is not None
    paths = [task.file.file_path.removeprefix("file://") for task in table.scan().plan_files()]
    return sorted(pq.read_table(path, columns=["id"])["id"].to_pylist() for path in paths)


def test_each_file_has_a_range_of_the_keys(bench: Bench) -> None:
    bench.merge(change_file("a", *CHANGES))

    assert [[1, 2, 4], [5, 8, 9]] == stored_keys(bench)
    assert sorted((key, value) for _, key, value, _ in CHANGES) == bench.rows()


def test_few_rows_are_one_file(bench: Bench) -> None:
    bench.merge(change_file("a", *CHANGES[:5]))

    assert [[1, 2, 5, 8, 9]] == stored_keys(bench)


def test_nothing_is_left_when_one_of_the_files_cannot_be_written(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.merge(change_file("a", *CHANGES))
    before = bench.rows(), stored_keys(bench), files(bench)
    finish = DataFileWriter._finish

    def full(writer: Any) -> Any:
        if len(writer.paths) >= 2:
            raise OSError(28, f"No space left on device: {writer.paths[-1]}")
        return finish(writer)

    monkeypatch.setattr(DataFileWriter, "_finish", full)
    with pytest.raises(Exception, match="No space left"):
        bench.merge(change_file("b", *[("U", key, "newer", 1_000 + key) for key in range(10)], minute=1))

    assert before == (bench.rows(), stored_keys(bench), files(bench))


def files(bench: Bench) -> list[str]:
    """Return the Parquet files there are below the warehouse, whether a snapshot names them or not."""
    table = bench.lake.load(SOURCE, "item")
    assert table is not None
    folder = bench.lake.config.base_folder / "warehouse"
    return sorted(str(path) for path in folder.rglob("*.parquet"))
