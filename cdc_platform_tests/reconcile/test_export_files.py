"""Exports whose files' columns are not what the engine makes of them: never a MATCH of other values."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.reconcile.export_columns import held_column, one_type
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import Gap, Reconciliation, Verdict
from cdc_platform_tests.reconcile.shop import WholeShop

BIG = 2**53
WIDE = Decimal("99999999.25")
AT = datetime(2026, 1, 1, tzinfo=UTC)
NANOSECONDS = int(AT.timestamp()) * 10**9
#: The columns base has: each of another type, with the value of the rows 1 and 2.
BASE: dict[str, tuple[pa.DataType, Any]] = {
    "id": (pa.int64(), None),
    "whole": (pa.int64(), BIG),
    "ratio": (pa.float64(), float(BIG)),
    "price": (pa.decimal128(12, 2), WIDE),
    "huge": (pa.decimal128(20, 0), Decimal(2**64 - 1)),
    "text": (pa.string(), "a"),
    "at": (pa.timestamp("us", tz="UTC"), AT),
    "daytime": (pa.time64("us"), time(0, 0, 1)),
    "day": (pa.date32(), date(2026, 1, 1)),
    "gone": (pa.string(), None),
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WholeShop]:
    """A table of two rows, in which no test changes anything."""
    found = WholeShop(
        tmp_path_factory.mktemp("exports"), None, {name: kind for name, (kind, _) in BASE.items()}
    )
    found.load([{name: value for name, (_, value) in BASE.items()} | {"id": number} for number in (1, 2)])
    found.apply()
    found.platform.captured = lambda: "FFFFFFFF/0"
    yield found
    found.platform.lake.close()


def compared(
    shop: WholeShop, folder: Path, *changes: dict[str, pa.Array[Any]], **options: Any
) -> Reconciliation:
    """Compare base with an export of a file each for the rows 1 and 2, with other columns as told."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, change in enumerate(changes, 1):
        columns = {name: pa.array([value], kind) for name, (kind, value) in BASE.items()}
        pq.write_table(
            pa.table(columns | {"id": pa.array([number], pa.int64())} | change),
            folder / f"{number}.parquet",
            **options,
        )
    return shop.compare(reader=ParquetReader(shop.platform.lake, str(folder), "0/10"), origin=str(folder))


def told(found: Reconciliation) -> list[tuple[str, Gap | None]]:
    return [(one.column, one.gap) for one in found.comparisons[0].excluded]


def test_what_a_folder_is_called_is_no_value_of_a_column(shop: WholeShop, tmp_path: Path) -> None:
    wrong = {"text": pa.array(["b"])}

    equal = compared(shop, tmp_path / "text=b" / "item", {}, {})
    unequal = compared(shop, tmp_path / "text=a" / "item", wrong, wrong)

    assert (Verdict.MATCH, Verdict.UNVERIFIED) == (equal.verdict, unequal.verdict)
    assert [("text",), ("text",)] == [one.columns for one in unequal.comparisons[0].discrepancies]


def test_a_column_that_only_the_folders_tell_is_not_compared_and_the_reason_says_so(
    shop: WholeShop, tmp_path: Path
) -> None:
    for number in (1, 2):
        folder = tmp_path / "export" / "day=2026-01-01" / str(number)
        columns = {name: pa.array([value], kind) for name, (kind, value) in BASE.items() if name != "day"}
        folder.mkdir(parents=True)
        pq.write_table(pa.table(columns | {"id": pa.array([number])}), folder / "rows.parquet")

    found = compared(shop, tmp_path / "export")

    assert (Verdict.UNVERIFIED, [("day", Gap.NOT_IN_SOURCE)]) == (found.verdict, told(found))
    assert "what a folder is called is not compared" in found.comparisons[0].reason


@pytest.mark.parametrize(
    ("column", "first", "second"),
    [
        ("ratio", pa.array([BIG + 1]), pa.array([float(BIG)])),
        ("ratio", pa.array([Decimal("9007199254740992.1")]), pa.array([float(BIG)])),
        ("ratio", pa.array([16777217], pa.int32()), pa.array([16777216.0], pa.float32())),
        ("text", pa.array([1]), pa.array(["a"])),
        ("price", pa.array([Decimal("0.5")], pa.decimal128(38, 30)), pa.array([WIDE], pa.decimal128(20, 2))),
        ("at", pa.array([date(2026, 1, 1)]), pa.array([AT], pa.timestamp("us", tz="UTC"))),
        ("at", pa.array([AT], pa.timestamp("us")), pa.array([AT], pa.timestamp("us", tz="UTC"))),
        ("id", pa.array([BIG + 1]), pa.array([2.0])),
    ],
)
def test_files_that_hold_a_column_in_types_without_a_common_one_are_no_export(
    shop: WholeShop, tmp_path: Path, column: str, first: pa.Array[Any], second: pa.Array[Any]
) -> None:
    found = compared(shop, tmp_path, {column: first}, {column: second})

    assert Verdict.ERROR is found.verdict
    where = [f"{one.type} in {tmp_path}/{number}.parquet" for number, one in enumerate((first, second), 1)]
    assert f"column {column!r} is {where[0]} and {where[1]}" in found.comparisons[0].reason


