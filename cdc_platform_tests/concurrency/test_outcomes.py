"""Commits that landed although the catalog said otherwise, and clean-ups that must not believe it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import CommitFailedException, ServerError
from sqlalchemy.exc import OperationalError

from cdc_platform.config.model import TableConfig
from cdc_platform.errors import CommitOutcomeUnknown, StaleCommit, StorageUnavailable
from cdc_platform.lake import merge as merging
from cdc_platform.lake import quarantine
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.merge import commit_merge, merge, plan_merge
from cdc_platform.raw.objects import FolderObjects
from cdc_platform_tests.crash.inspection import SOURCE, orphans, rows_of, state_of
from cdc_platform_tests.lake.conftest import Bench, lake_config
from cdc_platform_tests.lake.memory_files import Rejected, change_file, load_file

Commit = Callable[..., Any]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(merging, "_LONGEST_PAUSE_SECONDS", 0.01)
    with open_lake(lake_config(tmp_path)) as lake:
        made = Bench(lake, TableConfig(name="public.item", merge_key=("id",)))
        made.merge(load_file("l", (1, "a"), (2, "b"), (3, "c")))
        yield made


def once(monkeypatch: pytest.MonkeyPatch, behave: Callable[[Commit], Any]) -> None:
    """Let the next commit behave otherwise; those after it are ordinary."""
    commit = SqlCatalog.commit_table
    left = [behave]

    def committed(self: SqlCatalog, *args: Any) -> Any:
        call: Commit = partial(commit, self, *args)
        return left.pop()(call) if left else call()

    monkeypatch.setattr(SqlCatalog, "commit_table", committed)


def every_file_is_there(bench: Bench) -> bool:
    """Read every snapshot by pyiceberg; a missing file raises."""
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None
    return all(rows_of(table, each.snapshot_id) is not None for each in table.metadata.snapshots)


def other_process(bench: Bench, *inputs: Any) -> None:
    with open_lake(bench.lake.config) as lake:
        merge(lake, SOURCE, bench.config, inputs)


MINE = change_file("mine", ("U", 1, "mine", 10), ("D", 2, None, 11), generation=1)
OTHER = change_file("other", ("U", 3, "other", 12), generation=1)


@pytest.mark.parametrize(
    "error", [CommitFailedException("conflict"), ServerError("500"), TimeoutError()], ids=repr
)
@pytest.mark.parametrize("is_followed", [False, True], ids=["alone", "another commit in between"])
def test_a_commit_that_landed_is_found_whatever_the_catalog_said(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception, is_followed: bool
) -> None:
    def land_and_fail(commit: Commit) -> Any:
        commit()
        if is_followed:
            other_process(bench, OTHER)
        raise error

    once(monkeypatch, land_and_fail)
    result = bench.merge(MINE)

    assert (1, 1) == (result.attempts, len(result.files_applied))
    assert [(1, "mine"), (3, "other" if is_followed else "c")] == bench.rows()
    assert every_file_is_there(bench)
    assert [] == orphans(bench.lake, bench.config)


def test_a_commit_that_landed_and_was_expired_since_is_not_taken_for_one_that_failed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def land_and_expire(commit: Commit) -> Any:
        commit()
        other_process(bench, OTHER)
        table = bench.lake.load(SOURCE, bench.config.id)
        assert table is not None
        current = table.current_snapshot()
        assert current is not None
        expired = [each.snapshot_id for each in table.metadata.snapshots if each is not current]
        table.maintenance.expire_snapshots().by_ids(expired).commit()
        raise CommitFailedException("conflict")

    once(monkeypatch, land_and_expire)
    result = bench.merge(MINE)

    assert (2, 1, None) == (result.attempts, result.files_skipped, result.snapshot_id)
    assert [(1, "mine"), (3, "other")] == bench.rows()
    assert every_file_is_there(bench)


def test_nothing_is_removed_while_the_catalog_is_down_after_a_conflict(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = plan_merge(bench.lake, SOURCE, bench.config, [MINE], completed_generation=None)

    def down(*args: Any) -> Any:
        raise OperationalError("SELECT", {}, Exception("database is locked"))

    with monkeypatch.context() as patch:

        def land_and_go_down(commit: Commit) -> Any:
            commit()
            patch.setattr(SqlCatalog, "load_table", down)
            raise CommitFailedException("conflict")

        once(patch, land_and_go_down)
        with pytest.raises(CommitOutcomeUnknown) as raised:
            commit_merge(plan)
    plan.close()

    assert raised.value.retryable
    assert [(1, "mine"), (3, "c")] == bench.rows()
    assert every_file_is_there(bench)


@pytest.mark.parametrize("has_landed", [False, True])
def test_an_interruption_during_the_commit_removes_no_file(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, has_landed: bool
) -> None:
    def interrupted(commit: Commit) -> Any:
        if has_landed:
            commit()
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        once(patch, interrupted)
        with pytest.raises(KeyboardInterrupt):
            bench.merge(MINE)

    assert every_file_is_there(bench)
    assert ([(1, "mine"), (3, "c")] if has_landed else [(1, "a"), (2, "b"), (3, "c")]) == bench.rows()
    bench.merge(MINE)
    assert [(1, "mine"), (3, "c")] == bench.rows()


def test_a_first_merge_that_was_refused_leaves_no_file(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    table = bench.with_table(name="public.fresh")
    plan = plan_merge(table.lake, SOURCE, table.config, [load_file("l", (1, "a"))], completed_generation=None)

    def refuse(commit: Commit) -> Any:
        raise CommitFailedException("conflict")

    once(monkeypatch, refuse)
    with pytest.raises(StaleCommit):
        commit_merge(plan)
    plan.close()

    assert [] == orphans(table.lake, table.config)


def test_two_first_merges_make_one_table(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    table = bench.with_table(name="public.fresh")
    create = SqlCatalog.create_table
    waiting = [change_file("other", ("I", 1, "other", 10))]

    def overtaken(self: SqlCatalog, *args: Any, **kwargs: Any) -> Any:
        if waiting:
            other_process(table, waiting.pop())
        return create(self, *args, **kwargs)

    monkeypatch.setattr(SqlCatalog, "create_table", overtaken)
    result = table.merge(change_file("mine", ("I", 2, "mine", 11)))

    assert (2, [(1, "other"), (2, "mine")]) == (result.attempts, table.rows())


def test_a_clean_up_that_fails_does_not_hide_that_another_writer_was_faster(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any) -> Any:
        raise OSError("the disk is gone")

    def overtaken(commit: Commit) -> Any:
        other_process(bench, OTHER)
        monkeypatch.setattr("pyiceberg.io.pyarrow.PyArrowFileIO.delete", refuse)
        monkeypatch.setattr(FolderObjects, "delete", refuse)
        return commit()

    once(monkeypatch, overtaken)
    result = bench.merge(MINE)

    assert (2, [(1, "mine"), (3, "other")]) == (result.attempts, bench.rows())


def test_a_locked_catalog_is_waited_for_or_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    def locked(*args: Any) -> Any:
        raise OperationalError("UPDATE", {}, Exception("database is locked"))

    once(monkeypatch, locked)
    waited = bench.merge(MINE)
    with monkeypatch.context() as patch:
        patch.setattr(SqlCatalog, "load_table", locked)
        with pytest.raises(StorageUnavailable, match="database is locked") as raised:
            bench.merge(OTHER)

    assert (2, True) == (waited.attempts, raised.value.retryable)


def test_a_namespace_that_another_process_makes_at_the_same_time_is_taken(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []
    exists = SqlCatalog.namespace_exists

    def not_yet(self: SqlCatalog, namespace: Any) -> bool:
        asked.append(True)
        return len(asked) > 1 and exists(self, namespace)

    monkeypatch.setattr(SqlCatalog, "namespace_exists", not_yet)
    bench.lake.ensure_namespace(SOURCE)

    assert 2 == len(asked)


def set_aside(bench: Bench, lake: Lake) -> str:
    """Merge a file of three rows, one of them faulty; return the id of what was set aside, released."""
    bad = Rejected(2, "v", "not a number", "mend it", {"id": 3})
    bench.merge(change_file("f", ("U", 1, "x", 20), ("U", 2, "y", 21), generation=1, rejected=[bad]))
    (item,) = quarantine.list_items(lake, SOURCE, bench.config.id)
    quarantine.release(lake, SOURCE, bench.config.id, item.id)
    return item.id


MENDED = change_file("f", ("U", 1, "x", 20), ("U", 2, "y", 21), ("U", 3, "z", 22), generation=1)


def test_a_replay_that_could_not_be_closed_is_closed_by_the_next_merge(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_aside(bench, bench.lake)
    replace = FolderObjects.replace

    def unavailable(self: FolderObjects, key: str, *args: Any) -> bool:
        if key.startswith("quarantine/"):
            raise StorageUnavailable("SlowDown")
        return replace(self, key, *args)

    with monkeypatch.context() as patch:
        patch.setattr(FolderObjects, "replace", unavailable)
        applied = bench.merge(MENDED)
    between = state_of(bench.lake, bench.config).quarantine
    again = bench.merge(MENDED)

    assert ({("f", 2): "released"}, {("f", 2): "replayed"}) == (
        between,
        state_of(bench.lake, bench.config).quarantine,
    )
    assert (True, None) == (applied.snapshot_id is not None, again.snapshot_id)
    assert [(1, "x"), (2, "y"), (3, "z")] == bench.rows()


def test_a_row_that_is_set_aside_again_after_its_replay_can_be_released_again(bench: Bench) -> None:
    item_id = set_aside(bench, bench.lake)
    bench.merge(MENDED)
    objects = bench.lake.objects(SOURCE, bench.config.id)
    (item,) = quarantine.items_in(objects)
    quarantine.record(objects, [quarantine.item_of(MENDED.accepted, 2, reason="again", mend="again")])
    quarantine.release(bench.lake, SOURCE, bench.config.id, item_id)
    again = bench.merge(MENDED)

    assert (quarantine.QuarantineState.REPLAYED, True) == (item.state, again.snapshot_id is not None)
    assert {("f", 2): "replayed"} == state_of(bench.lake, bench.config).quarantine
