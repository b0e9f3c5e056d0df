"""Two writers at once, and commits whose outcome is not known."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.exceptions import CommitFailedException

from cdc_platform.errors import CommitOutcomeUnknown, StaleCommit
from cdc_platform.lake import merge as merging
from cdc_platform.lake.merge import commit_merge, plan_merge
from cdc_platform_tests.lake.conftest import SOURCE, Bench
from cdc_platform_tests.lake.memory_files import change_file, load_file


def files_on_disk(bench: Bench) -> set[Path]:
    warehouse = Path(bench.lake.warehouse)
    return {path for path in warehouse.rglob("*") if path.is_file() and path.suffix in (".parquet", ".avro")}


def test_a_plan_made_before_another_writers_commit_does_not_commit_and_leaves_no_file(bench: Bench) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    late = [change_file("c", ("U", 1, "late", 10), ("D", 2, None, 11), generation=1)]
    plan = plan_merge(bench.lake, SOURCE, bench.config, late, completed_generation=None)
    bench.merge(change_file("d", ("U", 1, "first", 12), generation=1))
    before = files_on_disk(bench)
    with pytest.raises(StaleCommit, match="another writer committed first"):
        commit_merge(plan)
    plan.close()

    assert before == files_on_disk(bench)
    assert [(1, "first"), (2, "b")] == bench.rows()


def test_a_merge_plans_again_when_another_writer_commits_in_between(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.merge(load_file("l", (1, "a"), (2, "b")))
    commit = type(bench.lake.catalog).commit_table
    other = change_file("other", ("U", 1, "other", 20), generation=1)
    waiting = [other]

    def overtaken(self: Any, *args: Any, **kwargs: Any) -> Any:
        if waiting:
            bench.merge(waiting.pop())
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(type(bench.lake.catalog), "commit_table", overtaken)
    result = bench.merge(change_file("mine", ("U", 1, "mine", 10), ("U", 2, "mine", 11), generation=1))

    assert (2, 1) == (result.attempts, result.counts.stale)
    assert [(1, "other"), (2, "mine")] == bench.rows()


def test_a_conflict_that_never_ends_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.merge(load_file("l", (1, "a")))

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise CommitFailedException("moved")

    monkeypatch.setattr(type(bench.lake.catalog), "commit_table", refuse)
    monkeypatch.setattr(merging, "_LONGEST_PAUSE_SECONDS", 0.0)
    with pytest.raises(StaleCommit, match=r"\(10 attempts\) → run again") as raised:
        bench.merge(change_file("c", ("U", 1, "b", 10), generation=1))

    assert raised.value.retryable


def test_a_commit_that_happened_although_its_answer_was_lost_is_found_by_its_batch_id(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.merge(load_file("l", (1, "a")))
    commit = type(bench.lake.catalog).commit_table
    losing = [True]

    def lose_the_answer(self: Any, *args: Any, **kwargs: Any) -> Any:
        answer = commit(self, *args, **kwargs)
        if losing.pop():
            losing.append(False)
            raise TimeoutError("the answer was lost")
        losing.append(False)
        return answer

    monkeypatch.setattr(type(bench.lake.catalog), "commit_table", lose_the_answer)
    result = bench.merge(change_file("c", ("U", 1, "b", 10), generation=1))
    table = bench.lake.load(SOURCE, bench.config.id)
    assert table is not None

    assert (1, [(1, "b")]) == (result.attempts, bench.rows())
    assert [result.snapshot_id] == [each.snapshot_id for each in table.metadata.snapshots[1:]]


def test_a_commit_that_did_not_happen_is_made_again(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.merge(load_file("l", (1, "a")))
    commit = type(bench.lake.catalog).commit_table
    failing = [True]

    def fail_first(self: Any, *args: Any, **kwargs: Any) -> Any:
        if failing:
            failing.pop()
            raise TimeoutError("no answer")
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(type(bench.lake.catalog), "commit_table", fail_first)
    result = bench.merge(change_file("c", ("U", 1, "b", 10), generation=1))

    assert (2, [(1, "b")]) == (result.attempts, bench.rows())


def test_an_outcome_that_stays_unknown_is_told_and_no_file_is_removed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.merge(load_file("l", (1, "a")))
    plan = plan_merge(
        bench.lake,
        SOURCE,
        bench.config,
        [change_file("c", ("U", 1, "b", 10), generation=1)],
        completed_generation=None,
    )
    before = files_on_disk(bench)

    def no_answer(*args: Any, **kwargs: Any) -> Any:
        raise TimeoutError("no answer")

    with monkeypatch.context() as broken:
        broken.setattr(type(bench.lake.catalog), "commit_table", no_answer)
        with pytest.raises(CommitOutcomeUnknown, match="did not say whether snapshot"):
            commit_merge(plan)
    plan.close()

    assert before < files_on_disk(bench)
    assert [(1, "a")] == bench.rows()


def test_a_lost_commit_that_lands_late_is_seen_by_the_next_plan(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.merge(load_file("l", (1, "a")))
    commit = type(bench.lake.catalog).commit_table
    held: list[tuple[Any, Any, Any]] = []

    def land_late(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not held:
            held.append((self, args, kwargs))
            raise TimeoutError("no answer")
        if len(held) == 1:
            held.append((self, args, kwargs))
            commit(held[0][0], *held[0][1], **held[0][2])
        return commit(self, *args, **kwargs)

    monkeypatch.setattr(type(bench.lake.catalog), "commit_table", land_late)
    result = bench.merge(change_file("c", ("U", 1, "b", 10), generation=1))

    assert ([(1, "b")], 1) == (bench.rows(), result.files_skipped)


_WRITER = """
import sys
from pathlib import Path
from cdc_platform.config.model import TableConfig
from cdc_platform.lake.catalog import open_lake
from cdc_platform_tests.lake.conftest import Bench, lake_config
from cdc_platform_tests.lake.memory_files import change_file

with open_lake(lake_config(Path(sys.argv[1]))) as lake:
    bench = Bench(lake, TableConfig(name="public.item", merge_key=(), no_key="append"))
    print("ready", flush=True)
    sys.stdin.readline()
    for n in range(4):
        result = bench.merge(change_file(f"c{n}", ("I", n, "x", 10 + n)))
        print(len(result.files_applied), result.files_skipped, flush=True)
"""


def test_two_processes_that_merge_the_same_files_apply_them_once(bench: Bench) -> None:
    folder = str(Path(bench.lake.warehouse).parent)
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", _WRITER, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    for writer in writers:
        assert writer.stdout is not None
        assert "ready\n" == writer.stdout.readline()
    for writer in writers:
        assert writer.stdin is not None
        writer.stdin.write("go\n")
        writer.stdin.flush()
    outputs = [writer.communicate(timeout=200)[0] for writer in writers]
    counts = [tuple(map(int, line.split())) for output in outputs for line in output.splitlines()]
    table = bench.with_table(merge_key=(), no_key="append")

    assert [0, 0] == [writer.returncode for writer in writers]
    assert [(number, "x") for number in range(4)] == table.rows()
    assert (4, 4) == (sum(applied for applied, _ in counts), sum(skipped for _, skipped in counts))
