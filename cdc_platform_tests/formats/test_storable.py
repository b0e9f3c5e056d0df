"""Values that Parquet lets through and no base table holds: the row is rejected, the rest is read."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.formats.bad_values import bad_values_of
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.formats.reading import BARE, Read, options_of, read, table_of

AT = datetime(2024, 5, 31, 20, 10, tzinfo=UTC)
_DAY = 86_400_000_000
_FIRST, _LAST = -719_162, 2_932_896


def _unchecked(values: list[Any], kind: pa.DataType) -> pa.Array[Any]:
    """Return an array of any bytes or numbers as the type, as a Parquet file may have it."""
    if pa.types.is_decimal(kind):
        data = b"".join(value.to_bytes(16, "little", signed=True) for value in values)
        return pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(data)])
    if pa.types.is_string(kind):
        return pa.Array.from_buffers(kind, len(values), pa.array(values, pa.binary()).buffers())
    return pa.array(values, pa.int32() if pa.types.is_date32(kind) else pa.int64()).view(kind)


def _changes(folder: Path, events: list[dict[str, Any]], odd: dict[str, pa.Array[Any]], **more: Any) -> Path:
    """Write changes, with the columns of ``odd`` in the place of those the events have."""
    file = folder / write_change_file(folder, "s", "t", at=AT, events=events, **more)
    rows = pq.read_table(file)
    for name, array in odd.items():
        rows = rows.set_column(rows.schema.get_field_index(name), name, array)
    pq.write_table(rows, file, store_schema=False)
    return file


def _read_odd(folder: Path, values: list[Any], kind: pa.DataType, **table: Any) -> Read:
    events = [{"id": number, "v": 0} for number in range(len(values))]
    _changes(folder, events, {"v": _unchecked(values, kind)})
    return read(folder, options_of(folder), table_of(**table))


@pytest.mark.parametrize(
    ("good", "bad", "kind"),
    [
        ([b"plain", "café".encode(), b""], [b"caf\xe9", b"\xed\xa0\x80", b"\xff"], pa.string()),
        ([_FIRST, 0, _LAST], [_FIRST - 1, _LAST + 1, 2**31 - 1], pa.date32()),
        (
            [_FIRST * _DAY, 0, _LAST * _DAY + _DAY - 1],
            [_FIRST * _DAY - 1, 2**62, -(2**63)],
            pa.timestamp("us"),
        ),
        ([_FIRST * _DAY // 1000, 0], [2**62, -(2**62)], pa.timestamp("ms")),
        ([0, _DAY - 1], [_DAY, -1], pa.time64("us")),
        ([99_999, -99_999], [100_000, -100_000], pa.decimal128(5, 2)),
        ([10**38 - 1, 1 - 10**38], [10**38, -(10**38), 2**127 - 1], pa.decimal128(38, 9)),
    ],
)
def test_a_row_with_a_value_no_table_holds_is_rejected_and_the_others_are_read(
    tmp_path: Path, good: list[Any], bad: list[Any], kind: pa.DataType
) -> None:
    found = _read_odd(tmp_path, [*good, *bad], kind)

    expected = [(len(good) + number, "v") for number in range(len(bad))]
    assert (expected, list(range(len(good)))) == (found.faults, found.column("id"))


def test_the_first_and_the_last_moment_of_the_years_that_tables_hold_survive(tmp_path: Path) -> None:
    found = _read_odd(tmp_path, [_FIRST * _DAY, (_LAST + 1) * _DAY - 1], pa.timestamp("us"))

    first, last = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
    assert [first, last] == found.column("v")


def test_a_rejected_row_tells_its_values_even_those_python_has_none_for(tmp_path: Path) -> None:
    [rejected] = _read_odd(tmp_path, [0, 6_654_000], pa.date32()).rejected

    assert ("20188-01-13", "1") == (rejected.values["v"], rejected.values["id"])
    assert "the value is outside of the years 1 to 9999, which are all that a table holds" == rejected.reason


def test_a_rejected_row_shows_text_that_is_not_utf8(tmp_path: Path) -> None:
    [rejected] = _read_odd(tmp_path, [b"ok", b"caf\xe9"], pa.string()).rejected

    assert "caf�" == rejected.values["v"]


def test_a_bad_value_is_found_before_it_is_converted(tmp_path: Path) -> None:
    found = _read_odd(tmp_path, [b"2024-05-31", b"2024\xff"], pa.string(), columns="v date")

    assert ([date(2024, 5, 31)], [(1, "v")]) == (found.column("v"), found.faults)


def test_a_row_with_a_bad_key_is_rejected(tmp_path: Path) -> None:
    keys = _unchecked([b"a", b"\xe9"], pa.string())
    _changes(tmp_path, [{"id": "0"}, {"Op": "D", "id": "1"}], {"id": keys})

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert ([(1, "id")], ["a"]) == (found.faults, found.column("id"))


def test_a_bad_commit_time_rejects_the_row(tmp_path: Path) -> None:
    times = _unchecked([0, 2**62], pa.timestamp("us"))
    _changes(tmp_path, [{"id": 0}, {"id": 1}], {"dms_timestamp": times})

    assert [(1, "dms_timestamp")] == read(tmp_path, options_of(tmp_path), table_of()).faults


def test_a_bad_value_keeps_no_delete_from_being_applied(tmp_path: Path) -> None:
    _changes(
        tmp_path,
        [{"Op": "D", "id": 0, "v": 0}, {"Op": "D", "id": 1, "v": 0}],
        {"v": _unchecked([0, 2**62], pa.timestamp("us"))},
    )

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert ([], [datetime(1970, 1, 1, tzinfo=UTC), None]) == (found.faults, found.column("v"))


def test_a_bad_value_that_an_update_corrects_does_not_reject_it(tmp_path: Path) -> None:
    events = [
        {"Op": "U", "id": 0, "v": 5, "BI_id": 0, "BI_v": 0},
        {"Op": "U", "id": 1, "v": 6, "BI_id": 1, "BI_v": 0},
    ]
    _changes(
        tmp_path,
        events,
        {"BI_v": _unchecked([7, 2_932_897], pa.date32()), "v": _unchecked([5, 6], pa.date32())},
    )

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert ([], [date(1970, 1, 8), None]) == (found.faults, found.column("_cdc_before_v"))


def test_a_bad_key_in_a_before_image_rejects_the_update_but_no_insert(tmp_path: Path) -> None:
    events = [{"Op": op, "id": number, "BI_id": 0} for number, op in enumerate(["I", "U", "U"])]
    odd = {
        "id": _unchecked([1, 2, 3], pa.date32()),
        "BI_id": _unchecked([2_932_897, 2_932_897, 3], pa.date32()),
    }
    _changes(tmp_path, events, odd)

    found = read(tmp_path, options_of(tmp_path), table_of())

    assert ([(1, "BI_id")], [date(1970, 1, 2), date(1970, 1, 4)]) == (found.faults, found.column("id"))


def test_a_multiset_takes_no_part_of_a_delete_for_another_row(tmp_path: Path) -> None:
    _changes(tmp_path, [{"Op": "D", "id": 0, "v": 0}], {"v": _unchecked([2**62], pa.timestamp("us"))})

    assert [(0, "v")] == read(tmp_path, options_of(tmp_path), table_of(key=(), no_key="multiset")).faults


@pytest.mark.parametrize(
    ("declared", "good", "bad"),
    [
        ("date", ["0001-01-01", "9999-12-31"], ["10000-01-01", "0000-12-31"]),
        ("timestamp", ["9999-12-31 23:59:59.999999"], ["10000-01-01 00:00:00", "0000-12-31 23:59:59"]),
        ("timestamptz", ["0001-01-01 01:00:00+01"], ["9999-12-31 23:59:59-01", "0001-01-01 00:00:00+01"]),
    ],
)
def test_csv_takes_the_same_years(tmp_path: Path, declared: str, good: list[str], bad: list[str]) -> None:
    options = options_of(tmp_path, format="csv", csv={"header": True}, **BARE)
    rows = [{"id": number, "v": value} for number, value in enumerate([*good, *bad])]
    write_load_file(tmp_path, "s", "t", rows, at=AT, options=options)

    found = read(tmp_path, options, table_of(columns=f"id int, v {declared}"))

    expected = [(len(good) + number, "v") for number in range(len(bad))]
    assert (expected, list(range(len(good)))) == (found.faults, found.column("id"))


@pytest.mark.parametrize("kind", [pa.int64(), pa.float64(), pa.bool_(), pa.binary(), pa.timestamp("ns")])
def test_types_whose_every_value_is_stored_are_not_looked_at(kind: pa.DataType) -> None:
    assert bad_values_of(kind) is None


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", None, "é" * 9]),
        pa.array(["xé", "plain text", "é"]).slice(1, 1),
        pa.array([], pa.string()),
        pa.array(["a", "é"], pa.large_string()),
        pa.array(["a", "é", "a"]).dictionary_encode(),
        pa.array(["a", "é", None], pa.string_view()),
        pa.array([None, None], pa.date32()),
        pa.array([time(0), None, time(23, 59)], pa.time32("ms")),
        pa.array([Decimal("1.50"), None], pa.decimal128(3, 2)),
    ],
)
def test_good_values_of_every_kind_of_array_are_found_good(array: pa.Array[Any]) -> None:
    values = bad_values_of(array.type)

    assert values is not None
    assert values.find(array) is None
