"""CSV: any values there and back, names with and without a header, what is refused and what rejected."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cdc_platform.errors import MissingMergeKey, SchemaError, UnreadableRawFile
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.formats.reading import BARE, Read, options_of, read, table_of

AT = datetime(2024, 5, 31, 20, 10, tzinfo=UTC)
CHANGES = "s/t/20240531-201000000.csv"


def _read_text(
    folder: Path, text: str | bytes, columns: str = "", *, name: str = CHANGES, **more: Any
) -> Read:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    table = more.pop("table", {})
    key = more.pop("key", ("id",))
    batch_rows = more.pop("batch_rows", 50_000)
    options = options_of(folder, **{**BARE, **more})
    return read(folder, options, table_of(columns=columns, key=key, **table), batch_rows=batch_rows)


_TEXTS = (
    st.none()
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)
    | st.sampled_from(
        ["^", "\x1e", "", "NULL", '"', '""', ",", "\n", "\r", "\r\n", "a\rb", " x ", "|", "\\N", "é\n,"]
    )
)


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.tuples(_TEXTS, _TEXTS), min_size=1, max_size=6),
    delimiter=st.sampled_from([",", "|", "\t", ";"]),
    row_delimiter=st.sampled_from(["\n", "^", "\x1e"]),
    header=st.booleans(),
    batch_rows=st.sampled_from([1, 2, 100]),
)
def test_any_texts_written_by_rfc4180_are_read_back(
    tmp_path_factory: pytest.TempPathFactory,
    values: list[tuple[str | None, str | None]],
    delimiter: str,
    row_delimiter: str,
    header: bool,
    batch_rows: int,
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    csv = {"delimiter": delimiter, "row_delimiter": row_delimiter, "header": header}
    options = options_of(folder, format="csv", csv=csv, **BARE)
    events = [{"Op": "U", "id": number, "a": a, "b": b} for number, (a, b) in enumerate(values)]
    write_change_file(folder, "s", "t", at=AT, events=events, options=options)

    found = read(folder, options, table_of(columns="id int, a string, b string"), batch_rows=batch_rows)

    assert values == [(row["a"], row["b"]) for row in found.rows]
    assert list(range(len(values))) == found.column("_cdc_row")
    assert [] == found.rejected


def test_crlf_may_be_the_row_delimiter(tmp_path: Path) -> None:
    found = _read_text(
        tmp_path, 'I,1,a\r\nI,2,"b\r\nc"\r\n', "id int, v string", csv={"row_delimiter": "\r\n"}
    )

    assert ["a", "b\r\nc"] == found.column("v")


def test_null_may_be_nothing_but_the_empty_field(tmp_path: Path) -> None:
    found = _read_text(tmp_path, 'I,1,NULL\nI,2,\nI,3,""\n', "id int, v string", csv={"null_value": ""})

    assert ["NULL", None, ""] == found.column("v")


def test_records_beyond_one_block_keep_their_numbers(tmp_path: Path) -> None:
    """Blocks are 16 MB; a quoted line end may lie across two, and odd records are passed over by number."""
    wide = "x" * 3_000
    lines = [f'I,{number},"{wide}\n{number}"\n' for number in range(12_000)]
    lines[5] = "I,5\n"
    lines[11_000] = "I,11000,a,b\n"

    found = _read_text(tmp_path, "".join(lines), "id int, v string", batch_rows=1_000)

    assert [5, 11_000] == [row.row for row in found.rejected]
    assert found.column("id") == found.column("_cdc_row")
    assert 11_998 == len(found.events)
    assert f"{wide}\n11999" == found.events[-1]["v"]


def test_a_file_without_header_is_named_by_the_configuration(tmp_path: Path) -> None:
    settings = {"timestamp_column": "ts", "change_sequence_column": "seq", "before_image_prefix": "BI_"}
    sequence = "20240531200945200000000000000000061"
    text = f"U,2024-05-31 20:09:45.000000,2,b,{sequence},1\n"

    found = _read_text(tmp_path, text, "id int, v string", **settings)

    assert [{"id": 2, "v": "b", "_cdc_before_id": 1}] == found.rows


def test_before_images_of_every_column_are_known_by_the_number_of_fields(tmp_path: Path) -> None:
    found = _read_text(tmp_path, "U,2,b,1,a\n", "id int, v string", before_image_prefix="BI_")

    assert [{"id": 2, "v": "b", "_cdc_before_id": 1, "_cdc_before_v": "a"}] == found.rows


def test_an_empty_binary_before_image_is_one_and_a_blank_is_none(tmp_path: Path) -> None:
    text = 'U,0a,b,"",a\nU,0a,b,,a\n'

    found = _read_text(tmp_path, text, "id binary, v string", before_image_prefix="BI_")

    assert [b"", None] == [row.get("_cdc_before_id") for row in found.rows]


def test_an_added_column_may_be_named_at_its_own_place(tmp_path: Path) -> None:
    sequence = "20240531200945200000000000000000061"
    columns = "seq string, id int"

    found = _read_text(tmp_path, f"U,{sequence},2\n", columns, change_sequence_column="seq")

    assert ([{"id": 2}], 61) == (found.rows, int(found.column("_cdc_position")[0]) % 10**10)


def test_another_number_of_fields_than_configured_refuses_the_file(tmp_path: Path) -> None:
    """A column was added in the middle of a set of files: nothing tells which one."""
    with pytest.raises(UnreadableRawFile, match=r"has 4 fields.*make 3 \(Op, id, v\).*cdc discover"):
        _read_text(tmp_path, "I,1,a,new\n", "id int, v string")


def test_columns_without_a_declared_type_are_strings_and_told(tmp_path: Path) -> None:
    found = _read_text(tmp_path, "Op,id,v\nI,001,1.50\n", "id int", csv={"header": True})

    assert [{"id": 1, "v": "1.50"}] == found.rows
    assert ("v",) == found.untyped


def test_columns_may_be_declared_by_number_for_want_of_better(tmp_path: Path) -> None:
    found = _read_text(tmp_path, "I,1,a\n", "column_1 string, column_2 string", key=("column_1",))

    assert [{"column_1": "1", "column_2": "a"}] == found.rows


def test_a_header_nobody_configured_is_refused_not_read_as_a_row(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRawFile, match=r"has a header.*csv\.header: true"):
        _read_text(tmp_path, "id,v\n1,a\n", "id string, v string", name="s/t/LOAD00000001.csv")


def test_a_header_without_the_key_is_told_with_the_columns_there_are(tmp_path: Path) -> None:
    with pytest.raises(MissingMergeKey, match=r"no merge key column 'id'; it has v.*merge_key"):
        _read_text(tmp_path, "Op,v\nI,a\n", csv={"header": True})


def test_changes_without_op_are_refused_unless_known_to_be_inserts_only(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRawFile, match=r"not 'Op'.*cdc_inserts_only: true"):
        _read_text(tmp_path, "id,v\n1,a\n", csv={"header": True})

    found = _read_text(tmp_path, "id,v\n1,a\n", csv={"header": True}, cdc_inserts_only=True)
    assert ["I"] == found.column("_cdc_op")


@pytest.mark.parametrize(
    ("kind", "value", "good"),
    [
        ("int", "3.7", None),
        ("int", "3.0", 3),
        ("int", " 12 ", 12),
        ("int", "+12", 12),
        ("int", "2147483648", None),
        ("int", "1_000", None),
        ("int", "0x1F", None),
        ("int", "", None),
        ("long", "9223372036854775807", 2**63 - 1),
        ("long", "+9.0000000000000000e+00", 9),
        ("boolean", "true", True),
        ("boolean", "F", False),
        ("boolean", "maybe", None),
        ("double", "-1.1118453000000000e-01", -0.11118453),
        ("double", "1e400", None),
        ("double", "Infinity", float("inf")),
        ("date", "1987-06-17 00:00:00", "1987-06-17"),
        ("date", "1987-06-17 00:00:01", None),
        ("date", "1987-02-30", None),
        ("date", "0000-00-00", None),
        ("date", "infinity", None),
        ("time", "23:59:59.5", "23:59:59.500000"),
        ("time", "24:00:00", None),
        ("time", "838:59:59", None),
        ("timestamp", "2024-05-31 20:09:45.1234567", "2024-05-31 20:09:45.123456"),
        ("timestamp", "2024-05-31 20:09:45+02", None),
        ("timestamptz", "2024-05-31 20:09:45+02", "2024-05-31 18:09:45+00:00"),
        ("timestamptz", "2024-05-31 20:09:45", "2024-05-31 20:09:45+00:00"),
        ("decimal(8;2)", "1.230", "1.23"),
        ("decimal(8;2)", "1.234", None),
        ("decimal(8;2)", "1234567.00", None),
        ("decimal(8;2)", "+5.0656000000000000e+05", "506560.00"),
        ("decimal(38;4)", "-12.3400", "-12.3400"),
        ("decimal(38;4)", "1234567890123456789012345678901234.5", "1234567890123456789012345678901234.5000"),
        ("decimal(38;4)", "12345678901234567890123456789012345.5", None),
        ("decimal(38;0)", "99999999999999999999999999999999999999", "9" * 38),
        ("decimal(20;19)", "-1.5", "-1.5000000000000000000"),
        ("decimal(19;1)", "00000000000000000000000000001.5", "1.5"),
        ("binary", "0aFF", b"\x0a\xff"),
        ("binary", "0aF", None),
    ],
)
def test_a_value_has_the_declared_type_or_its_row_is_rejected(
    tmp_path: Path, kind: str, value: str, good: Any
) -> None:
    found = _read_text(tmp_path, f'I,1,"{value}"\nI,2,\n', f"id int, v {kind}")

    if good is None:
        assert [(0, "v")] == found.faults
        assert value == found.rejected[0].values["v"]
        assert "`columns` of cdc.yaml" in found.rejected[0].mend
    else:
        assert [] == found.rejected
        result = found.column("v")[0]
        assert good == (result if isinstance(good, (bool, int, float, bytes)) else str(result))


def test_a_type_that_does_not_exist_is_told_by_its_place_in_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match=r"table s\.t, columns, v: 'varchar' is not a column type"):
        _read_text(tmp_path, "I,1,a\n", "id int, v varchar")


@pytest.mark.parametrize(
    ("csv", "message"),
    [({"delimiter": "||"}, "CsvDelimiter"), ({"row_delimiter": "<end>"}, "CsvRowDelimiter")],
)
def test_delimiters_that_cannot_be_read_are_refused_by_their_dms_name(
    tmp_path: Path, csv: dict[str, str], message: str
) -> None:
    with pytest.raises(UnreadableRawFile, match=message):
        _read_text(tmp_path, "I,1,a\n", "id int, v string", csv=csv)


@pytest.mark.parametrize(
    ("data", "name"),
    [(b"", CHANGES), (b"\x1f\x8b\x08\x00garbage", f"{CHANGES}.gz"), (b"plain text", f"{CHANGES}.gz")],
)
def test_broken_bytes_are_told_with_table_and_file(tmp_path: Path, data: bytes, name: str) -> None:
    with pytest.raises(UnreadableRawFile, match=r"s\.t, file s/t/20240531-201000000\.csv.*restore it"):
        _read_text(tmp_path, data, "id int, v string", name=name)


def test_a_truncated_zipped_file_is_unreadable_though_its_first_records_are_not(tmp_path: Path) -> None:
    import gzip
    import random

    lines = "".join(f"I,{number},{random.Random(number).random()}\n" for number in range(2_000))
    data = gzip.compress(lines.encode())

    with pytest.raises(UnreadableRawFile):
        _read_text(tmp_path, data[: len(data) // 2], "id int, v string", name=f"{CHANGES}.gz")


def test_so_many_odd_records_mean_that_the_file_is_at_fault(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRawFile):
        _read_text(tmp_path, "I,1,a\n" + "odd\n" * 10_001, "id int, v string")


def test_a_load_file_written_by_the_testing_module_reads_back(tmp_path: Path) -> None:
    options = options_of(tmp_path, format="csv")
    write_load_file(tmp_path, "s", "t", [{"id": 1, "v": 1.5}], options=options)

    assert [{"id": 1, "v": 1.5}] == read(tmp_path, options, table_of(columns="id int, v double")).rows


def test_two_declared_columns_of_one_name_in_base_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SchemaError, match="'V' and 'v' both become 'v'"):
        _read_text(tmp_path, "I,1,1,a\n", "id int, V int, v string")


@pytest.mark.parametrize(
    ("text", "header"),
    [
        ("Op,id,v\r\nI,1,a\r\nI,2,b\r\n", True),
        ("Op,id,v\r\n", True),
        ("I,1,a\r\nI,2,b\r\n", False),
        ('I,1,a\r\nI,2,\r\nI,3,NULL\r\nI,4,"x\ny"\r\n', False),
        ("I,1,a\r\n", False),
    ],
)
def test_a_file_whose_records_end_in_crlf_is_refused_with_the_setting_to_make(
    tmp_path: Path, text: str, header: bool
) -> None:
    with pytest.raises(UnreadableRawFile) as refused:
        _read_text(tmp_path, text, "id int, v string", csv={"header": header})

    assert "records end in CR LF" in refused.value.what
    assert 'set `csv.row_delimiter` to "\\r\\n"' in str(refused.value.mend)


@pytest.mark.parametrize(
    ("text", "csv", "values"),
    [
        ("I,1,a\r\nI,2,b\n", {}, ["a\r", "b"]),
        ('I,1,"a\r"\nI,2,"\r"\n', {}, ["a\r", "\r"]),
        ('I,1,"x\r\ny\r"\n', {}, ["x\r\ny\r"]),
        ("I,1,a\r\n", {"row_delimiter": "\n"}, ["a\r"]),
        ("Op,id,v\nI,1,a\r\n", {"header": True}, ["a\r"]),
    ],
)
def test_values_that_end_in_cr_are_kept_where_the_records_end_in_lf(
    tmp_path: Path, text: str, csv: dict[str, Any], values: list[str]
) -> None:
    found = _read_text(tmp_path, text, "id int, v string", csv=csv)

    assert values == found.column("v")
