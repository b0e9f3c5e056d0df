"""E6, E7, E9: positions that lie, changes that come in odd ways, capture that stands still; no snapshot."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest

from cdc_platform.local.contract import StartType
from cdc_platform.lsn import lsn_text, lsn_value
from cdc_platform.reconcile import full, window
from cdc_platform.reconcile.postgres import PostgresReader, PostgresSnapshot
from cdc_platform.reconcile.postgres_session import connect, pin_settings
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.line import Line, different
from cdc_platform_tests.reconcile.shop import log_position

pytestmark = pytest.mark.postgres


@pytest.fixture
def line(tmp_path: Path, postgres_database: str) -> Iterator[Line]:
    made = Line(tmp_path, postgres_database)
    yield made
    made.close()


def against_source(found: list[Reconciliation]) -> set[Verdict]:
    return {run.comparisons[-1].verdict for run in found}


# -- E6


def test_e6_capture_that_says_more_than_the_source_has_is_not_believed(line: Line) -> None:
    line.arm("delay-file", files=100)
    line.write(3, "on its way")
    line.met("delay-file")
    line.platform.captured = lambda: lsn_text(lsn_value(log_position(line.dsn)) + (1 << 30))

    found = line.full()

    assert (Verdict.UNVERIFIED, {}) == (found.verdict, different(found))
    assert "capture follows another server's log" in found.comparisons[0].discrepancies[0].reason


def test_e6_a_difference_called_while_capture_was_ahead_of_truth_is_told_as_that_once_the_change_comes(
    line: Line,
) -> None:
    line.arm("report-ahead", files=1)
    line.write(3, "on its way, and claimed to be there")
    line.met("report-ahead")
    line.arrive()
    assert {3} == set(different(line.full()))

    line.write(4, "the next file, after which the first comes")
    line.arrive()
    line.merge()
    settled = line.settle()

    assert settled is not None
    assert Verdict.MATCH is settled.verdict
    assert 1 == settled.certificate["settling"]["mended"]
    assert ["capture was ahead of truth"] == [note[:26] for note in settled.comparisons[0].notes]


@pytest.mark.parametrize("apart", [timedelta(minutes=5), timedelta(minutes=-5)], ids=str)
def test_e6_clocks_apart_change_no_verdict(
    line: Line, monkeypatch: pytest.MonkeyPatch, apart: timedelta
) -> None:
    class Clock(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:
            return datetime.now(tz or UTC) + apart

    monkeypatch.setattr("cdc_platform.reconcile.full.datetime", Clock)
    monkeypatch.setattr("cdc_platform.reconcile.settle.datetime", Clock)
    line.arm("delay-file", files=100)
    line.write(3, "on its way")
    line.met("delay-file")
    assert Verdict.IN_FLIGHT is line.full().verdict
    line.task.stop()
    line.task.start(StartType.RESUME)
    line.arrive()

    settled = line.settle()

    assert settled is not None
    assert Verdict.MATCH is settled.verdict


def test_e6_a_replica_that_is_behind_capture_is_refused(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reader sees the source as it was: what a replica shows that has not replayed the last change."""
    behind = log_position(line.dsn)

    class Replica(PostgresReader):
        def position(self) -> str:
            return behind

        @contextmanager
        def snapshot(self) -> Iterator[Any]:
            with super().snapshot() as snapshot:
                yield Stale(snapshot)

    class Stale:
        position = behind

        def __init__(self, snapshot: PostgresSnapshot) -> None:
            self.snapshot = snapshot

        def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
            rows = self.snapshot.rows_of(keys, plan)
            place = rows.column_names.index("v")
            old = ["first"] * rows.num_rows
            return rows.set_column(place, rows.schema.field("v"), pa.array(old, rows.schema.field("v").type))

    line.write(3, "newer")
    line.arrive()
    reader = Replica(line.platform.source("retail").connection)  # type: ignore[arg-type]
    monkeypatch.setattr(window, "source_reader", lambda _: reader)

    found = line.windows()

    assert ({Verdict.UNVERIFIED}, {}) == (against_source(found), different(*found))


# -- E7


def test_e7_files_out_of_order_and_twice_differ_in_nothing(line: Line) -> None:
    line.arm("delay-file", files=2)
    line.write(3, "one")
    line.met("delay-file")
    line.arm("duplicate-file")
    line.write(3, "two")
    line.met("duplicate-file")
    line.merge()
    seen = line.round()
    line.write(3, "three")
    line.task.catch_up()
    seen += line.round()
    line.arrive()

    assert {} == different(*seen, *line.round())
    assert {Verdict.MATCH} == against_source([line.full()])


