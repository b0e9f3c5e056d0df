"""What the names of raw files say, and that they are read as they are written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cdc_platform.config.model import RawOptions
from cdc_platform.errors import UnknownRawFileName
from cdc_platform.formats.dms_names import change_file_key, load_file_key, parse_raw_file_name
from cdc_platform.raw.files import FileKind, RawFileName

OPTIONS = RawOptions(location="s3://raw/dms")


def _parse(key: str) -> RawFileName:
    return parse_raw_file_name(key, OPTIONS)


@pytest.mark.parametrize(("digits", "counter"), [("00000009", 9), ("0000000A", 10), ("00000010", 16)])
def test_the_counter_of_a_load_file_is_hexadecimal(digits: str, counter: int) -> None:
    name = _parse(f"public/orders/LOAD{digits}.csv")

    assert (FileKind.LOAD, counter, "", None) == (name.kind, name.counter, name.segment, name.file_time)


def test_a_numbered_segment_and_a_partition_folder_are_segments() -> None:
    assert "SEGMENT12" == _parse("public/orders/SEGMENT12_LOAD00000001.parquet").segment
    assert "p_2023" == _parse("public/orders/p_2023/LOAD00000001.parquet").segment


def test_nine_digits_after_the_dash_are_milliseconds() -> None:
    expected = datetime(2021, 11, 23, 1, 38, 30, 913_000, UTC)

    assert expected == _parse("public/orders/20211123-013830913.parquet").file_time


def test_ten_digits_after_the_dash_are_tenths_of_milliseconds() -> None:
    expected = datetime(2014, 10, 29, 11, 34, 1, 123_400, UTC)

    assert expected == _parse("public/orders/20141029-1134011234.csv").file_time


@pytest.mark.parametrize("delimiter", ["/", "-", "_", ""])
@pytest.mark.parametrize(
    "parts",
    [
        ("2021", "11", "23"),
        ("2021", "11", "23", "01"),
        ("2021", "11"),
        ("11", "2021", "23"),
        ("23", "11", "2021"),
    ],
)
def test_every_date_folder_is_passed_over(parts: tuple[str, ...], delimiter: str) -> None:
    name = _parse(f"public/orders/{delimiter.join(parts)}/20211123-013830913.parquet")

    assert (FileKind.CHANGES, "public", "orders", "") == (name.kind, name.schema, name.table, name.segment)


@pytest.mark.parametrize("extension", ["csv", "csv.gz", "parquet", "parquet.gz"])
def test_the_extension_is_told(extension: str) -> None:
    assert extension == _parse(f"public/orders/LOAD00000001.{extension}").extension


@pytest.mark.parametrize(
    "key",
    [
        "public/orders/notes.txt",
        "public/orders/LOAD1.csv",
        "public/orders/LOAD00000001.json",
        "public/orders/LOAD00000001",
        "public/orders/20211123-0138309.csv",
        "public/orders/20211123-01383091345.csv",
        "public/orders/20211323-013830913.csv",
        "public/orders/20211123-253830913.csv",
        "public/orders/backup/20211123-013830913.csv",
        "public/orders/2021/11-23/20211123-013830913.csv",
        "public/orders/a/b/LOAD00000001.csv",
        "orders/LOAD00000001.csv",
        "public/orders/٢٠٢١١١٢٣-013830913.csv",
        "",
    ],
)
def test_other_names_are_refused_with_the_names_there_are(key: str) -> None:
    with pytest.raises(UnknownRawFileName, match=r"LOAD0000000A\.parquet") as caught:
        _parse(key)
    assert f"s3://raw/dms/{key}" in str(caught.value)


@pytest.mark.parametrize("key", ["CDC_TXN-20201117153046033.csv", "cdc/CDC_TXN-20201117153046033.csv"])
def test_transaction_files_are_refused_as_a_mode_that_is_not_supported(key: str) -> None:
    with pytest.raises(UnknownRawFileName, match="transaction-preserving mode, which is not supported"):
        _parse(key)


_WORDS = st.text("abcXYZ_$ .09", min_size=1, max_size=8)


@given(
    schema=_WORDS,
    table=_WORDS,
    counter=st.integers(1, 0xFFFFFFFF),
    segment=st.sampled_from(["", "SEGMENT1", "SEGMENT20", "p1", "EU west"]),
    extension=st.sampled_from(["csv", "csv.gz", "parquet"]),
)
def test_load_names_are_read_as_they_are_written(
    schema: str, table: str, counter: int, segment: str, extension: str
) -> None:
    key = load_file_key(schema, table, counter, segment=segment, extension=extension)

    assert RawFileName(FileKind.LOAD, schema, table, segment, None, counter, extension) == _parse(key)


@given(
    at=st.datetimes(datetime(1990, 1, 1), datetime(2199, 1, 1), timezones=st.just(UTC)),
    digits=st.sampled_from([3, 4]),
    folder=st.sampled_from(["", "2021/11/23", "2021-11", "23112021"]),
)
def test_change_names_are_read_as_they_are_written(at: datetime, digits: int, folder: str) -> None:
    key = change_file_key("s", "t", at, fraction_digits=digits, date_folder=folder)
    lost = at.microsecond % 10 ** (6 - digits)

    assert at - timedelta(microseconds=lost) == _parse(key).file_time


@given(st.lists(st.datetimes(datetime(1990, 1, 1), timezones=st.just(UTC)), min_size=2, max_size=2))
def test_the_order_of_change_names_is_the_order_of_their_times(moments: list[datetime]) -> None:
    first, second = sorted(moments)

    assert change_file_key("s", "t", first) <= change_file_key("s", "t", second)
