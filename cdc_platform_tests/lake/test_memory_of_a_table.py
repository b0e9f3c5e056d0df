"""What a table remembers beside its rows: applied files and deletes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from cdc_platform.errors import MergeError
from cdc_platform.events import Position
from cdc_platform.lake import tombstones
from cdc_platform.lake.applied import CONSOLIDATE_EVERY, read_applied
from cdc_platform.lake.health import (
    applied_record,
    current_watermark,
    merge_history,
    merge_keys_are_unique,
    table_health,
)
from cdc_platform.lake.quarantine import list_items, release
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import EPOCH, Change, change_file, load_file


def test_the_record_of_applied_files_survives_its_consolidation(bench: Bench) -> None:
    files = [change_file(f"c{n}", ("U", n % 3, f"v{n}", 10 + n)) for n in range(CONSOLIDATE_EVERY + 3)]
    for file in files:
        bench.merge(file)
    record = applied_record(bench.lake, SOURCE, bench.config.id)

    assert {file.identity for file in files} == set(record.files)
    assert len(files) == bench.merge(*files).files_skipped


def test_the_record_rolls_back_with_the_table(bench: Bench) -> None:
    bench.merge(change_file("a", ("I", 1, "a", 10)))
    second = change_file("b", ("I", 2, "b", 11))
    bench.merge(second)
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    first = table.metadata.snapshots[0].snapshot_id
    table.manage_snapshots().rollback_to_snapshot(first).commit()
    result = bench.merge(second)

    assert ([(1, "a"), (2, "b")], 1) == (bench.rows(), len(result.files_applied))


def test_a_missing_manifest_is_said_with_its_place(bench: Bench) -> None:
    result = bench.merge(change_file("a", ("I", 1, "a", 10)))
    objects = bench.lake.objects(SOURCE, bench.config.id)
    objects.delete(f"batches/{result.batch_id}.json")

    with pytest.raises(MergeError, match=r"record of applied files, .* is gone → restore the object"):
        read_applied(bench.lake.load(SOURCE, bench.config.id), objects)


@pytest.mark.parametrize(
    "field", ["files", "replayed", "tombstones", "tombstone_bounds", "generation_complete"]
)
def test_a_manifest_of_another_form_is_said_with_its_place_and_field(bench: Bench, field: str) -> None:
    result = bench.merge(change_file("a", ("I", 1, "a", 10)))
    objects = bench.lake.objects(SOURCE, bench.config.id)
    path = f"batches/{result.batch_id}.json"
    stored = json.loads(objects.get(path) or b"")
    objects.put(path, json.dumps({**stored, field: None}).encode())

    with pytest.raises(MergeError, match=rf"{path}, is damaged: {field}.* → restore the object"):
        read_applied(bench.lake.load(SOURCE, bench.config.id), objects)


def forgetful(bench: Bench, monkeypatch: pytest.MonkeyPatch, **options: str) -> Bench:
    """Return a table that has deleted key 1 and then forgotten it, a month of changes later."""
    monkeypatch.setattr(tombstones, "GATHER_AT", 2)
    table = bench.with_table(tombstone_horizon_days=30, **options)
    table.merge(change_file("a", Change("D", {"id": 1}, 20, committed_at=EPOCH)))
    much_later = EPOCH + timedelta(days=31)
    table.merge(change_file("b", Change("D", {"id": 2}, 30, committed_at=much_later)))
    return table


def test_an_event_older_than_the_remembered_deletes_is_set_aside(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = forgetful(bench, monkeypatch)
    table.merge(change_file("late", ("I", 1, "?", 10), ("I", 3, "new", 40), ("I", 4, "new", 41)))
    (item,) = list_items(table.lake, SOURCE, table.config.id)

    assert [(3, "new"), (4, "new")] == table.rows()
    assert (0, "1") == (item.row, item.values["id"])
    assert "tombstone_horizon_days" in item.reason


def test_an_event_in_doubt_is_applied_when_an_operator_says_so(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = forgetful(bench, monkeypatch)
    late = change_file("late", ("I", 1, "?", 10), ("I", 3, "new", 40), ("I", 4, "new", 41))
    table.merge(late)
    (item,) = list_items(table.lake, SOURCE, table.config.id)
    release(table.lake, SOURCE, table.config.id, item.id)
    table.merge(late)

    assert [(1, "?"), (3, "new"), (4, "new")] == table.rows()


def test_an_older_delete_that_comes_late_does_not_stand_for_the_forgotten_one(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = forgetful(bench, monkeypatch)
    table.merge(change_file("late delete", ("D", 1, None, 8)))
    table.merge(change_file("late", ("I", 1, "deleted since", 10), ("I", 3, "new", 40)))

    assert [(3, "new")] == table.rows()
    assert 1 == len(list_items(table.lake, SOURCE, table.config.id))


def test_a_table_that_keeps_deleted_rows_does_not_guess_about_forgotten_ones_either(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = forgetful(bench, monkeypatch, delete_mode="soft")
    table.merge(change_file("late", ("I", 1, "?", 10), ("I", 3, "new", 40)))

    assert [(3, "new")] == table.rows()
    assert 1 == len(list_items(table.lake, SOURCE, table.config.id))


def test_each_event_in_doubt_is_decided_by_itself_however_many_a_file_has(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = forgetful(bench, monkeypatch)
    table.merge(change_file("late", ("I", 1, "?", 10), ("I", 4, "?", 11), ("I", 3, "new", 40)))

    assert [(3, "new")] == table.rows()
    assert [0, 1] == [item.row for item in list_items(table.lake, SOURCE, table.config.id)]


def test_gathered_deletes_are_still_remembered_within_the_horizon(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tombstones, "GATHER_AT", 2)
    for number in range(5):
        bench.merge(change_file(f"d{number}", ("D", number, None, 100 + number)))
    bench.merge(change_file("late", *(("I", number, "old", 10 + number) for number in range(5))))

    assert [] == bench.rows()
    assert 1 == len(applied_record(bench.lake, SOURCE, bench.config.id).tombstones)


@pytest.mark.parametrize("gather_at", [2, 16], ids=["gathered", "one by one"])
def test_a_batch_in_its_order_reads_no_deletes_and_a_late_one_does(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, gather_at: int
) -> None:
    monkeypatch.setattr(tombstones, "GATHER_AT", gather_at)
    for number in range(3):
        bench.merge(change_file(f"d{number}", ("D", number, None, 100 + number)))
    read: list[int] = []
    source = tombstones.Tombstones._source
    monkeypatch.setattr(
        tombstones.Tombstones, "_source", lambda self, files: read.append(len(files)) or source(self, files)
    )
    bench.merge(change_file("newer", ("I", 0, "again", 200)))
    in_order = read[0]
    read.clear()
    bench.merge(change_file("late", ("I", 1, "old", 50), ("I", 9, "other", 102)))

    assert (0, [(0, "again"), (9, "other")]) == (in_order, bench.rows())
    assert read[0]


def test_the_bound_of_deletes_is_not_below_any_of_them(bench: Bench) -> None:
    bench.merge(change_file("a", ("D", 1, None, 7), ("D", 2, None, 10**37)))
    bench.merge(change_file("b", ("D", 3, None, 5), generation=2))
    record = applied_record(bench.lake, SOURCE, bench.config.id)

    assert [Position(0, 10**37), Position(2, 5)] == [record.tombstone_bounds[f] for f in record.tombstones]


def test_health_counts_rows_files_and_deletes(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")))
    bench.merge(change_file("c", ("D", 1, None, 10), ("U", 2, "B", 11), generation=1))
    health = table_health(bench.lake, SOURCE, bench.config)
    assert health is not None

    assert (2, 2, 2, 1, 2) == (
        health.rows,
        health.snapshots,
        health.data_files,
        health.delete_files,
        health.deleted_positions,
    )


def test_unique_keys_are_unique_and_a_doubled_one_is_named(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    assert merge_keys_are_unique(bench.lake, SOURCE, bench.config).is_unique

    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    table.append(table.scan(row_filter="id = 2").to_arrow())

    assert ({"id": 2, "rows": 2},) == merge_keys_are_unique(bench.lake, SOURCE, bench.config).sample


def test_a_merge_heals_a_key_that_was_doubled_out_of_band(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    table.append(table.scan(row_filter="id = 2").to_arrow())
    bench.merge(change_file("c", ("U", 2, "B", 10), generation=1))

    assert [(1, "a"), (2, "B")] == bench.rows()


def test_the_watermark_is_the_highest_commit_time_applied(bench: Bench) -> None:
    bench.merge(change_file("b", ("I", 1, "a", 500)))
    bench.merge(change_file("a", ("I", 2, "b", 10)))

    assert EPOCH + timedelta(seconds=500) == current_watermark(bench.lake, SOURCE, bench.config.id)


def test_the_history_tells_each_merge(bench: Bench) -> None:
    results = [bench.merge(change_file(name, ("I", 1, name, 10 + n))) for n, name in enumerate("ab")]
    history = merge_history(bench.lake, SOURCE, bench.config.id)

    assert [result.batch_id for result in results] == [each["cdc.batch-id"] for each in history]
