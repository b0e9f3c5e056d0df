"""The text of every kind of value."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime, time
from decimal import Decimal

import pyarrow as pa

from cdc_platform.cli.row_formats import RowFormat, cells, write_rows

ROWS = pa.table(
    {
        "big": pa.array([2**62, None], pa.int64()),
        "Price of it's": pa.array([Decimal("1.50"), None], pa.decimal128(20, 2)),
        "ratio": pa.array([float("nan"), 0.5]),
        "text": pa.array(["", None]),
        "at": pa.array([datetime(2024, 2, 29, 23, 59, 59, 123456, UTC), None], pa.timestamp("us", "UTC")),
        "seen": pa.array([datetime(2024, 2, 29), None], pa.timestamp("us")),
        "time": pa.array([time(1, 2, 3), None], pa.time64("us")),
        "day": pa.array([date(2024, 2, 29), None]),
        "blob": pa.array([b"\x00\xff", None]),
        "flag": pa.array([True, None]),
    }
)


def written(form: RowFormat) -> str:
    stream = io.BytesIO()
    batches = ROWS.to_batches(max_chunksize=1)

    assert 2 == write_rows(form, ROWS.schema, batches, stream)
    return stream.getvalue().decode()


def test_json_keeps_what_a_number_would_lose() -> None:
    first, second = json.loads(written(RowFormat.JSON))

    assert {
        "big": 2**62,
        "Price of it's": "1.50",
        "ratio": "nan",
        "text": "",
        "at": "2024-02-29T23:59:59.123456+00:00",
        "seen": "2024-02-29T00:00:00.000000",
        "time": "01:02:03",
        "day": "2024-02-29",
        "blob": "AP8=",
        "flag": True,
    } == first
    assert {**dict.fromkeys(ROWS.column_names), "ratio": 0.5} == second


def test_lines_are_the_same_objects_one_a_line() -> None:
    assert json.loads(written(RowFormat.JSON)) == [
        json.loads(line) for line in written(RowFormat.JSONL).splitlines()
    ]


def test_csv_tells_empty_text_from_none() -> None:
    heading, first, second = written(RowFormat.CSV).splitlines()

    assert '"big","Price of it\'s","ratio","text","at","seen","time","day","blob","flag"' == heading
    assert (
        '4611686018427387904,1.50,nan,"","2024-02-29T23:59:59.123456+00:00",'
        '"2024-02-29T00:00:00.000000","01:02:03",2024-02-29,"AP8=",true' == first
    )
    assert ",,0.5,,,,,,," == second


def test_cells_are_short_text() -> None:
    first, second = cells(ROWS.to_batches())

    assert ["4611686018427387904", "1.50", "nan", "", "00ff", "true"] == [*first[:4], *first[8:]]
    assert [None] * 2 == second[:2]
