"""Taking in: every file once, into the right window, whatever the order and however often."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.config.model import PlatformConfig, SourceConfig
from cdc_platform.errors import ConfigError, StorageUnavailable
from cdc_platform.raw.files import AcceptedFile, FileKind
from cdc_platform.raw.intake import OVERLAP, IntakeResult, discover_tables, take_in
from cdc_platform.raw.manifests import read_load_sets, read_manifest, windows_of
from cdc_platform.raw.objects import ObjectStore, open_object_store
from cdc_platform.raw.store import FolderRawStore, open_raw_store
from cdc_platform.raw.versions import Digests
from cdc_platform.testing import write_change_file, write_load_file

AT = datetime(2024, 5, 31, 12, tzinfo=UTC)


class Shop:
    """A source of one active and one inactive table in a folder or bucket."""

    def __init__(self, raw: str, lake: Path, **raw_options: Any) -> None:
        self.raw, self._lake = raw, lake
        self.source = SourceConfig.model_validate(
            {
                "raw": {"location": raw, **raw_options},
                "window": {"every": "daily", "start": "2024-05-01"},
                "tables": [
                    {"name": "public.orders", "merge_key": ["id"]},
                    {"name": "public.stock", "merge_key": ["id"], "active": False},
                ],
            }
        )

    def objects(self, table_id: str = "orders") -> ObjectStore:
        return open_object_store(str(self._lake / table_id))

    def take_in(self, *, full: bool = True, windows: list[str] | None = None) -> IntakeResult:
        return take_in(
            "shop",
            self.source,
            store_of=lambda table: open_raw_store(PlatformConfig(), self.source.raw_of(table)),
            objects_of=self.objects,
            full=full,
            windows=windows,
        )

    def change(self, at: datetime, **more: Any) -> str:
        return write_change_file(self.raw, "public", "orders", at=at, events=[{"id": 1}], **more)

    def load(self, at: datetime, counter: int = 1) -> str:
        return write_load_file(self.raw, "public", "orders", [{"id": counter}], counter=counter, at=at)

    def accepted(self) -> list[AcceptedFile]:
        objects = self.objects()
        return [
            file
            for window in windows_of(objects)
            for file in read_manifest(objects, "shop", "orders", window).files
        ]

    def keys(self) -> list[str]:
        return sorted(file.file.key for file in self.accepted())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    (tmp_path / "raw").mkdir()
    return Shop(str(tmp_path / "raw"), tmp_path / "lake")


def test_changes_go_to_the_window_in_their_name_and_loads_to_that_of_their_modification(shop: Shop) -> None:
    change = shop.change(AT + timedelta(days=1))
    load = shop.load(AT)
    shop.take_in()

    assert {(load, "2024-05-31"), (change, "2024-06-01")} == {
        (file.file.key, file.window) for file in shop.accepted()
    }


def test_the_date_folder_does_not_decide_the_window(shop: Shop) -> None:
    shop.change(AT, date_folder="2024/06/02")
    shop.take_in()

    assert ["2024-05-31"] == [file.window for file in shop.accepted()]


def test_a_second_intake_finds_nothing_new(shop: Shop) -> None:
    shop.change(AT)

    assert [1, 0] == [shop.take_in().files, shop.take_in().files]


def test_a_file_with_an_older_name_that_arrives_late_is_accepted(shop: Shop) -> None:
    """Clocks go back, and objects appear late: a watermark of names would lose this one."""
    shop.change(AT)
    shop.take_in()
    late = shop.change(AT - timedelta(hours=5))

    result = shop.take_in(full=False)

    assert [late] == [file.file.key for one in result.accepted for file in one.files]


def test_a_file_later_than_the_overlap_is_found_by_the_full_listing(shop: Shop) -> None:
    shop.change(AT)
    shop.take_in()
    shop.change(AT - OVERLAP - timedelta(days=2))

    assert [0, 1] == [shop.take_in(full=False).files, shop.take_in(full=True).files]


def test_a_rewritten_file_is_accepted_as_another_version(shop: Shop) -> None:
    key = shop.change(AT)
    shop.take_in()
    write_change_file(shop.raw, "public", "orders", at=AT, events=[{"id": 1}, {"id": 2}])

    assert 1 == shop.take_in().files
    assert [key, key] == shop.keys()
    assert 1 == len(read_manifest(shop.objects(), "shop", "orders", "2024-05-31").readable)


def test_files_taken_in_by_an_older_release_are_not_new(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    shop.load(AT)
    shop.change(AT + timedelta(hours=1))
    with monkeypatch.context() as older:
        older.setattr(Digests, "of", lambda *_: (_ for _ in ()).throw(OSError("told by time")))
        before = shop.take_in()
    known = shop.accepted()
    after = shop.take_in()

    assert (2, 0) == (before.files, after.files)
    assert known == shop.accepted()
    assert 1 == len(read_load_sets(shop.objects()).sets)


def test_only_the_windows_asked_for_are_accepted(shop: Shop) -> None:
    first, second = shop.change(AT), shop.change(AT + timedelta(days=1))

    assert (("orders", "2024-06-01"),) == shop.take_in(windows=["2024-06-01"]).windows()
    assert [second] == shop.keys()
    shop.take_in()
    assert sorted([first, second]) == shop.keys()


def test_inactive_tables_are_left_alone(shop: Shop) -> None:
    write_change_file(shop.raw, "public", "stock", at=AT, events=[{"id": 1}])

    assert 0 == shop.take_in().files


def test_a_table_without_a_folder_has_no_files_and_is_no_error(shop: Shop) -> None:
    """DMS makes no folder for an empty table."""
    assert IntakeResult() == shop.take_in()


def test_an_unreachable_location_is_an_error_not_an_empty_one(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable):
        Shop(str(tmp_path / "none"), tmp_path / "lake").take_in()


@pytest.mark.parametrize("name", ["notes.txt", "CDC_TXN-20201117153046033.csv", "20241399-000000000.csv"])
def test_an_unknown_name_is_refused_and_does_not_keep_others_out(shop: Shop, name: str) -> None:
    shop.change(AT)
    (Path(shop.raw) / "public/orders" / name).write_bytes(b"x")

    result = shop.take_in()

    assert (1, [f"public/orders/{name}"]) == (result.files, [one.file.key for one in result.refused])


def test_a_file_from_before_the_first_window_is_refused_with_the_start_that_would_take_it(shop: Shop) -> None:
    shop.change(datetime(2024, 4, 30, 23, tzinfo=UTC))

    [refused] = shop.take_in().refused

    assert "before the first window 2024-05-01" in str(refused.error)
    assert "sources.shop.window.start to 2024-04-30" in str(refused.error)


def test_changes_belong_to_the_generation_of_the_load_before_them(shop: Shop) -> None:
    shop.load(AT)
    shop.change(AT + timedelta(hours=1))
    shop.take_in()
    shop.load(AT + timedelta(hours=2))
    shop.change(AT + timedelta(hours=3))
    shop.take_in()

    first, second = (one.generation for one in read_load_sets(shop.objects()).sets)
    of_changes = [file.generation for file in shop.accepted() if file.kind is FileKind.CHANGES]
    assert first < second
    assert [first, second] == of_changes


def test_a_load_written_over_in_another_window_cannot_be_read_any_more(shop: Shop) -> None:
    shop.load(AT)
    shop.take_in()
    shop.load(AT + timedelta(days=1))
    shop.take_in()

    readable = [
        read_manifest(shop.objects(), "shop", "orders", window).readable
        for window in ("2024-05-31", "2024-06-01")
    ]
    assert [0, 1] == [len(files) for files in readable]


def test_windows_whose_changes_moved_to_a_load_found_later_are_told(shop: Shop) -> None:
    shop.load(AT - timedelta(days=2))
    shop.change(AT)
    shop.take_in()
    shop.load(AT - timedelta(hours=1), counter=1)

    result = shop.take_in()

    assert ("orders", "2024-05-31") in result.reassigned
    assert ("orders", "2024-05-31") in result.windows()


def test_accepted_files_that_vanish_stay_recorded(shop: Shop) -> None:
    """A truncate at the source deletes a table's folder: what was accepted is not forgotten."""
    key = shop.change(AT)
    shop.take_in()
    os.unlink(Path(shop.raw) / key)

    assert 0 == shop.take_in().files
    assert [key] == shop.keys()


