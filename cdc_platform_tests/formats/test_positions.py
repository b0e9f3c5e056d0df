"""The order of change events, of each kind of position."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.testing import change_sequence, write_change_file
from cdc_platform_tests.formats.reading import BARE, options_of, read, table_of

AT = datetime(2024, 5, 31, 20, 10, tzinfo=UTC)
COMMIT_TIME = {**BARE, "timestamp_column": "dms_timestamp"}

_SEQUENCES = st.tuples(st.integers(0, 10**16 - 1), st.integers(0, 10**19 - 1)).map(
    lambda parts: f"{parts[0]:016d}{parts[1]:019d}"
)


def _positions(
    folder: Path, events: list[dict[str, Any]], at: datetime = AT, digits: int = 3, **settings: Any
) -> list[int]:
    options = options_of(folder, **settings)
    write_change_file(folder, "s", "t", at=at, events=events, options=options, fraction_digits=digits)
    ending = f"{at:%Y%m%d-%H%M%S}{f'{at.microsecond:06d}'[:digits]}.parquet"
    found = read(folder, options, table_of(), ending=ending)
    assert [] == found.rejected
    return [int(position) for position in found.column("_cdc_position")]


@settings(max_examples=40, deadline=None)
@given(sequences=st.lists(_SEQUENCES, min_size=2, max_size=20, unique=True))
def test_the_order_of_change_sequences_as_text_is_the_order_of_positions(
    tmp_path_factory: pytest.TempPathFactory, sequences: list[str]
) -> None:
    folder = tmp_path_factory.mktemp("positions")
    events = [{"id": 1, "cdc_change_seq": sequence} for sequence in sequences]

    positions = _positions(folder, events)

    assert sorted(range(len(sequences)), key=sequences.__getitem__) == sorted(
        range(len(positions)), key=positions.__getitem__
    )
    assert [int(f"{text[:16]}000{text[16:]}") for text in sequences] == positions


@pytest.mark.parametrize("bad", ["", None, "1234", "2024053120094520000000000000000006x", "0" * 36])
def test_a_change_without_a_sequence_is_rejected_where_the_column_exists(
    tmp_path: Path, bad: str | None
) -> None:
    write_change_file(tmp_path, "s", "t", at=AT, events=[{"id": 1, "cdc_change_seq": bad}, {"id": 2}])

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert ([(0, "cdc_change_seq")], [2]) == (found.faults, found.column("id"))
    assert "$AR_H_CHANGE_SEQ" in found.rejected[0].mend


def test_same_commit_times_are_ordered_by_file_and_then_by_row(tmp_path: Path) -> None:
    committed = "2024-05-31 20:09:45.000000"
    events = [{"id": 1, "dms_timestamp": committed}] * 2
    later = AT + timedelta(milliseconds=1)

    first = _positions(tmp_path, events, **COMMIT_TIME)
    second = _positions(tmp_path, events, later, **COMMIT_TIME)

    assert first + second == sorted({*first, *second})


def test_a_later_commit_in_an_earlier_file_is_later(tmp_path: Path) -> None:
    earlier_file = [{"id": 1, "dms_timestamp": "2024-05-31 20:09:45.000001"}]
    later_file = [{"id": 1, "dms_timestamp": "2024-05-31 20:09:45.000000"}]

    [late] = _positions(tmp_path, earlier_file, **COMMIT_TIME)
    [early] = _positions(tmp_path, later_file, AT + timedelta(hours=1), **COMMIT_TIME)

    assert early < late


@pytest.mark.parametrize("moment", ["1970-01-01 00:00:00", "2250-01-01 00:00:00"])
def test_commit_times_far_off_still_are_positions(tmp_path: Path, moment: str) -> None:
    """A source's clock may be wrong; the order is still told."""
    micros = int((datetime.fromisoformat(moment) - datetime(1970, 1, 1)).total_seconds()) * 10**6

    [position] = _positions(tmp_path, [{"id": 1, "dms_timestamp": moment}], **COMMIT_TIME)

    assert micros == position // 10**22
    assert position < 10**38


@pytest.mark.parametrize("bad", [None, "", "1969-12-31 23:59:59", "31.05.2024", "infinity"])
def test_a_change_without_a_commit_time_is_rejected_where_it_is_the_position(
    tmp_path: Path, bad: str | None
) -> None:
    options = options_of(tmp_path, **COMMIT_TIME)
    events = [{"id": 1, "dms_timestamp": bad}, {"id": 2}]
    write_change_file(tmp_path, "s", "t", at=AT, events=events, options=options)

    found = read(tmp_path, options, table_of())

    assert ([(0, "dms_timestamp")], [2]) == (found.faults, found.column("id"))


def test_the_position_by_commit_time_has_the_digits_events_py_tells(tmp_path: Path) -> None:
    """16 digits of commit time in µs, 13 of file time in ms, 9 of the row."""
    events = [{"id": 1, "dms_timestamp": "2024-05-31 20:09:45.000007"}] * 3
    committed = int(datetime(2024, 5, 31, 20, 9, 45, 7, UTC).timestamp() * 10**6)
    file_ms = int(AT.timestamp() * 1000)

    positions = _positions(tmp_path, events, **COMMIT_TIME)

    assert [int(f"{committed:016d}{file_ms:013d}{row:09d}") for row in range(3)] == positions


@settings(max_examples=30, deadline=None)
@given(tenths=st.lists(st.integers(0, 10**8), min_size=2, max_size=4, unique=True), rows=st.integers(1, 3))
def test_files_without_any_position_column_are_ordered_by_their_time_to_the_tenth_of_a_millisecond(
    tmp_path_factory: pytest.TempPathFactory, tenths: list[int], rows: int
) -> None:
    folder = tmp_path_factory.mktemp("positions")
    moments = [AT + timedelta(microseconds=100 * tenth) for tenth in sorted(tenths)]

    found = [_positions(folder, [{"id": 1}] * rows, moment, 4, **BARE) for moment in moments]

    flat = [position for positions in found for position in positions]
    assert flat == sorted(set(flat))


def test_the_made_up_sequences_of_the_testing_module_ascend_with_time(tmp_path: Path) -> None:
    moments = [AT, AT + timedelta(milliseconds=10), AT + timedelta(hours=1)]

    made = [change_sequence(moment, counter) for moment in moments for counter in (1, 2)]

    assert sorted(made) == made
    assert {35} == {len(text) for text in made}
