"""The reader without SQL: the rows pyiceberg reads, in the order of the files, in bounded pieces."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.table import Table
from pyiceberg.types import LongType, UUIDType

from cdc_platform.errors import MergeError
from cdc_platform.lake import data_files, live_batches
from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.data_files import write_position_deletes
from cdc_platform.lake.live_rows import live_files
from cdc_platform.lake.read import scan
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import COLUMNS, Change, change_file, load_file
from cdc_platform_tests.lake.test_live_rows import loaded

ROWS = 40
LIVE = [key for key in range(ROWS) if not (10 <= key < 20 or key in (0, 25, 39))]


@pytest.fixture
def cut(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> Table:
    """A table of one file with four row groups of ten rows: two with deleted rows, one gone, one whole."""
    monkeypatch.setattr(data_files, "_ROW_GROUP", 10)
    wide = pa.schema([pa.field("id", pa.int64()), pa.field("v", pa.string())])
    for number in range(4):
        keys = range(number * 10, number * 10 + 10)
        rows = [{"id": key, "v": f"text {key % 2}" if key % 3 else None} for key in keys]
        bench.merge(load_file(f"l{number}", *rows, columns=wide))
    table = loaded(bench)
    old = list(table.scan().plan_files())
    transaction = table.transaction()
    writer = data_files.DataFileWriter(transaction.table_metadata, table.io, table.location_provider())
    batches = table.scan().to_arrow().sort_by("id").to_batches(max_chunksize=10)
    (file,) = writer.write(batches)
    gone = sorted(set(range(ROWS)) - set(LIVE))
    delete = write_position_deletes(file, pa.array(gone, pa.int64()), table.io)
    with transaction.update_snapshot().overwrite() as snapshot:
        for task in old:
            snapshot.delete_data_file(task.file)
        snapshot.append_data_file(file)
    transaction.commit_transaction()
    table = loaded(bench)
    commit_row_delta(table.transaction(), table, RowDelta(deletes=(delete,)))
    table = loaded(bench)
    footer = pq.read_metadata(local_path(file.file_path))

    assert [10] * 4 == [footer.row_group(number).num_rows for number in range(footer.num_row_groups)]
    return table


def read(table: Table, *columns: str) -> pa.Table:
    live = live_files(table)
    names: Sequence[str] | None = columns or None
    batches = live_batches.live_batches(live, table.io, names)
    return pa.Table.from_batches(batches, live_batches.live_schema(live, names))


def test_deleted_rows_are_left_out_of_each_row_group_in_order(cut: Table) -> None:
    expected = cut.scan(selected_fields=("id", "v")).to_arrow().to_pylist()

    assert LIVE == read(cut, "id")["id"].to_pylist()
    assert expected == read(cut, "id", "v").to_pylist()


def test_a_row_group_without_live_rows_is_not_decoded(cut: Table) -> None:
    sizes = [batch.num_rows for batch in live_batches.live_batches(live_files(cut), cut.io, ["id"])]

    assert [9, 9, 9] == sizes


def test_a_large_row_group_comes_in_batches(cut: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_batches, "_LARGE_ROWS", 9)
    monkeypatch.setattr(live_batches, "_BATCH_ROWS", 4)
    sizes = [batch.num_rows for batch in live_batches.live_batches(live_files(cut), cut.io, ["id"])]

    assert [3, 4, 2, 4, 3, 2, 4, 4, 1] == sizes
    assert cut.scan().to_arrow().to_pylist() == read(cut).to_pylist()


def test_rows_are_counted_without_a_look_at_a_data_file(cut: Table) -> None:
    live = live_files(cut)
    for file in live.files:
        Path(local_path(file.data.file_path)).unlink()

    assert len(LIVE) == live_batches.live_row_count(live, cut.io)


def test_columns_come_in_the_order_asked_for_under_the_names_of_today(cut: Table, bench: Bench) -> None:
    with cut.update_schema() as schema:
        schema.rename_column("v", "text")
    found = read(loaded(bench), "text", "id")

    assert ["text", "id"] == found.column_names
    assert [("text 1", 1), ("text 0", 2), (None, 3)] == list(
        zip(*found[:3].to_pydict().values(), strict=True)
    )


def test_a_column_that_was_added_or_widened_is_read_from_files_of_before(bench: Bench) -> None:
    narrow = COLUMNS.append(pa.field("n", pa.int32()))
    wide = COLUMNS.append(pa.field("n", pa.int64())).append(pa.field("w", pa.string()))
    bench.merge(load_file("l", {"id": 1, "v": "a", "n": 7}, columns=narrow))
    change = Change("I", {"id": 2, "v": "b", "n": 2**40, "w": "x"}, 10)
    bench.merge(change_file("c", change, generation=1, columns=wide))
    found = read(loaded(bench), "n", "w")

    assert [pa.int64(), pa.string()] == found.schema.types
    assert [(7, None), (2**40, "x")] == sorted(zip(*found.to_pydict().values(), strict=True))


def test_only_columns_no_file_has_still_give_their_rows(cut: Table, bench: Bench) -> None:
    with cut.update_schema() as schema:
        schema.add_column("later", UUIDType())
        schema.add_column("new", LongType())
    found = read(loaded(bench), "new")

    assert [None] * len(LIVE) == found["new"].to_pylist()


def test_a_type_this_reader_does_not_read_is_read_by_sql(cut: Table, bench: Bench) -> None:
    with cut.update_schema() as schema:
        schema.add_column("other", UUIDType())
    found = scan(bench.lake, SOURCE, bench.config.id, columns=["id", "other"]).read_all()

    assert live_batches.live_schema(live_files(loaded(bench))) is None
    assert LIVE == sorted(found["id"].to_pylist())


def test_a_reader_that_is_left_early_leaves_no_threads(cut: Table) -> None:
    batches = live_batches.live_batches(live_files(cut), cut.io)
    first = next(batches)
    batches.close()  # type: ignore[attr-defined]  # it is a generator

    assert 9 == first.num_rows
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("live-rows")]


def test_a_data_file_that_is_gone_is_told_as_such_through_the_stream(cut: Table, bench: Bench) -> None:
    for file in live_files(cut).files:
        Path(local_path(file.data.file_path)).unlink()
    with pytest.raises(FileNotFoundError):
        scan(bench.lake, SOURCE, bench.config.id).read_all()


def test_a_data_file_without_field_ids_is_told_not_read_as_nulls(cut: Table) -> None:
    (file,) = live_files(cut).files
    path = local_path(file.data.file_path)
    pq.write_table(pa.table({"id": [1], "v": ["a"]}), path)
    with pytest.raises(MergeError, match="has no field ids"):
        read(cut)


@pytest.mark.parametrize("numbers", [[5], [39], [0, 15, 16, 39], list(range(ROWS))])
def test_rows_are_read_by_their_numbers_the_deleted_ones_too(cut: Table, numbers: list[int]) -> None:
    live = live_files(cut)
    (file,) = live.files

    read = [
        row["id"] for batch in live_batches.rows_at(live, cut.io, file, numbers) for row in batch.to_pylist()
    ]

    assert numbers == read
