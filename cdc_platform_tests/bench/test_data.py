"""The data sets of the bench: the same each time, in DMS's layout, and put back after a merge."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from bench import verify
from bench.data import DataSet, counts_of, data_set, make_changes, spare
from bench.lake import BenchLake, checked, merge_changes
from bench.rows import VARIANTS

ROWS, CHANGES = 4_000, 1_000


@pytest.fixture(params=list(VARIANTS))
def data(request: pytest.FixtureRequest, tmp_path: Path) -> DataSet:
    return data_set(tmp_path, request.param, ROWS)


def test_a_data_set_made_twice_is_the_same(tmp_path: Path) -> None:
    first, second = (data_set(tmp_path / name, "uuid", ROWS) for name in ("a", "b"))

    assert pq.read_table(first.load_files) == pq.read_table(second.load_files)
    assert pq.read_table(make_changes(first, CHANGES)) == pq.read_table(make_changes(second, CHANGES))


def test_changes_are_of_existing_keys_but_for_the_inserts_and_name_each_key_once(data: DataSet) -> None:
    changes = pq.read_table(make_changes(data, CHANGES))
    load = pq.read_table(data.load_files)
    key = list(data.variant.key)

    ops = changes.group_by("Op").aggregate([([], "count_all")]).to_pylist()
    assert counts_of(CHANGES) == {each["Op"]: each["count_all"] for each in ops}
    assert CHANGES == changes.group_by(key).aggregate([]).num_rows
    inserted = changes.filter(pc.equal(changes["Op"], "I"))
    assert CHANGES - inserted.num_rows == changes.join(load.select(key), key, join_type="left semi").num_rows


def test_recent_changes_fall_on_the_newest_rows(tmp_path: Path) -> None:
    data = data_set(tmp_path, "bigint", 1_003_000)
    changes = pq.read_table(make_changes(data, 100, "recent"))

    assert pc.min(changes["id"]).as_py() > 3_000


def test_files_have_the_columns_a_task_writes(data: DataSet) -> None:
    own = list(data.variant.columns)
    added = ["cdc_change_seq", "cdc_stream_position", *(f"BI_{name}" for name in data.variant.key)]

    assert ["dms_timestamp", *own, *added] == pq.read_schema(data.load_files[0]).names
    changes = make_changes(data, CHANGES)
    assert ["Op", "dms_timestamp", *own, *added] == pq.read_schema(changes[0]).names


def test_a_merge_gives_what_the_raw_files_say_and_is_put_back(data: DataSet) -> None:
    lake = BenchLake(data)
    lake.ensure_base()
    with lake.fresh(make_changes(data, CHANGES)):
        checked(merge_changes(lake.config)[0], CHANGES)
        merged = verify.actual(lake)

    assert verify.expected(data, CHANGES) == merged
    assert verify.expected(data, 0) == verify.actual(lake)


def test_a_table_that_is_not_what_it_should_be_is_told(tmp_path: Path) -> None:
    lake = BenchLake(data_set(tmp_path, "bigint", ROWS))
    make_changes(lake.data, CHANGES)
    lake.ensure_base()

    difference = verify.difference(lake, verify.expected(lake.data, CHANGES))

    assert difference is not None
    assert difference.startswith("the table is wrong")


def test_a_load_in_several_merges_makes_the_same_table(tmp_path: Path) -> None:
    lake = BenchLake(data_set(tmp_path, "bigint", ROWS))
    lake.write_config()
    lake.load(files_at_once=1)

    assert verify.expected(lake.data, 0) == verify.actual(lake)


def test_two_processes_never_use_one_data_set(tmp_path: Path) -> None:
    data_set(tmp_path, "bigint", ROWS)
    again = f"import pathlib, bench.data as d; d.data_set(pathlib.Path({str(tmp_path)!r}), 'bigint', {ROWS})"
    second = subprocess.run([sys.executable, "-c", again], capture_output=True, text=True, check=False)

    assert second.returncode == 1
    assert "another run is using" in second.stderr


def test_a_disk_without_room_is_told_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="GiB free"):
        spare(tmp_path, "bigint", 10**13)