def test_e7_a_transaction_in_several_files_differs_in_nothing_between_them(
    tmp_path: Path, postgres_database: str
) -> None:
    line = Line(tmp_path, postgres_database, rows=15_000, CdcMinFileSize=1)
    try:
        line.arm("delay-file", files=1)
        line.sql("UPDATE item SET v = 'all at once'")
        line.met("delay-file")
        seen = [line.full()]
        line.merge()
        seen += [line.full()]
        line.arrive()

        assert {} == different(*seen)
        assert Verdict.MATCH is line.full().verdict
        assert 2 <= len([path for path in line.task.files("item") if not path.name.startswith("LOAD")])
    finally:
        line.close()


def test_e7_a_transaction_that_wrote_early_and_commits_late_is_in_flight_and_then_equal(line: Line) -> None:
    with psycopg.connect(line.dsn) as slow:
        slow.execute("UPDATE item SET v = 'early' WHERE id = 3")
        line.write(4, "meanwhile")
        line.arrive()
        assert Verdict.MATCH is line.full().verdict
        slow.execute("UPDATE item SET v = 'late' WHERE id = 5")
        line.arm("delay-file", files=100)
        slow.commit()
    line.met("delay-file")
    found = line.full()
    assert (Verdict.IN_FLIGHT, {}) == (found.verdict, different(found))
    assert {"3", "5"} == {one.key["id"] for one in line.queue.entries.values()}

    line.task.stop()
    line.task.start(StartType.RESUME)
    line.arrive()
    assert Verdict.MATCH is line.full().verdict
    line.settle()
    assert {} == line.queue.entries


# -- E9


def test_e9_an_idle_pipeline_with_a_stuck_slot_is_not_caught_up(line: Line) -> None:
    with psycopg.connect(line.dsn, autocommit=True) as connection:
        row = connection.execute(
            "SELECT active_pid FROM pg_replication_slots WHERE database = current_database()"
        ).fetchone()
    assert row is not None
    os.kill(row[0], signal.SIGSTOP)
    try:
        line.write(3, "nobody reads this")
        line.merge()
        found = [line.full(), *line.windows()]
        line.settle()
        found += [run for run in (line.settle(),) if run is not None]
    finally:
        os.kill(row[0], signal.SIGCONT)

    assert {} == different(*found)
    assert Verdict.IN_FLIGHT is found[0].verdict
    assert ["3"] == [one.key["id"] for one in line.queue.entries.values()]
    line.arrive()
    assert Verdict.MATCH is line.full().verdict


# -- a source without a snapshot read


class Committed(PostgresReader):
    """Reads at READ COMMITTED: every statement sees what is committed by then."""

    snapshot_read = False
    meanwhile: Callable[[], None] = staticmethod(lambda: None)

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        low, connection = self.position(), connect(self._settings)
        try:
            connection.isolation_level = psycopg.IsolationLevel.READ_COMMITTED
            connection.read_only = True
            pin_settings(connection)
            type(self).meanwhile()
            yield PostgresSnapshot(connection, low)
        finally:
            connection.close()


@pytest.fixture
def committed(line: Line, monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Committed]]:
    reader = Committed(line.platform.source("retail").connection)  # type: ignore[arg-type]
    for module in (window, full):
        monkeypatch.setattr(module, "source_reader", lambda _: reader)
    yield Committed
    Committed.meanwhile = staticmethod(lambda: None)


def test_without_a_snapshot_a_key_changed_between_the_two_positions_is_not_decided_but_queued(
    line: Line, committed: type[Committed]
) -> None:
    line.arm("drop-change", "public.item:7")
    line.write(7, "lost")
    line.write(3, "before")
    line.arrive()

    def meanwhile() -> None:
        committed.meanwhile = staticmethod(lambda: None)
        line.write(3, "between the positions")
        line.task.catch_up()

    committed.meanwhile = staticmethod(meanwhile)
    line.platform.captured = lambda: log_position(line.dsn)
    found = line.full()

    assert {7} == set(different(found))
    assert ["3"] == [one.key["id"] for one in line.queue.entries.values() if one.reported is None]
    assert "was read without a snapshot, between" in found.comparisons[0].notes[0]


def test_without_a_snapshot_nothing_is_decided_before_capture_has_come_to_the_second_position(
    line: Line, committed: type[Committed]
) -> None:
    line.write(3, "there")
    line.arrive()
    position = log_position(line.dsn)
    committed.meanwhile = staticmethod(line.put_forward)
    line.platform.captured = lambda: position

    found = [line.full(), *line.windows()]

    assert {Verdict.IN_FLIGHT} == against_source(found)
    committed.meanwhile = staticmethod(lambda: None)
    line.platform.captured = lambda: log_position(line.dsn)
    assert {Verdict.MATCH} == against_source([line.full(), *line.windows()])


def test_without_a_snapshot_under_continuous_writes_nothing_differs(
    line: Line, committed: type[Committed]
) -> None:
    with line.under_load("UPDATE item SET v = '{n}' WHERE id = 1 + {n} % 9"):
        found = [run for _ in range(3) for run in line.round()]

    assert {} == different(*found)
    line.arrive()
    line.platform.captured = lambda: log_position(line.dsn)
    assert {Verdict.MATCH} == against_source([line.full(), *line.windows()])
