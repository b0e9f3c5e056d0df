"""The rule of the three witnesses: each way a row can go wrong has its own fault."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cdc_platform.reconcile.fault_rules import Facts, SourceSays, Vanished, decide
from cdc_platform.reconcile.faults import MENDS, BaseImage, Fault, RawImage, faults_in_words

OLDER = RawImage("old.parquet", 4, "I", False, 0, 10, "applied", equals_base=False)
NEWEST = RawImage("new.parquet", 7, "U", False, 0, 20, "applied", equals_base=False)
DELETE = replace(NEWEST, op="D", deletes=True, equals_base=None)
AS_BASE = replace(NEWEST, equals_base=True)
BASE = BaseImage("part.parquet", 3, 0, 20, snapshot_id=5, batch_id="b1")
FOREIGN = replace(BASE, snapshot_id=9, batch_id=None)
STALE = replace(BASE, sequence=10)
UNDO = "@repair/20260301T120000-4f2a/undo-0a1b2c.parquet"
WAITING = replace(NEWEST, file="held.parquet", sequence=30, standing="quarantined")


def facts(**changes: Any) -> Facts:
    """Return facts of a row that base has and the source has otherwise."""
    return replace(Facts(SourceSays.ROW, 1, BASE, AS_BASE, columns=("name",)), **changes)


CASES: list[tuple[str, dict[str, Any], Fault]] = [
    ("raw says what base holds", {}, Fault.CAPTURE_LOST),
    ("raw never heard of it", {"copies": 0, "base": None, "newest": None}, Fault.CAPTURE_LOST),
    ("raw deletes it", {"copies": 0, "base": None, "newest": DELETE}, Fault.CAPTURE_LOST),
    ("every column is distorted", {"altered": ["name truncated"]}, Fault.CAPTURE_ALTERED),
    ("its newest event is of before the column", {"unheard": ["name"]}, Fault.COLUMN_ADDED),
    (
        "its newest event is of before one of two columns",
        {"unheard": ["name"], "columns": ("name", "price")},
        Fault.CAPTURE_LOST,
    ),
    (
        "it was deleted before the column",
        {"unheard": ["name"], "newest": DELETE, "copies": 0, "base": None},
        Fault.CAPTURE_LOST,
    ),
    ("a raw file that could tell was not read", {"unheard": ["name"], "doubt": "one is gone"}, Fault.UNKNOWN),
    (
        "one of two columns is distorted",
        {"altered": ["name truncated"], "columns": ("name", "price")},
        Fault.CAPTURE_LOST,
    ),
    ("an undo put it back", {"newest": replace(AS_BASE, file=UNDO)}, Fault.REPAIR_UNDONE),
    (
        "an undo took it away again",
        {"copies": 0, "base": None, "newest": replace(DELETE, file=UNDO)},
        Fault.REPAIR_UNDONE,
    ),
    ("the source has no row", {"source": SourceSays.NO_ROW}, Fault.DELETE_NOT_CAPTURED),
    ("base lacks the row", {"copies": 0, "base": None, "newest": NEWEST}, Fault.MERGE_LOST),
    (
        "another writer took it away",
        {"copies": 0, "base": None, "newest": NEWEST, "vanished": Vanished(9, "delete", False)},
        Fault.WRITTEN_OUT_OF_BAND,
    ),
    (
        "maintenance lost it",
        {"copies": 0, "base": None, "newest": NEWEST, "vanished": Vanished(9, "replace", True)},
        Fault.MERGE_LOST,
    ),
    ("base holds an older image", {"base": STALE, "newest": NEWEST, "equal": OLDER}, Fault.STALE),
    ("an older image at the newest position", {"newest": NEWEST, "equal": OLDER}, Fault.MISORDERED),
    ("the same by another writer", {"base": FOREIGN, "newest": NEWEST, "equal": OLDER}, Fault.STALE),
    ("the newest values at an older position", {"base": STALE}, Fault.STALE),
    ("values of several events", {"newest": NEWEST}, Fault.MISORDERED),
    ("a value of no event", {"newest": NEWEST, "never_carried": ("name",)}, Fault.WRITTEN_OUT_OF_BAND),
    (
        "a delete that base ignored",
        {"base": STALE, "newest": DELETE, "equal": OLDER},
        Fault.DELETE_NOT_APPLIED,
    ),
    (
        "a deleted row that came back",
        {"base": replace(FOREIGN, sequence=10), "newest": DELETE, "tombstone": (0, 20)},
        Fault.WRITTEN_OUT_OF_BAND,
    ),
    (
        "a row newer than its delete",
        {"base": replace(BASE, sequence=25), "newest": DELETE},
        Fault.WRITTEN_OUT_OF_BAND,
    ),
    ("a row of no event", {"newest": None, "base": FOREIGN}, Fault.WRITTEN_OUT_OF_BAND),
    ("a row from before the last load", {"newest": None, "completed": 3}, Fault.DELETE_NOT_APPLIED),
    ("two rows", {"copies": 2}, Fault.DUPLICATE),
    ("an event in quarantine", {"waiting": WAITING}, Fault.QUARANTINED),
    ("a row no reader could type", {"refused": "x row 3"}, Fault.QUARANTINED),
    ("a discarded event", {"waiting": replace(WAITING, standing="discarded")}, Fault.DISCARDED),
    ("an older event in quarantine", {"waiting": replace(WAITING, sequence=5)}, Fault.CAPTURE_LOST),
    ("an event not applied yet", {"waiting": replace(WAITING, standing="pending")}, Fault.UNKNOWN),
    ("the source agrees", {"source": SourceSays.AS_BASE}, Fault.UNKNOWN),
]


@pytest.mark.parametrize(("changes", "fault"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_way_a_row_goes_wrong_has_its_fault(changes: dict[str, Any], fault: Fault) -> None:
    found = decide(facts(**changes))

    assert fault is found.fault
    assert found.sentence == f"{fault.value.capitalize()}: {found.reason}; {MENDS[fault]}"


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"source": SourceSays.NO_ROW},
        {"copies": 0, "base": None, "newest": None},
        {"newest": None},
        {"newest": NEWEST, "never_carried": ("name",)},
    ],
)
def test_what_only_the_absence_of_an_event_proves_is_unknown_while_raw_is_not_whole(
    changes: dict[str, Any],
) -> None:
    found = decide(facts(doubt="raw file a could not be read", **changes))

    assert Fault.UNKNOWN is found.fault
    assert "raw file a could not be read" in found.reason


def test_evidence_names_the_raw_event_and_the_base_row_and_is_json() -> None:
    found = decide(facts(base=STALE, newest=NEWEST, equal=OLDER)).as_json()

    assert ("new.parquet", 7, "0:20") == tuple(found["raw"][name] for name in ("file", "row", "position"))
    assert ("part.parquet", 3, "5", "b1") == tuple(
        found["base"][name] for name in ("data_file", "data_row", "snapshot_id", "batch_id")
    )


def test_every_fault_has_a_mend_and_is_counted_in_words() -> None:
    assert set(Fault) == set(MENDS)
    assert "Of 1 difference looked into: 1 stale" == faults_in_words({Fault.STALE: 1})
