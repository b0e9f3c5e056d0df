"""Listing and opening raw files, alike in a folder and on S3."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from cdc_platform.config.model import PlatformConfig, RawOptions
from cdc_platform.errors import RawFileVanished, StorageUnavailable, UnreadableRawFile
from cdc_platform.raw import store as store_module
from cdc_platform.raw import versions
from cdc_platform.raw.store import FolderRawStore, RawStore, open_raw_store
from cdc_platform.testing import write_change_file

Put = Callable[[str, bytes], None]


@pytest.fixture(params=["folder", "s3"])
def raw(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[RawStore, Put]:
    """An empty raw location and a way to put an object there."""
    if request.param == "folder":

        def put(key: str, data: bytes) -> None:
            path = tmp_path / key
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)

        return open_raw_store(PlatformConfig(), RawOptions(location=str(tmp_path))), put
    client: Any = request.getfixturevalue("s3")
    bucket: str = request.getfixturevalue("bucket")
    options = RawOptions(location=f"s3://{bucket}/dms")
    return open_raw_store(PlatformConfig(), options), lambda key, data: client.put_object(
        Bucket=bucket, Key=f"dms/{key}", Body=data
    )


def test_files_are_listed_in_ascending_order_of_whole_keys(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    for key in ("a/t/LOAD00000001.csv", "a/t/20240101-000000000.csv", "a/t.x/1.csv", "b/t/1.csv"):
        put(key, b"x")

    keys = [file.key for file in store.list()]

    assert ["a/t.x/1.csv", "a/t/20240101-000000000.csv", "a/t/LOAD00000001.csv", "b/t/1.csv"] == keys


def test_one_tables_prefix_lists_no_other_table(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    for key in ("a/t/1.csv", "a/t2/1.csv"):
        put(key, b"x")

    assert ["a/t/1.csv"] == [file.key for file in store.list("a/t/")]
    assert [] == list(store.list("a/none/"))


def test_start_after_leaves_out_keys_up_to_it(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    for key in ("a/t/1.csv", "a/t/2.csv", "a/t/3/1.csv"):
        put(key, b"x")

    assert ["a/t/3/1.csv"] == [file.key for file in store.list("a/t/", start_after="a/t/2.csv")]


@pytest.mark.parametrize(
    "key",
    ["a/t/.1.csv.tmp", "a/t/_tmp_1.csv", "a/_tmp/1.csv", "awsdms_control/x/1.csv", "a/t_$folder$"],
)
def test_hidden_temporary_and_control_names_are_not_listed(raw: tuple[RawStore, Put], key: str) -> None:
    store, put = raw
    put(key, b"x")

    assert [] == list(store.list())


def test_folder_markers_are_not_listed(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dms/a/t/", Body=b"")
    store = open_raw_store(PlatformConfig(), RawOptions(location=f"s3://{bucket}/dms"))

    assert [] == list(store.list())


def test_every_page_of_a_listing_is_read(s3: Any, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 answers 1,000 keys at a time; here a page is two."""
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "2")
    keys = [f"a/t/{number}.csv" for number in range(5)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=f"dms/{key}", Body=b"")
    assert 2 == len(s3.list_objects_v2(Bucket=bucket)["Contents"])
    store = open_raw_store(PlatformConfig(), RawOptions(location=f"s3://{bucket}/dms"))

    assert keys == [file.key for file in store.list("a/t/")]
    assert keys[2:] == [file.key for file in store.list("a/t/", start_after=keys[1])]


