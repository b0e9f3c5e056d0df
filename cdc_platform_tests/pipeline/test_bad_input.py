"""One bad file beside good ones: the good are merged, the bad waits with its reason until it is mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.errors import ConfigError, StorageUnavailable
from cdc_platform.lake import quarantine
from cdc_platform.lake.quarantine import QuarantineItem, QuarantineState
from cdc_platform.lake.read import scan
from cdc_platform.pipeline import merge_table, take_in
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.pipeline.workbench import SOURCE, Workbench

TABLE = {"name": "public.thing", "merge_key": ["id"]}
LOADED = datetime(2024, 5, 1, 8, tzinfo=UTC)
GOOD = datetime(2024, 5, 1, 9, tzinfo=UTC)
BAD = datetime(2024, 5, 1, 10, tzinfo=UTC)
TYPES = {"id": pa.int64(), "n": pa.int32()}


def _change(bench: Workbench, at: datetime, *events: dict[str, Any], **types: pa.DataType) -> Path:
    key = write_change_file(
        bench.raw,
        "public",
        "thing",
        at=at,
        events=events,
        types=TYPES | types,  # type: ignore[arg-type]
    )
    return bench.raw / key


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    """A table with two loaded rows and one good change."""
    bench = Workbench(tmp_path, TABLE)
    rows = [{"id": 1, "n": 10}, {"id": 2, "n": 20}]
    write_load_file(bench.raw, "public", "thing", rows, at=LOADED, types=TYPES)
    _change(bench, GOOD, {"Op": "U", "id": 1, "n": 11})
    return bench


def _waiting(bench: Workbench) -> list[QuarantineItem]:
    return quarantine.list_items(bench.platform.lake, SOURCE, "thing", state=QuarantineState.OPEN)


def _raw_verdict(bench: Workbench, window: str) -> Verdict:
    return compare_window(bench.platform, SOURCE, "thing", window).comparison("raw_matches_base").verdict


def _truncate(bench: Workbench) -> None:
    path = _change(bench, BAD, {"Op": "I", "id": 3, "n": 30})
    path.write_bytes(path.read_bytes()[:-20])


def _wrong_magic(bench: Workbench) -> None:
    _change(bench, BAD, {"Op": "I", "id": 3, "n": 30}).write_bytes(b"PK\x03\x04 not a parquet file at all")


def _without_key(bench: Workbench) -> None:
    path = _change(bench, BAD, {"Op": "I", "id": 3, "n": 30})
    pq.write_table(pq.read_table(path).drop_columns(["id"]), path)


def _incompatible(bench: Workbench) -> None:
    _change(bench, BAD, {"Op": "I", "id": 3, "n": "thirty"}, n=pa.string())


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_truncate, "Parquet"),
        (_wrong_magic, "Parquet"),
        (_without_key, "'id'"),
        (_incompatible, "n"),
    ],
)
def test_a_bad_file_waits_in_quarantine_while_the_others_are_merged(
    bench: Workbench, spoil: Callable[[Workbench], None], reason: str
) -> None:
    spoil(bench)
    bench.apply("thing")

    assert {1: {"id": 1, "n": 11}, 2: {"id": 2, "n": 20}} == bench.by_key("thing", "id")
    (item,) = _waiting(bench)
    assert item.row is None
    assert reason in item.reason
    assert item.mend


@pytest.mark.parametrize("spoil", [_truncate, _wrong_magic, _without_key, _incompatible])
def test_a_mended_file_is_applied(bench: Workbench, spoil: Callable[[Workbench], None]) -> None:
    spoil(bench)
    bench.apply("thing")
    _change(bench, BAD, {"Op": "I", "id": 3, "n": 30})
    bench.apply("thing")

    assert {"id": 3, "n": 30} == bench.by_key("thing", "id")[3]
    assert [] == _waiting(bench)
    assert Verdict.MATCH == _raw_verdict(bench, "2024-05-01")


def test_a_refused_name_stands_against_match_until_it_is_taken_away(bench: Workbench) -> None:
    odd = bench.raw / "public" / "thing" / "export-final(2).parquet"
    odd.write_bytes(b"x")
    bench.apply("thing")
    (item,) = _waiting(bench)
    before = _raw_verdict(bench, item.window)
    odd.unlink()
    bench.apply("thing")

    assert (Verdict.UNVERIFIED, []) == (before, _waiting(bench))
    assert Verdict.MATCH == _raw_verdict(bench, item.window)


def test_a_refused_name_that_was_given_up_is_not_told_again(bench: Workbench) -> None:
    (bench.raw / "public" / "thing" / "export-final(2).parquet").write_bytes(b"x")
    told = take_in(bench.platform, SOURCE).refused
    quarantine.discard(bench.platform.lake, SOURCE, "thing", _waiting(bench)[0].id)

    assert (1, 0) == (len(told), len(take_in(bench.platform, SOURCE).refused))


def test_an_unknown_op_and_a_null_key_are_set_aside_row_by_row(bench: Workbench) -> None:
    good = [{"Op": "I", "id": key, "n": key} for key in range(10, 16)]
    _change(bench, BAD, {"Op": "X", "id": 3, "n": 30}, {"Op": "I", "id": None, "n": 40}, *good)
    bench.apply("thing")

    assert [(0, "Op"), (1, "id")] == sorted((item.row, item.column) for item in _waiting(bench))
    assert [1, 2, *range(10, 16)] == sorted(bench.by_key("thing", "id"))


def test_a_name_dms_does_not_write_is_set_aside_by_name(bench: Workbench) -> None:
    (bench.raw / "public" / "thing" / "export-final(2).parquet").write_bytes(b"x")
    bench.apply("thing")

    (item,) = _waiting(bench)
    assert item.key.endswith("export-final(2).parquet")
    assert item.mend


def test_a_file_of_before_the_first_window_is_set_aside_by_name(bench: Workbench) -> None:
    _change(bench, datetime(1999, 12, 31, tzinfo=UTC), {"Op": "I", "id": 9, "n": 9})
    bench.apply("thing")

    (item,) = _waiting(bench)
    assert "window.start" in item.mend


def test_a_file_that_vanished_after_it_was_listed_is_told_and_the_others_are_merged(bench: Workbench) -> None:
    path = _change(bench, BAD, {"Op": "I", "id": 3, "n": 30})
    take_in(bench.platform, SOURCE)
    path.unlink()
    merge_table(bench.platform, SOURCE, "thing")

    assert [1, 2] == sorted(bench.by_key("thing", "id"))
    (item,) = _waiting(bench)
    assert "gone" in item.reason


def test_a_file_that_came_back_unchanged_is_applied_once_released(bench: Workbench) -> None:
    path = _change(bench, BAD, {"Op": "I", "id": 3, "n": 30})
    take_in(bench.platform, SOURCE)
    away = path.rename(bench.raw / "away")
    merge_table(bench.platform, SOURCE, "thing")
    away.rename(path)
    quarantine.release(bench.platform.lake, SOURCE, "thing", _waiting(bench)[0].id)
    merge_table(bench.platform, SOURCE, "thing")

    assert [1, 2, 3] == sorted(bench.by_key("thing", "id"))


def test_a_csv_file_with_an_odd_row_loses_only_that_row(tmp_path: Path) -> None:
    columns = [{"name": "id", "type": "long"}, {"name": "n", "type": "int"}]
    raw = {"format": "csv", "change_sequence_column": None, "stream_position_column": None}
    raw |= {"before_image_prefix": None, "timestamp_column": None}
    bench = Workbench(tmp_path, TABLE | {"columns": columns}, raw=raw)
    folder = bench.raw / "public" / "thing"
    folder.mkdir(parents=True)
    (folder / "20240501-090000000.csv").write_text("I,1,10\nI,2,20\nI,3,30,what\nI,4,40\n")
    bench.apply("thing")

    assert [1, 2, 4] == sorted(bench.by_key("thing", "id"))
    assert [2] == [item.row for item in _waiting(bench)]


def test_a_raw_location_that_is_not_there_is_named(tmp_path: Path) -> None:
    bench = Workbench(tmp_path, TABLE)
    bench.raw.rmdir()
    bench.raw.write_text("a file where the folder should be")

    with pytest.raises(StorageUnavailable, match="delivered"):
        bench.apply("thing")


def test_a_table_that_is_not_configured_is_told_with_those_that_are(bench: Workbench) -> None:
    with pytest.raises(ConfigError, match="tables: thing"):
        merge_table(bench.platform, SOURCE, "things")


def test_a_value_no_table_holds_waits_in_quarantine_and_stops_nothing(bench: Workbench) -> None:
    far = {"Op": "I", "id": 3, "n": 30, "due": 10**18}
    _change(bench, BAD, far, {"Op": "I", "id": 4, "n": 40, "due": 0}, due=pa.timestamp("us"))

    take_in(bench.platform, SOURCE)
    merge_table(bench.platform, SOURCE, "thing")

    [item] = _waiting(bench)
    rows = scan(bench.platform.lake, SOURCE, "thing").read_all()
    assert ((0, "due"), {1, 2, 4}) == ((item.row, item.column), set(rows.column("id").to_pylist()))
