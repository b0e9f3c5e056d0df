"""The object store: atomic writes and compare-and-swap, alike in a folder and on S3."""

from __future__ import annotations

import multiprocessing
import threading
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.errors import StorageUnavailable
from cdc_platform.raw.objects import ObjectStore, open_object_store


def test_a_key_never_written_reads_as_none(objects: ObjectStore) -> None:
    assert objects.get("a/b.json") is None
    assert objects.read("a/b.json") is None


def test_what_was_put_is_read_back(objects: ObjectStore) -> None:
    objects.put("a/b.json", b"one")
    objects.put("a/b.json", b"two")

    assert objects.get("a/b.json") == b"two"


def test_put_if_absent_writes_only_the_first_time(objects: ObjectStore) -> None:
    assert objects.put_if_absent("a", b"one") is True
    assert objects.put_if_absent("a", b"two") is False
    assert objects.get("a") == b"one"


def test_replace_refuses_a_version_that_is_no_longer_current(objects: ObjectStore) -> None:
    objects.put("a", b"one")
    read = objects.read("a")
    assert read is not None
    objects.put("a", b"two")

    assert objects.replace("a", b"three", read.version) is False
    assert objects.get("a") == b"two"


def test_replace_takes_the_current_version(objects: ObjectStore) -> None:
    objects.put("a", b"one")
    read = objects.read("a")
    assert read is not None

    assert objects.replace("a", b"two", read.version) is True
    assert objects.get("a") == b"two"


def test_replace_of_a_deleted_object_is_refused(objects: ObjectStore) -> None:
    objects.put("a", b"one")
    read = objects.read("a")
    assert read is not None
    objects.delete("a")

    assert objects.replace("a", b"two", read.version) is False
    assert objects.get("a") is None


def test_list_yields_the_keys_of_a_prefix_in_ascending_order(objects: ObjectStore) -> None:
    for key in ("b/1", "a/2", "a.x", "a/10", "a0"):
        objects.put(key, b"")

    assert ["a.x", "a/10", "a/2", "a0", "b/1"] == list(objects.list())
    assert ["a/10", "a/2"] == list(objects.list("a/"))
    assert ["a/10"] == list(objects.list("a/1"))


def test_deleting_what_is_not_there_does_nothing(objects: ObjectStore) -> None:
    objects.delete("a")

    assert list(objects.list()) == []


def test_a_store_below_a_prefix_shares_its_objects(objects: ObjectStore) -> None:
    objects.below("a/b").put("c", b"one")

    assert objects.get("a/b/c") == b"one"
    assert objects.below("a/b").url("c") == objects.url("a/b/c")


@pytest.mark.parametrize("key", ["", "/a", "a//b", "a/", ".a", "a/../b", "a/.b"])
def test_keys_that_could_leave_the_store_or_hide_are_refused(objects: ObjectStore, key: str) -> None:
    with pytest.raises(ValueError, match="not an object key"):
        objects.put(key, b"")


def test_an_unwritable_place_is_told_with_its_path(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"in the way")

    with pytest.raises(StorageUnavailable, match="cannot read or write here") as caught:
        open_object_store(str(tmp_path / "file")).put("a", b"")
    assert str(tmp_path / "file") in str(caught.value)


def test_a_bucket_that_does_not_exist_is_told(s3: Any) -> None:
    with pytest.raises(StorageUnavailable, match=r"NoSuchBucket.*create the bucket"):
        open_object_store("s3://no-such-bucket/x").put("a", b"")


def test_what_only_stands_for_a_folder_is_not_listed(s3: Any) -> None:
    s3.create_bucket(Bucket="folders")
    store = open_object_store("s3://folders/x")
    store.put("windows/a.json", b"{}")
    s3.put_object(Bucket="folders", Key="x/windows/", Body=b"")

    assert ["windows/a.json"] == list(store.list("windows/"))


def test_no_temporary_file_is_left_or_listed(tmp_path: Path) -> None:
    store = open_object_store(str(tmp_path))
    store.put("a", b"one")
    store.put("a", b"two")

    assert ["a"] == list(store.list())
    assert {".lock", "a"} == {path.name for path in tmp_path.iterdir()}


def _add_many(location: str, mark: str, count: int) -> None:
    store = open_object_store(location)
    for number in range(count):
        while True:
            read = store.read("list")
            text = (read.data if read else b"") + f"{mark}{number} ".encode()
            if store.replace("list", text, read.version if read else None):
                break


def test_no_change_of_two_processes_is_lost(tmp_path: Path) -> None:
    """Each appends to the same object by compare-and-swap."""
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_add_many, args=(str(tmp_path), mark, 25)) for mark in "ab"]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    assert [0, 0] == [run.exitcode for run in runs]
    words = (open_object_store(str(tmp_path)).get("list") or b"").decode().split()
    assert sorted(f"{mark}{number}" for mark in "ab" for number in range(25)) == sorted(words)


def test_only_one_of_many_threads_claims_an_absent_key(objects: ObjectStore) -> None:
    won: list[int] = []
    start = threading.Barrier(4)

    def claim(number: int) -> None:
        start.wait()
        if objects.put_if_absent("claim", f"thread {number}".encode()):
            won.append(number)

    threads = [threading.Thread(target=claim, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)

    assert 1 == len(won)
    assert f"thread {won[0]}".encode() == objects.get("claim")
