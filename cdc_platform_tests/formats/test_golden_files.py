"""What the reader makes of files as DMS writes them, one folder of ``data`` per quirk."""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from cdc_platform.errors import UnreadableRawFile
from cdc_platform.events import PositionKind
from cdc_platform_tests.data.make_data import make
from cdc_platform_tests.formats.reading import BARE, Read, options_of, read, table_of

DATA = Path(__file__).parent.parent / "data"


def _read(
    quirk: str, columns: str = "", *, ending: str = "", key: tuple[str, ...] = ("id",), **settings: Any
) -> Read:
    folder = DATA / quirk
    name = ".".join(next(folder.glob("*/*")).parts[-2:])
    more = settings.pop("table", {})
    return read(folder, options_of(folder, **settings), table_of(name, key, columns, **more), ending=ending)


def _ops(read: Read) -> str:
    return "".join(read.column("_cdc_op"))


def test_the_committed_files_are_those_the_script_makes(tmp_path: Path) -> None:
    make(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    kinds = (".csv", ".gz", ".parquet")
    committed = sorted(path.relative_to(DATA) for path in DATA.rglob("*") if path.suffix in kinds)

    assert made == committed
    for path in made:
        if path.suffix == ".parquet":
            assert pq.read_table(tmp_path / path) == pq.read_table(DATA / path)
        else:
            assert (tmp_path / path).read_bytes() == (DATA / path).read_bytes()


MYSQL = "id int, name string, pay decimal(10;2), x string, note string"


def test_mysql_csv_load_has_no_op_and_nulls_are_unquoted_empty_fields() -> None:
    found = _read("mysql_csv_defaults", MYSQL, ending="LOAD00000001.csv", **BARE)

    assert "LL" == _ops(found)
    assert [
        {"id": 1, "name": "Smith, J", "pay": Decimal("2100.50"), "x": None, "note": "  kept  "},
        {"id": 2, "name": "Ann", "pay": None, "x": "x", "note": None},
    ] == found.rows


def test_mysql_csv_changes_of_one_key_keep_the_order_of_the_file() -> None:
    found = _read("mysql_csv_defaults", MYSQL, ending="123.csv", **BARE)

    assert ("IUDI", PositionKind.FILE_TIME) == (_ops(found), found.position_kind)
    assert [0, 1, 2, 3] == found.column("_cdc_row")
    assert sorted(found.column("_cdc_position")) == found.column("_cdc_position")


def test_oracle_csv_with_a_header_and_dates_at_midnight() -> None:
    columns = "EMPLOYEE_ID long, HIRE_DATE date, SALARY decimal(8;2), MANAGER_ID long"
    settings = {**BARE, "csv": {"header": True}, "key": ("EMPLOYEE_ID",)}
    load = _read("oracle_csv_header", columns, ending="LOAD00000001.csv", **settings)
    change = _read("oracle_csv_header", columns, ending="123.csv", **settings)

    assert {
        "employee_id": 100,
        "hire_date": date(1987, 6, 17),
        "salary": Decimal("8300.00"),
        "manager_id": None,
    } == load.rows[0]
    assert ("U", [Decimal("17500.00")]) == (_ops(change), change.column("salary"))
    assert "EMPLOYEE_ID" == load.source_columns["employee_id"]


def test_a_key_written_as_a_float_is_the_same_number_as_one_written_as_an_integer() -> None:
    columns = "id long, v double"
    load = _read("csv_float_keys", columns, ending="LOAD00000001.csv", **BARE)
    change = _read("csv_float_keys", columns, ending="123.csv", **BARE)

    assert [506560] == load.column("id") == change.column("id")
    assert [-0.11118453] == load.column("v")


def test_a_key_with_a_fraction_is_not_rounded_but_rejected() -> None:
    assert [(1, "id")] == _read("csv_float_keys", "id long, v double", ending="123.csv", **BARE).faults


def test_csv_quoting_tells_null_from_the_empty_string_and_keeps_line_ends() -> None:
    found = _read("csv_quoting", "id int, v string", **BARE)

    values = ["a,b", 'say "hi"', "two\nlines", "dos\r\nlines", "", None, None, "NULL", "lone\rreturn"]
    assert values == found.column("v")
    assert list(range(9)) == found.column("_cdc_row")


def test_without_rfc4180_quotes_are_data() -> None:
    found = _read("csv_without_rfc4180", "id int, v string", csv={"rfc4180": False}, **BARE)

    assert ['5" pipe', '""', '"x'] == found.column("v")


def test_columns_the_log_did_not_carry_make_an_update_no_full_image() -> None:
    found = _read("csv_no_sup_value", "id int, a string, b string", csv={"no_sup_value": "@"}, **BARE)

    assert "DI" == _ops(found)
    assert [{"id": 3, "a": None, "b": None}, {"id": 4, "a": "a", "b": "b"}] == found.rows
    assert [(0, None), (1, None)] == found.faults
    assert all("images: partial" in row.mend for row in found.rejected)


def test_columns_the_log_did_not_carry_are_null_where_images_are_partial() -> None:
    settings = {**BARE, "csv": {"no_sup_value": "@"}, "table": {"images": "partial"}}
    found = _read("csv_no_sup_value", "id int, a string, b string", **settings)

    assert ("UUDI", []) == (_ops(found), found.rejected)
    assert {"id": 1, "a": None, "b": "new"} == found.rows[0]


def test_odd_csv_records_are_rejected_by_number_and_the_others_kept() -> None:
    found = _read("csv_odd_rows", "id int, v string", **BARE)

    assert [(1, "a"), (4, "d")] == list(zip(found.column("id"), found.column("v"), strict=True))
    assert [0, 4] == found.column("_cdc_row")
    reasons = {row.row: row.reason for row in found.rejected}
    assert {1, 2, 3, 5} == reasons.keys()
    assert "the record has 2 fields, the file's others have 3" == reasons[1]
    assert "the record is empty" == reasons[2]
    assert "the record is not UTF-8 text" == reasons[3]
    assert "the record has 4 fields, the file's others have 3" == reasons[5]


def test_changes_of_one_transaction_are_ordered_by_change_sequence() -> None:
    """One commit time for all three; the position has three digits for the task between time and counter."""
    settings = {**BARE, "timestamp_column": "ts", "change_sequence_column": "seq"}
    found = _read("csv_one_transaction", "id int, v string", **settings)

    positions = [Decimal(f"2024053120094520000000000000000000{number:04d}") for number in (61, 65, 69)]
    assert ("IUD", positions) == (_ops(found), found.column("_cdc_position"))
    assert [datetime(2024, 5, 31, 20, 9, 45, tzinfo=UTC)] * 3 == found.column("_cdc_committed_at")


def test_zipped_csv_is_read() -> None:
    assert [1, 2] == _read("csv_zipped", "id int, v string", **BARE).column("id")


def test_a_postgres_load_keeps_its_types_and_each_rows_transfer_time() -> None:
    found = _read("postgres_parquet_load")

    assert "LL" == _ops(found)
    assert [0, 0] == found.column("_cdc_position")
    assert [1, 9] == [moment.microsecond for moment in found.column("_cdc_committed_at")]
    assert {
        "id": 1,
        "small": -3,
        "amount": Decimal("1234.50"),
        "money": Decimal("9.9900"),
        "ratio": 0.5,
        "exact": 0.1,
        "at": datetime(2022, 3, 1, 9, 59, 59, 123_000, UTC),
        "uuid": "7d444840-9dc0-11d1-b245-5ffdce74fad2",
        "doc": '{"a": 1}',
        "photo": b"\x00\xff",
        "ok": True,
        "flag": "true",
    } == found.rows[0]
    assert set(found.rows[1].values()) == {2, None, "false"}


def test_a_boolean_written_as_text_is_one_when_the_configuration_says_so() -> None:
    assert [True, False] == _read("postgres_parquet_load", "flag boolean").column("flag")


def test_a_local_time_is_kept_without_a_zone_when_the_configuration_says_so() -> None:
    expected = datetime(2022, 3, 1, 9, 59, 59, 123_000)

    assert expected == _read("postgres_parquet_load", "at timestamp").column("at")[0]


def test_postgres_changes_carry_before_images_positions_and_other_headers() -> None:
    found = _read("postgres_parquet_changes")

    assert ("IUD", PositionKind.CHANGE_SEQUENCE) == (_ops(found), found.position_kind)
    assert [None, 2, 3] == found.column("_cdc_before_id")
    assert ["0/16B3748", "0/16B3790", "0/16B37D8"] == found.column("_cdc_source_position")
    assert ["ann", "bob", "eve"] == found.column("ar_h_user")
    assert ["id", "note", "ar_h_user"] == list(found.source_columns)
    assert {"id": 3, "note": None, "ar_h_user": "eve", "_cdc_before_id": 3} == found.rows[2]


def test_the_largest_unsigned_numbers_and_millisecond_times_survive() -> None:
    found = _read("unsigned_and_time_parquet", **BARE)

    assert {
        "id": Decimal(2**64 - 1),
        "u1": 2**8 - 1,
        "u2": 2**16 - 1,
        "u4": 2**32 - 1,
        "clock": time(23, 59, 59, 999_000),
        "day": date(1, 1, 1),
        "nanos": datetime(2023, 11, 14, 22, 13, 20, 123_456, UTC),
    } == found.rows[0]


def test_a_parquet_file_without_rows_is_no_error() -> None:
    found = _read("zero_row_parquet", **BARE)

    assert ([], [], "id") == (found.events, found.rejected, found.schema.names[-1])


def test_csv_without_header_and_columns_is_refused_with_the_command_that_helps() -> None:
    with pytest.raises(UnreadableRawFile, match=r"nothing tells its columns.*cdc discover"):
        _read("csv_zipped", **BARE)
