"""A source may call its columns what the merge calls its own: no name is special but those of ``_cdc_``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.config.model import PlatformConfig
from cdc_platform.lake.read import scan
from cdc_platform.pipeline import Platform, merge_table, take_in

#: Columns of the workspace's tables, of the tombstone files and of DuckDB's Parquet reader.
NAMES = (
    *("position", "generation", "file", "row", "event", "op", "pos", "kind", "fate", "deletes", "number"),
    *("committed_at", "happened_at", "stored", "hash", "has_row", "base_file", "image_file", "part", "first"),
    *(
        "path",
        "file_time",
        "cause",
        "file_row_number",
        "file_index",
        "filename",
        "side",
        "balance",
        "col_id",
        "rowid",
    ),
)
SEQUENCE = "20271101000000000000000000000000000"


def configured(folder: Path, **table: Any) -> PlatformConfig:
    source = {
        "raw": {
            "location": str(folder / "raw"),
            "change_sequence_column": "seq",
            "timestamp_column": None,
            "stream_position_column": None,
            "before_image_prefix": "BI_",
        },
        "window": {"every": "daily", "start": "2026-01-01"},
        "tables": [{"name": "public.t", **table}],
    }
    content = {"version": 1, "lake": {"warehouse": "wh"}, "state": "s.sqlite", "sources": {"s": source}}
    return PlatformConfig(base_folder=folder, **content)


def write(folder: Path, name: str, columns: dict[str, list[Any]]) -> None:
    path = folder / "raw" / "public" / "t" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def live(platform: Platform, name: str) -> list[tuple[Any, Any]]:
    rows = scan(platform.lake, "s", "t", columns=[name, "v", "_cdc_op"]).read_all().to_pylist()
    return sorted((row[name], row["v"]) for row in rows if row["_cdc_op"] != "D")


def sequences(count: int) -> list[str]:
    return [str(int(SEQUENCE) + number) for number in range(count)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "options", [{}, {"delete_mode": "soft"}, {"images": "partial"}], ids=["hard", "soft", "partial"]
)
def test_a_key_column_may_have_any_name(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    write(tmp_path, "LOAD00000001.parquet", {name: [1, 2], "id": [1, 1], "v": ["a", "b"]})
    platform = Platform(configured(tmp_path, merge_key=["id", name], **options))
    changes = {
        "Op": ["U", "D", "I"],
        name: [1, 2, 3],
        "id": [1, 1, 1],
        "v": ["c", None, "z"],
        "seq": sequences(3),
    }

    take_in(platform, "s")
    merge_table(platform, "s", "t")
    write(tmp_path, "20271101-000000000.parquet", changes | {"seq": sequences(len(changes["Op"]))})
    take_in(platform, "s")
    result = merge_table(platform, "s", "t")

    assert () == result.quarantined
    assert [(1, "c"), (3, "z")] == live(platform, name)


@pytest.mark.parametrize("name", NAMES)
def test_a_column_of_a_table_without_a_key_may_have_any_name(tmp_path: Path, name: str) -> None:
    write(tmp_path, "LOAD00000001.parquet", {name: [1, 2], "v": ["a", "b"]})
    platform = Platform(configured(tmp_path, no_key="multiset"))

    take_in(platform, "s")
    merge_table(platform, "s", "t")
    changes = {"Op": ["D", "I"], name: [2, 3], "v": ["b", "c"]}
    write(tmp_path, "20271101-000000000.parquet", changes | {"seq": sequences(len(changes["Op"]))})
    take_in(platform, "s")
    result = merge_table(platform, "s", "t")

    assert () == result.quarantined
    assert [(1, "a"), (3, "c")] == live(platform, name)


@pytest.mark.parametrize("name", ["rowid", "values_of_1000", "hash"])
@pytest.mark.parametrize("transform", ["{}", "bucket(4, {})", "truncate(1, {})"])
def test_a_partition_column_may_have_any_name(tmp_path: Path, name: str, transform: str) -> None:
    write(tmp_path, "LOAD00000001.parquet", {"id": [1, 2], name: ["x", "y"], "v": ["a", "b"]})
    platform = Platform(configured(tmp_path, merge_key=["id"], partition_by=[transform.format(name)]))
    changes = {"Op": ["U", "I"], "id": [1, 3], name: ["z", "日本"], "v": ["c", "d"], "seq": sequences(2)}

    take_in(platform, "s")
    merge_table(platform, "s", "t")
    write(tmp_path, "20271101-000000000.parquet", changes)
    take_in(platform, "s")
    merge_table(platform, "s", "t")

    assert [("y", "b"), ("z", "c"), ("日本", "d")] == live(platform, name)
