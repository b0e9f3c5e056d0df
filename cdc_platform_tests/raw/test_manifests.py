"""Window manifests: they only grow, merge idempotently, and lose nothing to concurrent writers."""

from __future__ import annotations

import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cdc_platform.raw.files import AcceptedFile, FileKind, RawFile
from cdc_platform.raw.load_sets import LoadFile, LoadSets
from cdc_platform.raw.manifests import (
    accept,
    add_load_files,
    confirm_load,
    mark_replaced,
    read_load_sets,
    read_manifest,
    windows_of,
)
from cdc_platform.raw.objects import ObjectStore, open_object_store

NOON = datetime(2024, 5, 31, 12, tzinfo=UTC)
WINDOW = "2024-05-31"


def _change(
    number: int = 0, *, etag: str = "a", modified: datetime = NOON, window: str = WINDOW
) -> AcceptedFile:
    at = NOON + timedelta(milliseconds=number)
    key = f"public/orders/{at:%Y%m%d-%H%M%S}{at.microsecond // 1000:03d}.parquet"
    return AcceptedFile(RawFile(key, 10, etag, modified), FileKind.CHANGES, at, window, 0)


def _accept(objects: ObjectStore, *files: AcceptedFile, window: str = WINDOW) -> tuple[AcceptedFile, ...]:
    return accept(objects, "shop", "orders", window, files, LoadSets())


def test_a_window_without_files_reads_as_an_empty_manifest(objects: ObjectStore) -> None:
    assert () == read_manifest(objects, "shop", "orders", WINDOW).files
    assert [] == list(windows_of(objects))


def test_only_what_is_new_is_returned_and_accepting_again_changes_nothing(objects: ObjectStore) -> None:
    assert (_change(0),) == _accept(objects, _change(0))
    assert (_change(1),) == _accept(objects, _change(0), _change(1))
    assert () == _accept(objects, _change(0), _change(1))
    assert (_change(0), _change(1)) == read_manifest(objects, "shop", "orders", WINDOW).files


def test_rewritten_content_is_another_file_that_replaces_the_old_version(objects: ObjectStore) -> None:
    new = _change(etag="b", modified=NOON + timedelta(minutes=1))
    _accept(objects, _change())
    _accept(objects, new)

    manifest = read_manifest(objects, "shop", "orders", WINDOW)

    assert (_change(), new) == manifest.files
    assert (new,) == manifest.readable


def test_a_lister_that_comes_late_with_an_old_version_does_not_replace_the_newer(
    objects: ObjectStore,
) -> None:
    """Two intakes overlap: the slower one listed before the rewrite, and records after the faster one."""
    new = _change(etag="b", modified=NOON + timedelta(minutes=1))
    _accept(objects, new)
    _accept(objects, _change())

    assert (new,) == read_manifest(objects, "shop", "orders", WINDOW).readable


def test_a_version_may_be_replaced_by_a_file_of_another_window(objects: ObjectStore) -> None:
    _accept(objects, _change(0), _change(1))
    mark_replaced(objects, "shop", "orders", WINDOW, {(_change(0).file.key, "a")})

    assert (_change(1),) == read_manifest(objects, "shop", "orders", WINDOW).readable


def test_windows_are_told_in_order_with_their_own_keys(objects: ObjectStore) -> None:
    keys = ["2024-05-31-23:00", "2024-06-01-00:00"]
    for window in reversed(keys):
        _accept(objects, _change(window=window), window=window)

    assert keys == list(windows_of(objects))


def test_generations_follow_the_load_sets_known_when_reading(objects: ObjectStore) -> None:
    _accept(objects, _change())
    load = LoadFile(NOON - timedelta(hours=1), 1, "public/orders/LOAD00000001.parquet", "", "x")
    sets = add_load_files(objects, [load])

    [file] = read_manifest(objects, "shop", "orders", WINDOW).files

    assert sets == read_load_sets(objects)
    assert sets.sets[0].generation == file.generation > 0


def test_a_confirmed_load_stays_confirmed(objects: ObjectStore) -> None:
    load = LoadFile(NOON, 1, "public/orders/LOAD00000001.parquet", "", "x")
    generation = add_load_files(objects, [load]).sets[0].generation
    confirm_load(objects, generation)
    add_load_files(objects, [load])

    assert read_load_sets(objects).sets[0].confirmed


def _accept_many(location: str, first: int, count: int) -> None:
    objects = open_object_store(location)
    for number in range(first, first + count):
        _accept(objects, _change(number))
        load = LoadFile(NOON, number + 1, f"public/orders/LOAD{number + 1:08X}.parquet", "", "x")
        add_load_files(objects, [load])


def test_two_processes_accepting_at_once_lose_no_file(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    runs = [context.Process(target=_accept_many, args=(str(tmp_path), first, 20)) for first in (0, 10)]
    for run in runs:
        run.start()
    for run in runs:
        run.join(60)

    objects = open_object_store(str(tmp_path))
    assert [0, 0] == [run.exitcode for run in runs]
    accepted = [one.file.key for one in read_manifest(objects, "shop", "orders", WINDOW).files]
    assert [_change(number).file.key for number in range(30)] == accepted
    assert set(range(1, 31)) == {file.counter for one in read_load_sets(objects).sets for file in one.files}
