"""E1, E2, E3, E8: losses are found under load and no other key is, whatever is on its way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.local.contract import StartType
from cdc_platform.pipeline import complete_load
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform_tests.reconcile.line import SOURCE, TABLE, Line, different, wait_until

pytestmark = pytest.mark.postgres

#: Rounds of merge, settling, windows and a whole comparison in which a loss is found while writers go on.
ROUNDS = 8


@pytest.fixture
def line(tmp_path: Path, postgres_database: str) -> Iterator[Line]:
    made = Line(tmp_path, postgres_database)
    yield made
    made.close()


BUSY = (
    "UPDATE item SET v = 'u{n}' WHERE id = 1 + {n} % 7",
    "DELETE FROM item WHERE id = 8",
    "INSERT INTO item VALUES (8, 'i{n}')",
)


def test_e1_under_continuous_writes_without_loss_nothing_differs_and_all_keys_settle(line: Line) -> None:
    with line.under_load(*BUSY):
        runs = [run for _ in range(4) for run in line.round()]

    assert {} == different(*runs)
    assert not {run.verdict for run in runs} & {Verdict.DIFFERENT, Verdict.ERROR}
    assert any(run.comparisons[-1].tally.in_flight for run in runs)
    line.arrive()
    line.settle()
    assert {} == line.queue.entries
    assert {Verdict.MATCH} == {run.verdict for run in line.round()}


def test_e2_a_dropped_change_is_found_while_writers_go_on_and_when_they_rest(line: Line) -> None:
    line.arm("drop-change", "public.item:15")
    with line.under_load(*BUSY):
        line.write(15, "lost")
        line.met("drop-change")
        found = {}
        for _ in range(ROUNDS):
            found = different(*line.round())
            if found:
                break

    assert {15} == set(found)
    line.arrive()
    rested = different(*line.round())
    assert {15: Fault.CAPTURE_LOST} == {key: one.located.fault for key, one in rested.items() if one.located}


def test_e2_the_changes_of_a_dropped_file_are_found_and_located(line: Line) -> None:
    line.arm("drop-file")
    line.sql(
        "BEGIN; UPDATE item SET v = 'lost' WHERE id IN (3, 4); DELETE FROM item WHERE id = 5; "
        "INSERT INTO item VALUES (50, 'lost'); COMMIT"
    )
    line.arrive()

    found = different(line.full())

    lost, gone = Fault.CAPTURE_LOST, Fault.DELETE_NOT_CAPTURED
    faults = {key: one.located.fault for key, one in found.items() if one.located}
    assert {3: lost, 4: lost, 5: gone, 50: lost} == faults


def test_e3_a_loss_masked_at_scan_time_by_an_older_value_on_its_way_is_found(line: Line) -> None:
    line.arm("delay-file", files=100)
    line.write(3, "older, on its way")
    line.met("delay-file")
    line.arm("drop-change", "public.item:3")
    line.write(3, "first")
    line.met("drop-change")
    line.merge()
    # source and base are equal now, and only in passing
    assert {} == different(*line.round())

    line.task.stop()
    line.task.start(StartType.RESUME)
    line.arrive()

    found = different(*line.round())
    assert {3: ("first", "older, on its way")} == {
        key: (one.expected["v"], one.actual["v"])  # type: ignore[index]
        for key, one in found.items()
    }
    assert Fault.CAPTURE_LOST is found[3].located.fault  # type: ignore[union-attr]


def test_e8_a_changed_key_is_two_keys_that_are_settled_both(line: Line) -> None:
    line.arm("delay-file", files=100)
    line.sql("UPDATE item SET id = 900 WHERE id = 4", "UPDATE item SET v = 'moved' WHERE id = 900")
    line.met("delay-file")
    line.merge()
    assert {} == different(line.full())
    assert {"4", "900"} == {one.key["id"] for one in line.queue.entries.values()}

    line.task.stop()
    line.task.start(StartType.RESUME)
    line.arrive()

    settled = line.settle()
    assert settled is not None
    assert (Verdict.MATCH, 2) == (settled.verdict, settled.comparisons[0].tally.matched)


def test_e8_a_lost_change_of_key_is_found_on_both_keys(line: Line) -> None:
    line.arm("drop-change", "public.item:900")
    line.sql("UPDATE item SET id = 900 WHERE id = 4")
    line.arrive()

    found = different(line.full())

    faults = {key: one.located.fault for key, one in found.items() if one.located}
    assert {4: Fault.DELETE_NOT_CAPTURED, 900: Fault.CAPTURE_LOST} == faults


def test_e8_a_truncated_table_differs_in_every_row_and_a_row_written_after_it_does_not(line: Line) -> None:
    line.sql("TRUNCATE item", "INSERT INTO item VALUES (3, 'after')")
    line.arrive()

    found = different(line.full())

    assert set(range(1, 21)) - {3} == set(found)
    assert {Fault.DELETE_NOT_CAPTURED} == {one.located.fault for one in found.values() if one.located}


def test_e8_a_table_dropped_and_made_again_is_in_flight_until_its_new_load_is_merged(line: Line) -> None:
    line.sql("DROP TABLE item; CREATE TABLE item (id bigint PRIMARY KEY, v text)")
    line.sql("INSERT INTO item VALUES (3, 'after'), (40, 'new')")
    wait_until(lambda: line.task.report().tables[0].full_load_reloaded, "the table was not loaded again")

    found = line.full()
    assert (Verdict.IN_FLIGHT, {}) == (found.verdict, different(found))

    line.merge()
    complete_load(line.platform, SOURCE, TABLE)
    line.arrive()
    assert {Verdict.MATCH} == {run.verdict for run in line.round()}