def test_types_of_files_that_one_type_holds_are_compared_by_value(shop: WholeShop, tmp_path: Path) -> None:
    narrow = {
        "whole": pa.array([7], pa.int32()),
        "ratio": pa.array([0.5], pa.float32()),
        "price": pa.array([Decimal("1.5")], pa.decimal128(5, 1)),
        "text": pa.nulls(1),
    }
    found = compared(shop, tmp_path, narrow, {})

    (one,) = found.comparisons[0].discrepancies
    assert (1, tuple(narrow), []) == (one.key["id"], one.columns, told(found))
    assert {"whole": 7, "ratio": 0.5, "price": "1.5", "text": None}.items() <= {
        name: value.rstrip("0") if name == "price" else value for name, value in (one.expected or {}).items()
    }.items()


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("whole", pa.array([2**32 - 1], pa.uint32())),
        ("whole", pa.array([255], pa.uint8())),
        ("huge", pa.array([2**64 - 1], pa.uint64())),
        ("gone", pa.nulls(1)),
        ("text", pa.array(["a"]).dictionary_encode()),
        ("at", pa.array([NANOSECONDS], pa.timestamp("ns", tz="UTC"))),
        ("at", pa.array([AT], pa.timestamp("ms", tz="Asia/Tokyo"))),
        ("daytime", pa.array([10**9], pa.time64("ns"))),
        ("daytime", pa.array([1000], pa.time32("ms"))),
    ],
)
def test_other_types_that_hold_the_same_values_are_compared(
    shop: WholeShop, tmp_path: Path, column: str, values: pa.Array[Any]
) -> None:
    # a time of day may say that it is in UTC, which the engine reads as another type
    found = compared(shop, tmp_path, {column: values}, {}, write_time_adjusted_to_utc=True)

    same = values.cast(BASE[column][0]).to_pylist() == [BASE[column][1]]
    assert ([], Verdict.MATCH if same else Verdict.UNVERIFIED) == (told(found), found.verdict)
    differing = [(one.key["id"], one.columns) for one in found.comparisons[0].discrepancies]
    assert ([] if same else [(1, (column,))]) == differing


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("at", pa.array([NANOSECONDS + 999], pa.timestamp("ns", tz="UTC")), "a fraction of a microsecond"),
        ("daytime", pa.array([10**9 + 1], pa.time64("ns")), "a fraction of a microsecond"),
        ("at", pa.array([AT], pa.timestamp("ms")), "timestamp[us] and"),
        ("ratio", pa.array([Decimal(5)], pa.decimal256(40, 0)), "decimal(40, 0) is wider than the 38 digits"),
        ("price", pa.array([Decimal(5)], pa.decimal256(76, 2)), "decimal(76, 2) is wider than the 38 digits"),
    ],
)
def test_a_column_with_values_that_are_not_read_exactly_is_not_compared(
    shop: WholeShop, tmp_path: Path, column: str, values: pa.Array[Any], says: str
) -> None:
    changes = [{column: values}] * 2

    found = compared(shop, tmp_path, *changes)

    assert (Verdict.UNVERIFIED, [(column, Gap.NOT_EXACT)]) == (found.verdict, told(found))
    assert says.removesuffix(" and") in found.comparisons[0].reason
    assert "export the column in every file, in the type base has" in found.comparisons[0].reason


def test_timestamps_of_the_old_form_are_not_compared(shop: WholeShop, tmp_path: Path) -> None:
    found = compared(shop, tmp_path, {}, {}, use_deprecated_int96_timestamps=True)

    assert (Verdict.UNVERIFIED, [("at", Gap.NOT_EXACT)]) == (found.verdict, told(found))
    assert "INT96" in found.comparisons[0].reason


def test_columns_of_a_file_that_have_one_name_in_base_are_not_told_apart(
    shop: WholeShop, tmp_path: Path
) -> None:
    found = compared(shop, tmp_path, {}, {"Text": pa.array(["other"])})

    assert Verdict.ERROR is found.verdict
    assert "columns 'text' and 'Text' of the source have one name in base" in found.comparisons[0].reason


def test_a_timestamp_that_leaves_its_zone_open_is_in_utc_unless_base_has_none() -> None:
    shape = {"name": "at", "type": "INT64", "converted": "TIMESTAMP_MICROS", "logical": None, "digits": None}
    held = held_column(shape, pa.field("at", pa.timestamp("us")))

    assert (pa.timestamp("us", tz="UTC"), True) == (held.type, held.zone_untold)


def test_a_type_for_all_files_does_not_depend_on_their_order() -> None:
    kinds = (pa.float32(), pa.int16(), pa.float64(), pa.null())

    assert {pa.float64()} == {one_type(order) for order in itertools.permutations(kinds)}


def test_a_raw_folder_with_changes_is_no_export_and_the_load_in_it_is_named(tmp_path: Path) -> None:
    shop = WholeShop(tmp_path, None, {"id": pa.int64(), "v": pa.string()})
    shop.load([{"id": 1, "v": "a"}])
    shop.change({"Op": "U", "id": 1, "v": "b"})
    shop.apply()
    folder = shop.raw / "public" / "item"

    refused = shop.compare(reader=ParquetReader(shop.platform.lake, str(folder)), origin=str(folder))
    pattern = f"{folder}/**/*LOAD*.parquet"
    load = shop.compare(reader=ParquetReader(shop.platform.lake, pattern), origin=pattern)
    shop.platform.lake.close()

    assert (Verdict.ERROR, Verdict.UNVERIFIED) == (refused.verdict, load.verdict)
    reason = refused.comparisons[0].reason
    assert f"give the files of the full load alone: --against '{pattern}'" in reason
    assert "1 file of changes" in reason
    assert "which are no rows of the source" in reason
    assert "raw has a later change of this key" in load.comparisons[0].discrepancies[0].reason