def test_a_bucket_of_several_pages_is_taken_in_whole(
    s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "3")
    local = Shop(str(tmp_path / "written"), tmp_path / "unused")
    keys = sorted(local.change(AT + timedelta(minutes=number)) for number in range(8))
    for key in keys:
        s3.put_object(Bucket=bucket, Key=f"dms/{key}", Body=(tmp_path / "written" / key).read_bytes())
    shop = Shop(f"s3://{bucket}/dms", tmp_path / "lake")

    assert (8, 0) == (shop.take_in().files, shop.take_in(full=False).files)
    assert keys == shop.keys()


def test_tables_are_discovered_by_their_folders(shop: Shop) -> None:
    for table in ("orders", "refunds"):
        write_change_file(shop.raw, "public", table, at=AT, events=[{"id": 1}])

    assert ("public.orders", "public.refunds") == discover_tables(FolderRawStore(shop.raw))


def test_a_folder_without_any_raw_file_is_not_a_table(shop: Shop) -> None:
    shop.change(AT, date_folder="2024/05/31")
    (Path(shop.raw) / "public/deep/x").mkdir(parents=True)
    (Path(shop.raw) / "public/deep/x/.hidden").touch()

    assert ("public.orders",) == discover_tables(FolderRawStore(shop.raw))


@settings(max_examples=25, deadline=None)
@given(
    minutes=st.lists(st.integers(0, 3 * 24 * 60), min_size=1, max_size=8, unique=True),
    fulls=st.lists(st.booleans(), min_size=8, max_size=8),
    data=st.data(),
)
def test_files_arriving_in_any_order_are_all_accepted_once(
    tmp_path_factory: pytest.TempPathFactory, minutes: list[int], fulls: list[bool], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("shop")
    (folder / "raw").mkdir()
    shop = Shop(str(folder / "raw"), folder / "lake")
    reported: list[str] = []
    written = []
    for minute, full in zip(data.draw(st.permutations(minutes)), fulls, strict=False):
        written.append(shop.change(AT + timedelta(minutes=minute)))
        result = shop.take_in(full=full)
        reported += [file.file.key for one in result.accepted for file in one.files]
    reported += [file.file.key for one in shop.take_in().accepted for file in one.files]

    assert sorted(written) == shop.keys() == sorted(reported)


@pytest.mark.parametrize("full", [True, False])
def test_windows_of_another_length_than_the_table_has_are_refused(shop: Shop, full: bool) -> None:
    shop.change(AT)
    shop.take_in()
    shop.source = shop.source.model_copy(
        update={"window": shop.source.window.model_copy(update={"every": "hourly"})}
    )
    shop.change(AT + timedelta(hours=1))

    told = (
        r"sources.shop.window.every: is hourly, but files of orders were taken in by daily windows, as 2024"
    )
    with pytest.raises(ConfigError, match=told):
        shop.take_in(full=full)