def test_children_are_one_level_of_folders_and_files(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    for key in ("a/t/1.csv", "a/u/v/1.csv", "a/x.csv", ".hidden/t/1.csv"):
        put(key, b"x")

    assert ("a",) == store.children().folders
    below = store.children("a/")
    assert (("t", "u"), ["a/x.csv"]) == (below.folders, [file.key for file in below.files])


def test_a_listed_file_tells_size_and_utc_time_and_opens(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    put("a/t/1.csv", b"hello")

    [file] = store.list()

    assert (5, UTC) == (file.size, file.last_modified.tzinfo)
    assert b"hello" == store.open(file).read()


def test_rewritten_content_is_another_version(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    put("a/t/1.csv", b"one")
    [before] = store.list()
    put("a/t/1.csv", b"two")
    [after] = store.list()

    assert before.etag != after.etag
    with pytest.raises(RawFileVanished, match=r"a/t/1\.csv.*was replaced since"):
        store.open(before)


def test_the_same_content_is_the_same_version_whenever_it_was_written(raw: tuple[RawStore, Put]) -> None:
    store, put = raw
    put("a/t/1.csv", b"one")
    [before] = store.list()
    put("a/t/1.csv", b"two")
    list(store.list())
    put("a/t/1.csv", b"one")
    [after] = store.list()

    assert before.etag == after.etag
    assert store.is_there(before)
    assert b"one" == store.open(before).read()


def test_files_are_read_once_for_their_versions_across_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    digest = versions._digest
    monkeypatch.setattr(versions, "_RACY_NS", 0)
    monkeypatch.setattr(versions, "_digest", lambda path: read.append(path) or digest(path))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1.csv").write_bytes(b"one")
    before = list(FolderRawStore(tmp_path / "raw", tmp_path / "digests.sqlite").list())
    later = FolderRawStore(tmp_path / "raw", tmp_path / "digests.sqlite")

    assert before == list(later.list())
    assert later.is_there(before[0])
    assert 1 == len(read)


def test_files_that_are_read_side_by_side_are_listed_in_their_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = [3, 9, 0, 10, 12, 1, 11, 14, 13, 2, 15, 10]
    for number, size in enumerate(sizes):
        (tmp_path / f"{number:02}.csv").write_bytes(b"x" * size)
    expected = list(FolderRawStore(tmp_path).list())
    monkeypatch.setattr(store_module, "_LARGE", 10)

    assert sizes == [file.size for file in expected]
    assert expected == list(FolderRawStore(tmp_path).list())


def test_a_cache_of_versions_that_is_damaged_is_done_without(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "1.csv").write_bytes(b"one")
    (tmp_path / "digests.sqlite").write_bytes(b"no database at all" * 100)

    listed = list(FolderRawStore(tmp_path / "raw", tmp_path / "digests.sqlite").list())

    assert listed == list(FolderRawStore(tmp_path / "raw").list())


def test_a_version_told_by_its_time_is_that_file_as_long_as_its_time_stays(tmp_path: Path) -> None:
    """As files were told that an older release took in."""
    path = tmp_path / "1.csv"
    path.write_bytes(b"one")
    store = FolderRawStore(tmp_path)
    [listed] = store.list()
    old = replace(listed, etag=versions.version_by_time(path.stat()))
    same = store.is_there(old) and versions.is_version(old.etag, old.last_modified, listed)
    os.utime(path, ns=(10**18, 10**18))

    assert (True, False) == (same, store.is_there(old))


def test_a_file_moved_over_another_of_its_size_and_time_is_another_version(tmp_path: Path) -> None:
    """The same mtime and size: only the content tells."""
    for name, data in (("new", b"two"), ("1.csv", b"one")):
        (tmp_path / name).write_bytes(data)
        os.utime(tmp_path / name, ns=(10**18, 10**18))
    store = FolderRawStore(tmp_path)
    before = {file.key: file.etag for file in store.list()}["1.csv"]
    (tmp_path / "new").replace(tmp_path / "1.csv")
    [after] = store.list()

    assert before != after.etag


def test_a_file_that_vanished_after_listing_is_told_with_the_mend(
    raw: tuple[RawStore, Put], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    store, put = raw
    put("a/t/1.csv", b"hello")
    [file] = store.list()
    if isinstance(store, FolderRawStore):
        (tmp_path / "a/t/1.csv").unlink()
    else:
        bucket = request.getfixturevalue("bucket")
        request.getfixturevalue("s3").delete_object(Bucket=bucket, Key="dms/a/t/1.csv")

    with pytest.raises(RawFileVanished, match="reload the table"):
        store.open(file)


def test_a_big_object_is_read_in_ranges_and_sought(s3: Any, bucket: str) -> None:
    data = bytes(range(256)) * 80_000  # 20 MB: more than one request fetches
    s3.put_object(Bucket=bucket, Key="dms/a/t/big", Body=data)
    store = open_raw_store(PlatformConfig(), RawOptions(location=f"s3://{bucket}/dms"))
    [file] = store.list()

    with store.open(file) as stream:
        stream.seek(len(data) - 10)
        assert data[-10:] == stream.read(100)
        stream.seek(5)
        assert data[5:300] == stream.read(295)


def test_a_big_object_that_vanishes_while_read_is_told_as_vanished(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="dms/a/t/big", Body=b"x" * 20_000_000)
    store = open_raw_store(PlatformConfig(), RawOptions(location=f"s3://{bucket}/dms"))
    [file] = store.list()
    stream = store.open(file)
    s3.delete_object(Bucket=bucket, Key="dms/a/t/big")

    with stream, pytest.raises(RawFileVanished):
        stream.read(10)


def test_a_parquet_object_that_vanishes_while_read_is_told_as_vanished(
    s3: Any, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error comes back through Arrow as it was raised, not as unreadable bytes."""
    from cdc_platform.config.model import TableConfig
    from cdc_platform.formats.dms_reader import open_event_file
    from cdc_platform.raw import s3_store
    from cdc_platform.raw.files import AcceptedFile, FileKind

    monkeypatch.setattr(s3_store, "_WHOLE", 0)
    monkeypatch.setattr(s3_store, "_AHEAD", 1)
    at = datetime(2024, 5, 31, tzinfo=UTC)
    key = write_change_file(tmp_path, "s", "t", at=at, events=[{"id": number} for number in range(20_000)])
    s3.put_object(Bucket=bucket, Key=f"dms/{key}", Body=(tmp_path / key).read_bytes())
    options = RawOptions(location=f"s3://{bucket}/dms")
    store = open_raw_store(PlatformConfig(), options)
    [file] = store.list()
    table = TableConfig(name="s.t", merge_key=("id",))
    events = open_event_file(store, options, table, AcceptedFile(file, FileKind.CHANGES, at, "2024-05-31", 0))
    s3.delete_object(Bucket=bucket, Key=f"dms/{key}")

    with pytest.raises(RawFileVanished):
        list(events.batches())


def test_a_folder_that_does_not_exist_is_unreachable_not_empty(tmp_path: Path) -> None:
    store = open_raw_store(PlatformConfig(), RawOptions(location=str(tmp_path / "none")))

    with pytest.raises(StorageUnavailable, match=r"does not exist.*raw\.location"):
        list(store.list())


def test_a_bucket_that_does_not_exist_is_unreachable(s3: Any) -> None:
    store = open_raw_store(PlatformConfig(), RawOptions(location="s3://no-such-bucket/x"))

    with pytest.raises(StorageUnavailable, match="NoSuchBucket"):
        list(store.list())


def test_a_file_that_may_not_be_read_is_that_files_fault(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_bytes(b"x")
    store = FolderRawStore(tmp_path)
    [file] = store.list()
    (tmp_path / "1.csv").chmod(0)
    user = os.geteuid()
    if user == 0:
        os.seteuid(65_534)  # root may read everything
    try:
        with pytest.raises(UnreadableRawFile, match=r"refused: permission denied.*grant read access"):
            store.open(file)
    finally:
        os.seteuid(user)


_NAMES = st.text("ab./-0", min_size=1, max_size=4).filter(
    lambda name: not name.startswith((".", "/")) and not name.endswith("/")
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(keys={"-/-"}, after="-//-")
@example(keys={"a/b"}, after="./a/")
@given(keys=st.sets(st.lists(_NAMES, min_size=1, max_size=3).map("/".join), max_size=8), after=_NAMES)
def test_a_folder_lists_as_s3_would_for_any_keys(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], after: str
) -> None:
    """Order and start_after are those of plain strings."""
    folder = tmp_path_factory.mktemp("walk")
    written = set()
    for key in sorted(keys):
        path = folder / key
        if "//" in key or any(part in ("", ".", "..") or part[0] == "." for part in key.split("/")):
            continue
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"")
        except OSError:
            continue  # one key is a folder of another
        written.add(key)
    store = FolderRawStore(folder)

    assert sorted(written) == [file.key for file in store.list()]
    assert sorted(key for key in written if key > after) == [f.key for f in store.list(start_after=after)]
    assert sorted(key for key in written if key.startswith(after)) == [f.key for f in store.list(after)]
