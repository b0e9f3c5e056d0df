"""Tables without a key through the real pipeline, under live load: no false difference, and losses found."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.verdict import Kind, Verdict
from cdc_platform_tests.reconcile.line import KeylessLine

pytestmark = pytest.mark.postgres

ONE = "ctid = (SELECT min(ctid) FROM item WHERE id = {})"
#: Copies come and go, and rows become copies of others.
BUSY = (
    "INSERT INTO item VALUES (1 + {n} % 5, 'again')",
    "UPDATE item SET v = 'u' || {n} % 3 WHERE id = 6",
    "DELETE FROM item WHERE ctid = (SELECT min(ctid) FROM item WHERE id = 1 + {n} % 4)",
)


@pytest.fixture
def line(tmp_path: Path, postgres_database: str) -> Iterator[KeylessLine]:
    made = KeylessLine(tmp_path, postgres_database)
    yield made
    made.close()


def test_under_continuous_writes_without_loss_no_row_differs_and_all_are_equal_at_rest(
    line: KeylessLine,
) -> None:
    runs = []
    with line.under_load(*BUSY):
        for _ in range(5):
            line.merge()
            runs.append(line.full())

    assert not {run.verdict for run in runs} & {Verdict.DIFFERENT, Verdict.ERROR}
    assert any(run.comparisons[0].tally.in_flight for run in runs)
    line.arrive()
    assert Verdict.MATCH is line.full().verdict


def test_changes_of_a_dropped_file_are_found_and_located(line: KeylessLine) -> None:
    line.arm("drop-file")
    line.sql(
        f"BEGIN; DELETE FROM item WHERE {ONE.format(3)}; UPDATE item SET v = 'lost' WHERE id = 4; "
        "INSERT INTO item SELECT 50, 'lost' FROM generate_series(1, 2); COMMIT"
    )
    line.arrive()

    (comparison,) = line.full().comparisons

    found = {
        (one.expected or one.actual or {})["id"]: (one.kind, one.located.fault if one.located else None)
        for one in comparison.discrepancies
        if one.verdict is Verdict.DIFFERENT and (one.expected or one.actual or {})["v"] == "lost"
    }
    assert {4: (Kind.MISSING, Fault.CAPTURE_LOST), 50: (Kind.MISSING, Fault.CAPTURE_LOST)} == found
    assert {Kind.MISSING: 2, Kind.UNEXPECTED: 2} == comparison.kinds
    assert {Fault.CAPTURE_LOST: 2, Fault.DELETE_NOT_CAPTURED: 2} == comparison.faults


def test_a_captured_change_is_in_flight_until_its_file_is_merged(line: KeylessLine) -> None:
    line.sql("INSERT INTO item VALUES (7, 'first')", f"DELETE FROM item WHERE {ONE.format(8)}")
    line.task.catch_up()

    before = line.full()
    line.arrive()

    assert [Verdict.IN_FLIGHT, Verdict.MATCH] == [before.verdict, line.full().verdict]
