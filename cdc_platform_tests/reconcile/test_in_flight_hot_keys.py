"""E4, E5: keys that never rest, and keys that change just while they are looked at."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.config.model import Connection
from cdc_platform.local.contract import StartType
from cdc_platform.reconcile import settle as settling
from cdc_platform.reconcile import window
from cdc_platform.reconcile.postgres import PostgresReader, PostgresSnapshot
from cdc_platform.reconcile.settling import note, read_queue
from cdc_platform.reconcile.verdict import Sighting, Verdict
from cdc_platform_tests.reconcile.line import SOURCE, TABLE, Line, different

pytestmark = pytest.mark.postgres


@pytest.fixture
def line(tmp_path: Path, postgres_database: str) -> Iterator[Line]:
    made = Line(tmp_path, postgres_database)
    yield made
    made.close()


def after_reading(monkeypatch: pytest.MonkeyPatch, act: Any) -> None:
    """Let ``act`` happen each time the source was read, before anybody asks how far capture has come."""

    class Reader(PostgresReader):
        @contextmanager
        def snapshot(self) -> Iterator[PostgresSnapshot]:
            with super().snapshot() as snapshot:
                yield snapshot
            act()

    def reader(source: Any) -> Reader:
        connection: Connection = source.connection
        return Reader(connection)

    monkeypatch.setattr(window, "source_reader", reader)
    monkeypatch.setattr(settling, "source_reader", reader)


def test_e4_a_key_that_changes_all_the_time_is_never_equal_nor_different_and_unverified_with_its_age(
    line: Line,
) -> None:
    hot = "UPDATE item SET v = CASE v WHEN 'back' THEN 'forth' ELSE 'back' END WHERE id = 1"
    with line.under_load(hot, "UPDATE item SET v = '{n}' WHERE id = 2"):
        runs = [run for _ in range(4) for run in line.round()]
        settled = line.settle(max_age=timedelta())

    assert {} == different(*runs)
    assert settled is not None
    open_keys = {"1", "2"}
    assert open_keys <= {one.key["id"] for one in line.queue.entries.values()}
    assert Verdict.UNVERIFIED is settled.verdict
    assert {Verdict.UNVERIFIED} == {one.verdict for one in settled.comparisons[0].discrepancies}
    oldest = settled.certificate["settling"]["oldest"]
    assert open_keys <= {one["key"]["id"] for one in oldest}
    assert all(
        one["age_seconds"] > 0 and one["changes"] > 0 for one in oldest if one["key"]["id"] in open_keys
    )


def test_e5_a_key_changed_again_while_it_is_looked_at_is_not_lost(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.arm("delay-file", files=100)
    line.write(3, "on its way")
    line.met("delay-file")
    line.full()
    line.task.stop()
    line.task.start(StartType.RESUME)
    line.arrive()
    objects = line.platform.objects(SOURCE, TABLE)
    (first,) = read_queue(objects).entries.values()

    def again() -> None:
        """What another run does that finds the key in flight at this very moment."""
        line.write(3, "again")
        note(objects, [Sighting(first.key, None)], found_by="another", at=first.first_seen)

    after_reading(monkeypatch, again)
    settled = line.settle()
    monkeypatch.undo()

    assert settled is not None
    assert {} == different(settled)
    assert [first.key] == [one.key for one in line.queue.entries.values()]
    line.arrive()
    line.settle()
    assert {} == line.queue.entries


def test_e5_a_key_that_is_changed_back_and_forth_between_two_looks_is_not_taken_for_still(
    line: Line,
) -> None:
    line.arm("delay-file", files=100)
    line.write(3, "one")
    line.met("delay-file")
    line.full()
    line.settle()
    (before,) = line.queue.entries.values()
    line.task.stop()
    line.task.start(StartType.RESUME)
    line.arrive()
    line.write(3, "two")
    line.write(3, "one")
    line.arrive()
    looked_at = before.look
    assert looked_at is not None
    # capture says it has come to the last look, and no further
    line.platform.captured = lambda: looked_at.position

    settled = line.settle()

    assert settled is not None
    assert (Verdict.IN_FLIGHT, {}) == (settled.verdict, different(settled))
    (after,) = line.queue.entries.values()
    assert (3, looked_at.source) == (after.changes, after.look.source if after.look else "")
