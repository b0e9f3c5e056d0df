"""Folders of exports as engines leave them: what every reader of such a folder leaves out is not read."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.config.model import GlueCatalog, LakeConfig, PlatformConfig
from cdc_platform.lake.catalog import open_lake
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.lake.s3 import properties, put, served
from cdc_platform_tests.reconcile.shop import WholeShop

LEFT_OUT = ("_temporary/0/part-0.parquet", "._part-0.parquet", "_meta.parquet", "sub/.hidden/part-0.parquet")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeShop]:
    """A table of two rows, in which no test changes anything."""
    found = WholeShop(tmp_path_factory.mktemp("listing"), None, {"id": pa.int64()})
    found.load([{"id": 1}, {"id": 2}])
    found.apply()
    yield found
    found.platform.lake.close()


def rows_of(*numbers: int) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"id": pa.array(numbers, pa.int64())}), sink)
    return sink.getvalue()


def export(folder: Path, *names: str, beside: tuple[str, ...] = ()) -> Path:
    """Write an export of one row a name, with base's first row once more in each file ``beside``."""
    for name, number in [*((one, at) for at, one in enumerate(names, 1)), *((one, 1) for one in beside)]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(rows_of(number))
    return folder


def against(shop: WholeShop, path: Path | str) -> Reconciliation:
    return shop.compare(reader=ParquetReader(shop.platform.lake, str(path), "0/10"), origin=str(path))


def notes(found: Reconciliation) -> str:
    return " ".join(found.certificate["comparisons"][0]["notes"])


@pytest.mark.parametrize("name", LEFT_OUT)
def test_what_every_reader_of_a_folder_leaves_out_is_not_compared_and_the_certificate_names_it(
    shop: WholeShop, tmp_path: Path, name: str
) -> None:
    folder = export(tmp_path / "export", "a.parquet", "sub/b.parquet", beside=(name,))

    found = against(shop, folder)

    assert Verdict.MATCH is found.verdict, found.comparisons[0].reason
    assert f"1 file passed over, first {folder / name} " in notes(found)


def test_a_part_is_read_whatever_the_case_of_its_suffix(shop: WholeShop, tmp_path: Path) -> None:
    found = against(shop, export(tmp_path / "export", "a.PARQUET", "b.Parquet"))

    assert (Verdict.MATCH, "") == (found.verdict, notes(found))


def test_files_that_are_not_called_parquet_are_counted_and_the_first_is_named(
    shop: WholeShop, tmp_path: Path
) -> None:
    folder = export(tmp_path / "export", "a.parquet", "b.parquet", beside=("part-7", "part-8.csv"))
    # what holds no rows for any reader is not worth a word
    for name in ("_SUCCESS", ".a.parquet.crc"):
        (folder / name).touch()

    found = against(shop, folder)

    assert Verdict.MATCH is found.verdict
    assert f"2 files passed over, first {folder / 'part-7'} " in notes(found)


def test_a_folder_named_for_a_value_is_read_though_the_column_begins_with_an_underscore(
    shop: WholeShop, tmp_path: Path
) -> None:
    found = against(shop, export(tmp_path / "export", "_year=2025/a.parquet", "_year=2026/a.parquet"))

    assert (Verdict.MATCH, "") == (found.verdict, notes(found))


def test_a_folder_below_a_hidden_one_is_read_when_it_is_the_export_itself(
    shop: WholeShop, tmp_path: Path
) -> None:
    folder = export(tmp_path / ".lake" / "_export [1]", "a.parquet", "b.parquet", beside=("_c.parquet",))

    found = against(shop, folder)

    assert Verdict.MATCH is found.verdict, found.comparisons[0].reason
    assert "1 file passed over" in notes(found)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.parquet", ["a.parquet"]),
        ("**/*.parquet", ["a.parquet", "sub/b.parquet"]),
        ("_*.parquet", ["_meta.parquet"]),
        ("**/_*.parquet", ["_meta.parquet", "sub/_c.parquet"]),
        ("_temporary/*/*.parquet", ["_temporary/0/part-0.parquet"]),
        ("_temporary/**/*.parquet", ["_temporary/0/part-0.parquet"]),
        ("*/0/*.parquet", []),
        ("_meta.parquet", ["_meta.parquet"]),
    ],
)
@pytest.mark.parametrize("before", ["", "file://"])
def test_a_pattern_reads_of_what_is_left_out_only_what_it_names(
    shop: WholeShop, tmp_path: Path, before: str, pattern: str, expected: list[str]
) -> None:
    folder = export(tmp_path / "_lake", "a.parquet", "sub/b.parquet", beside=(*LEFT_OUT, "sub/_c.parquet"))

    listed = ParquetReader(shop.platform.lake, f"{before}{folder}/{pattern}").listed()

    assert [str(folder / name) for name in expected] == list(listed.files)


def test_a_folder_in_which_nothing_is_left_is_the_error_of_an_empty_one(
    shop: WholeShop, tmp_path: Path
) -> None:
    empty, hidden = tmp_path / "empty", export(tmp_path / "hidden", beside=LEFT_OUT)
    empty.mkdir()

    of_empty, of_hidden = (against(shop, folder) for folder in (empty, hidden))

    error = "the export cannot be compared: there is no Parquet file"
    assert {Verdict.ERROR} == {of_empty.verdict, of_hidden.verdict}
    assert error in of_empty.comparisons[0].reason
    assert f"{error}; 4 files passed over, first {hidden / '._part-0.parquet'} " in (
        of_hidden.comparisons[0].reason
    )


def test_a_table_without_a_merge_key_names_what_was_passed_over_as_well(tmp_path: Path) -> None:
    shop = WholeShop(tmp_path, None, {"id": pa.int64()}, merge_key=(), no_key="append")
    shop.load([{"id": 1}, {"id": 2}])
    shop.apply()

    found = against(shop, export(tmp_path / "export", "a.parquet", "b.parquet", beside=("_c.parquet",)))
    shop.platform.lake.close()

    assert Verdict.MATCH is found.verdict, found.comparisons[0].reason
    assert "1 file passed over" in notes(found)


def test_an_export_on_s3_is_read_without_what_every_reader_leaves_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with served(monkeypatch) as endpoint:
        for name in ("a.parquet", "sub/b.PARQUET", *LEFT_OUT, "_SUCCESS", "sub/"):
            put(f"_exports/item/{name}", rows_of(1))
        catalog = GlueCatalog(properties=properties(endpoint, "glue", "s3"))
        lake = LakeConfig(warehouse="s3://lake/warehouse", catalog=catalog)
        with open_lake(PlatformConfig(base_folder=tmp_path, lake=lake)) as opened:
            reader = ParquetReader(opened, "s3://lake/_exports/item/")
            listed = reader.listed()
            plan = reader.plan("public", "item", ["id"], pa.schema([pa.field("id", pa.int64())]))
            with reader.snapshot() as snapshot:
                rows = sum(batch.num_rows for batch in snapshot.rows_between(None, None, plan))

    folder = "s3://lake/_exports/item"
    assert (f"{folder}/a.parquet", f"{folder}/sub/b.PARQUET") == listed.files
    assert sorted(f"{folder}/{name}" for name in LEFT_OUT) == list(listed.passed_over)
    assert 2 == rows
