"""Our own reader of base tables: the same rows as pyiceberg reads, whoever wrote the delete files."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import DataFile, DataFileContent, FileFormat
from pyiceberg.table import Table

from cdc_platform.errors import MergeError
from cdc_platform.lake import base_files
from cdc_platform.lake.live_rows import DATA_FILE, DATA_ROW, live_files, live_sql
from cdc_platform.lake.read import open_workspace, scan
from cdc_platform.lake.row_delta import RowDelta, commit_row_delta
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import COLUMNS, Change, change_file, load_file


def loaded(bench: Bench) -> Table:
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return table


def two_files(bench: Bench) -> Table:
    """Return a table of two data files without deletes: keys 1 to 4, and 11 to 14."""
    bench.merge(load_file("l1", *((key, f"a{key}") for key in range(1, 5))))
    bench.merge(load_file("l2", *((key, f"b{key}") for key in range(11, 15))))
    return loaded(bench)


def delete_file(table: Table, places: Sequence[tuple[str, int]], **options: Any) -> DataFile:
    """Return a delete file as Spark writes it: of a partition, not of one data file."""
    path = f"{table.location()}/data/{uuid.uuid4()}-deletes.parquet"
    rows = pa.table({"file_path": [file for file, _ in places], "pos": [pos for _, pos in places]})
    pq.write_table(rows, path.removeprefix("file://"))
    settings = {"content": DataFileContent.POSITION_DELETES, "file_format": FileFormat.PARQUET, **options}
    file = DataFile.from_args(
        file_path=path,
        partition=next(iter(table.scan().plan_files())).file.partition,
        record_count=len(places),
        file_size_in_bytes=1000,
        **settings,
    )
    file.spec_id = table.spec().spec_id
    return file


def with_deletes(bench: Bench, table: Table, *files: DataFile) -> Table:
    commit_row_delta(table.transaction(), table, RowDelta(deletes=files))
    return loaded(bench)


def through_pyiceberg(table: Table) -> list[tuple[int, str]]:
    return sorted((row["id"], row["v"]) for row in table.scan().to_arrow().to_pylist())


def both_ways(bench: Bench, *columns: str) -> list[tuple[Any, ...]]:
    """Return the rows as they are read without SQL, which must be those that SQL reads."""
    names = columns or ("id", "v")
    by_sql = scan(bench.lake, SOURCE, bench.config.id, columns=names, where="true").read_all().to_pylist()
    found = bench.rows(*names)

    assert found == sorted((tuple(row.values()) for row in by_sql), key=repr)
    return found


def test_a_delete_file_of_several_data_files_applies_to_each_of_them(bench: Bench) -> None:
    table = two_files(bench)
    first, second = sorted(task.file.file_path for task in table.scan().plan_files())
    table = with_deletes(bench, table, delete_file(table, [(first, 0), (first, 3), (second, 1)]))

    assert 5 == len(both_ways(bench))
    assert through_pyiceberg(table) == sorted(both_ways(bench))


def test_delete_files_that_repeat_each_other_take_a_row_away_once(bench: Bench) -> None:
    table = two_files(bench)
    first, _ = sorted(task.file.file_path for task in table.scan().plan_files())
    table = with_deletes(bench, table, delete_file(table, [(first, 1), (first, 2)]))
    table = with_deletes(bench, table, delete_file(table, [(first, 2)]))

    assert 6 == len(both_ways(bench))
    assert through_pyiceberg(table) == sorted(both_ways(bench))


def test_rows_are_left_out_by_file_and_row_also_where_a_filter_skips_whole_files(bench: Bench) -> None:
    for number in range(6):
        keys = range(number * 10, number * 10 + 3)
        bench.merge(load_file(f"l{number}", *((key, f"v{key}") for key in keys)))
    bench.merge(
        change_file("c", *(("D", number * 10 + 1, None, 5 + number) for number in range(6)), generation=1)
    )
    found = scan(bench.lake, SOURCE, bench.config.id, columns=["id"], where="id >= 30").read_all()

    assert [(30,), (32,), (40,), (42,), (50,), (52,)] == sorted(zip(found["id"].to_pylist(), strict=True))


def test_files_without_deletes_are_read_without_a_join(bench: Bench) -> None:
    table = two_files(bench)
    clean = live_sql(table)
    bench.merge(change_file("c", ("D", 1, None, 10), generation=1))

    assert "JOIN" not in clean
    assert 2 == len(live_sql(loaded(bench)).split(" UNION ALL "))


def test_columns_named_as_the_reader_names_its_own_are_read_as_they_are(bench: Bench) -> None:
    names = ("filename", "file_row_number", "file_index", "field_1", "row")
    columns = COLUMNS
    for name in names:
        columns = columns.append(pa.field(name, pa.string()))
    rows = [{"id": key, "v": None, **{name: f"{name} {key}" for name in names}} for key in range(3)]
    bench.merge(load_file("l", *rows, columns=columns))
    table = loaded(bench)
    only = next(iter(table.scan().plan_files())).file.file_path
    with_deletes(bench, table, delete_file(table, [(only, 1)]))

    assert [(key, *(f"{name} {key}" for name in names)) for key in (0, 2)] == both_ways(bench, "id", *names)


def test_a_snapshot_of_the_past_is_read_with_the_schema_it_had(bench: Bench) -> None:
    wider = COLUMNS.append(pa.field("w", pa.int32()))
    first = bench.merge(load_file("l", (1, "a"), (2, "b"))).snapshot_id
    bench.merge(change_file("c", Change("U", {"id": 1, "v": "A", "w": 7}, 10), generation=1, columns=wider))
    before = scan(bench.lake, SOURCE, bench.config.id, snapshot_id=first).read_all()

    assert "w" not in before.schema.names
    assert {1: "a", 2: "b"} == dict(zip(before["id"].to_pylist(), before["v"].to_pylist(), strict=True))
    assert [(1, "A", 7), (2, "b", None)] == both_ways(bench, "id", "v", "w")


def test_all_rows_are_counted(bench: Bench) -> None:
    table = two_files(bench)
    con = open_workspace(bench.lake)
    counted = con.execute(f"SELECT count(*) FROM {live_files(table).sql()}").fetchone()
    con.close()

    assert (8,) == counted


def test_a_snapshot_that_is_not_there_is_told(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a")))
    with pytest.raises(MergeError, match="there is no snapshot 7"):
        scan(bench.lake, SOURCE, bench.config.id, snapshot_id=7)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"content": DataFileContent.EQUALITY_DELETES, "equality_ids": [5]}, "equality deletes"),
        ({"file_format": FileFormat.PUFFIN}, "deletion vectors"),
        ({"file_format": FileFormat.ORC}, "ORC files"),
    ],
)
def test_delete_files_of_a_kind_only_others_read_are_told_with_the_mend(
    bench: Bench, options: dict[str, Any], message: str
) -> None:
    table = two_files(bench)
    path = next(iter(table.scan().plan_files())).file.file_path
    table = with_deletes(bench, table, delete_file(table, [(path, 0)], **options))
    with pytest.raises(MergeError, match=rf"{message}.*→ let the writer"):
        live_files(table)


def test_a_single_file_that_several_threads_read_is_read_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_files, "_MANY_ROWS", 0)
    bench.merge(load_file("l", *((key, f"a{key}") for key in range(20))))
    table = loaded(bench)
    path = next(iter(table.scan().plan_files())).file.file_path
    table = with_deletes(bench, table, delete_file(table, [(path, 7), (path, 19)]))

    with open_workspace(bench.lake) as connection:
        relation = live_files(table).sql(["id"], located=True)
        found = connection.execute(
            f"SELECT count(*), sum(id), count(DISTINCT {DATA_ROW}), min({DATA_FILE}) FROM {relation}"
        ).fetchone()
    left = set(range(20)) - {7, 19}
    assert (len(left), sum(left), len(left), path.removeprefix("file://")) == found
