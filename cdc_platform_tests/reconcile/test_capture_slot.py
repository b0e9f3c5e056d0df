"""Proofs rest on the replication slot the task read: not on one made anew since, whose beginning is a gap."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.local.engine.state import load_state, save_state
from cdc_platform.lsn import lsn_text
from cdc_platform.reconcile.capture_slot import SlotNow, SlotSeen, TaskSlot
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.verdict import Comparison, Verdict
from cdc_platform_tests.live.stage import SOURCE, TABLE, Stage, staged

READ_ON = "0 of 2 segments were read whole"


class Captured:
    """A stage whose task reads a slot that somebody else made, as its source endpoint says."""

    def __init__(self, stage: Stage, folder: Path, slot: str) -> None:
        self.stage, self.slot, self._folder = stage, slot, folder

    def sql(self, *statements: str) -> None:
        with psycopg.connect(self.stage.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def change(self, times: int) -> None:
        """Commit so many transactions, and bring them to base."""
        each = "UPDATE item SET v = 'v' || n WHERE id = 1; COMMIT;"
        self.sql(f"DO $$ BEGIN FOR n IN 1..{times} LOOP {each} END LOOP; END $$")
        self.stage.drain()

    def prove(self) -> None:
        assert Verdict.MATCH is self.stage.full().verdict

    def make_slot(self, name: str) -> None:
        self.sql(f"SELECT pg_create_logical_replication_slot('{name}', 'pgoutput')")

    def drop_slot(self, name: str) -> None:
        self.sql(
            f"SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE slot_name = '{name}'"
        )

    def make_slot_anew(self, *meanwhile: str) -> None:
        """Stop the task, make its slot anew, and resume where that begins, as PostgreSQL does then."""
        self.stage.task.stop()
        self.drop_slot(self.slot)
        self.sql(*meanwhile)
        self.make_slot(self.slot)
        with psycopg.connect(self.stage.dsn) as connection:
            row = connection.execute(
                "SELECT confirmed_flush_lsn - '0/0' FROM pg_replication_slots WHERE slot_name = %s",
                [self.slot],
            ).fetchone()
        (path,) = (one.parent for one in self._folder.rglob("engine.json"))
        state = load_state(path)
        assert row is not None
        assert state is not None
        assert state.position is not None
        state.position = replace(state.position, lsn=int(row[0]))
        save_state(path, state)
        self.stage.task.start("resume-processing")

    def incremental(self) -> Comparison:
        return reconcile_full(self.stage.platform, SOURCE, TABLE, FullOptions(incremental=True)).comparisons[
            0
        ]


@pytest.fixture
def captured(tmp_path: Path, postgres_database: str) -> Iterator[Captured]:
    """Ten rows, loaded and captured through a slot of a given name."""
    slot = f"slot_{uuid.uuid4().hex}"
    with staged(tmp_path, postgres_database, slot=slot) as stage:
        made = Captured(stage, tmp_path / "dms", slot)
        made.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)")
        made.sql("INSERT INTO item SELECT n, 'first' FROM generate_series(1, 10) n")
        made.make_slot(slot)
        stage.load()
        yield made
        if stage.task.describe()["Status"] == "running":
            stage.task.stop()
        made.drop_slot(slot)


@pytest.mark.postgres
def test_a_change_lost_between_two_slots_of_one_name_is_found_by_the_next_incremental_run(
    captured: Captured,
) -> None:
    captured.change(5)
    captured.prove()
    captured.make_slot_anew("UPDATE item SET v = 'lost' WHERE id = 3")
    captured.change(1)

    found = captured.incremental()

    assert Verdict.DIFFERENT is found.verdict
    assert [{"id": 3}] == [one.key for one in found.discrepancies]
    assert f"replication slot {captured.slot} was made anew since" in found.notes[0]


@pytest.mark.postgres
def test_a_slot_made_anew_is_noticed_once_it_has_decoded_more_than_the_one_before(
    captured: Captured,
) -> None:
    captured.change(5)
    captured.prove()
    captured.make_slot_anew("UPDATE item SET v = 'lost' WHERE id = 3")
    captured.change(30)

    found = captured.incremental()

    assert Verdict.DIFFERENT is found.verdict
    assert "nothing shows that replication slot" in found.notes[0]


@pytest.mark.postgres
def test_a_task_that_reads_its_slot_on_after_a_resume_ends_no_proof(captured: Captured) -> None:
    captured.change(400)
    captured.prove()
    captured.make_slot(other := f"other_{uuid.uuid4().hex}")
    captured.change(2)
    first = captured.incremental()
    captured.drop_slot(other)
    captured.change(2)
    second = captured.incremental()

    assert [Verdict.MATCH] * 2 == [found.verdict for found in (first, second)]
    assert all(READ_ON in found.notes[0] for found in (first, second))
    assert not [note for note in first.notes if "was not checked" in note]


@pytest.mark.postgres
def test_a_task_that_was_not_started_again_ends_no_proof_however_young_its_slot_is(
    captured: Captured,
) -> None:
    captured.stage.drain()
    captured.prove()

    assert READ_ON in captured.incremental().notes[0]


@pytest.mark.postgres
def test_a_slot_that_is_not_there_ends_proofs(captured: Captured) -> None:
    captured.stage.drain()
    captured.prove()
    captured.stage.task.stop()
    captured.drop_slot(captured.slot)

    assert (
        f"replication slot {captured.slot}, which the task reads, is not there"
        in (captured.incremental().notes[0])
    )


@pytest.mark.postgres
def test_where_the_endpoint_names_no_slot_the_notes_say_that_it_was_not_checked(
    tmp_path: Path, postgres_database: str
) -> None:
    with staged(tmp_path, postgres_database) as stage:
        made = Captured(stage, tmp_path / "dms", "")
        made.sql("CREATE TABLE item (id bigint PRIMARY KEY, v text)", "INSERT INTO item VALUES (1, 'one')")
        stage.load()
        stage.drain()
        made.prove()
        found = made.incremental()

    assert (Verdict.MATCH, True) == (found.verdict, READ_ON in found.notes[0])
    assert any(
        "slot it read before was not checked: the source endpoint names none" in n for n in found.notes
    )


@pytest.mark.parametrize(
    "earlier", [None, "", "[]", "5", '{"name": "s"}', '{"name": 1, "run": 1, "confirmed": "", "decoded": 0}']
)
def test_where_nothing_was_kept_of_the_slot_proofs_do_not_hold(earlier: str | None) -> None:
    now = SlotNow(TaskSlot("s", "1", "0/20"), SlotSeen("0/10", True, 100, 5))

    assert "which replication slot the task read then is not known" == now.doubt(earlier)


@pytest.mark.parametrize(("decoded", "is_older"), [(9, False), (40, False), (41, True)])
def test_a_slot_is_older_only_when_it_decoded_ten_times_what_there_was_since(
    decoded: int, is_older: bool
) -> None:
    then = SlotNow(TaskSlot("s", "1"), SlotSeen("0/10", True, 5, transactions=100))
    now = SlotNow(TaskSlot("s", "2"), SlotSeen("0/20", True, decoded, transactions=104))

    assert is_older == (now.doubt(then.conditions["slot"]) is None)


@dataclass
class _Capture:
    """What a source and a task do to a slot, in plain numbers: the oracle."""

    log: int = 1
    born: int = 1
    transactions: int = 0
    run: int = 1
    is_running: bool = True
    confirmed: int = 1
    decoded: int = 0
    checkpoint: int = 1
    lost: int = 0

    def commit(self, count: int) -> None:
        for _ in range(count):
            self.log += 1
            self.transactions += 1
            self._read()

    def elsewhere(self, count: int) -> None:
        """Transactions of other databases: the slot does not decode them."""
        self.transactions += count

    def resend(self, count: int) -> None:
        """The task reads again what it did not acknowledge: nothing more than ten times."""
        again = min(count, self.log - self.born)
        if self.is_running and self.decoded + again <= 10 * (self.log - self.born):
            self.decoded += again

    def start(self, _: int) -> None:
        if not self.is_running:
            self.is_running, self.run = True, self.run + 1
            self._read()

    def stop(self, _: int) -> None:
        self.is_running = False

    def make_anew(self, _: int) -> None:
        if not self.is_running:
            # everything after the checkpoint and before the new slot
            self.lost += self.log - max(self.checkpoint, self.confirmed)
            self.confirmed, self.decoded, self.born = self.log, 0, self.log

    def _read(self) -> None:
        if self.is_running:
            self.decoded += self.log - self.confirmed
            self.confirmed = self.checkpoint = self.log

    def seen(self) -> SlotNow:
        task = TaskSlot("s", str(self.run), lsn_text(self.checkpoint))
        seen = SlotSeen(lsn_text(self.confirmed), self.is_running, self.decoded, self.transactions)
        return SlotNow(task, seen)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["commit", "elsewhere", "resend", "start", "stop", "make_anew"]), st.integers(1, 5)
    ),
    max_size=25,
)


@given(before=STEPS, after=STEPS)
def test_no_proof_holds_across_a_gap_between_two_slots(
    before: list[tuple[str, int]], after: list[tuple[str, int]]
) -> None:
    capture = _Capture()
    for name, count in before:
        getattr(capture, name)(count)
    then, lost = capture.seen(), capture.lost
    for name, count in after:
        getattr(capture, name)(count)

    doubt = capture.seen().doubt(json.dumps(json.loads(then.conditions["slot"])))

    assert doubt is not None or lost == capture.lost
