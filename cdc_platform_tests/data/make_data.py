"""Makes the golden raw files in this folder, one folder per quirk of DMS: ``python make_data.py``.

CSV is written out as DMS writes it, byte by byte; Parquet with the physical types DMS uses, and no Arrow
schema in the footer. The tests hold what the reader must make of each, by hand.
"""

from __future__ import annotations

import gzip
import sys
from collections.abc import Callable
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

LOAD = "LOAD00000001"
CHANGES = "20240531-201000123"


def mysql_csv_defaults(folder: Path) -> None:
    """No header, no timestamp, NULL as an unquoted empty field, quotes only where a comma is."""
    text = '1,"Smith, J",2100.50,,  kept  \n2,Ann,NULL,x,\n'
    _text(folder / f"hr/staff/{LOAD}.csv", text)
    changes = "I,3,Bob,10.00,,\nU,3,Bob,11.00,,\nD,3,Bob,11.00,,\nI,3,Eve,12.00,,new\n"
    _text(folder / f"hr/staff/{CHANGES}.csv", changes)


def oracle_csv_header(folder: Path) -> None:
    """A header, NULL empty, DATE with a time of midnight, NUMBER(8,2) with its zeros."""
    names = "EMPLOYEE_ID,HIRE_DATE,SALARY,MANAGER_ID"
    rows = "100,1987-06-17 00:00:00,8300.00,\n101,1989-09-21 00:00:00,17000.00,100\n"
    _text(folder / f"HR/EMPLOYEES/{LOAD}.csv", f"{names}\n{rows}")
    change = "U,101,1989-09-21 00:00:00,17500.00,100\n"
    _text(folder / f"HR/EMPLOYEES/{CHANGES}.csv", f"Op,{names}\n{change}")


def csv_float_keys(folder: Path) -> None:
    """A key column of type double in one file and integer in the other: 506560 both times."""
    _text(folder / f"s/t/{LOAD}.csv", "+5.0656000000000000e+05,-1.1118453000000000e-01\n")
    _text(folder / f"s/t/{CHANGES}.csv", "U,506560,2.5\nU,+5.0656500000000000e-01,1.0\n")


def csv_quoting(folder: Path) -> None:
    """RFC 4180: delimiters, quotes and line ends in values; "" is the empty string, nothing is NULL."""
    quoted = 'I,1,"a,b"\nI,2,"say ""hi"""\nI,3,"two\nlines"\nI,4,"dos\r\nlines"\n'
    nulls = 'I,5,""\nI,6,\nI,7,NULL\nI,8,"NULL"\n'
    _text(folder / f"s/t/{CHANGES}.csv", quoted + nulls + "I,9,lone\rreturn\n")


def csv_without_rfc4180(folder: Path) -> None:
    """Quotes are data like any other."""
    _text(folder / f"s/t/{CHANGES}.csv", 'I,1,5" pipe\nI,2,""\nI,3,"x\n')


def csv_no_sup_value(folder: Path) -> None:
    """CsvNoSupValue marks what the log did not carry; NULL is NULL."""
    _text(folder / f"s/t/{CHANGES}.csv", "U,1,@,new\nU,2,,@\nD,3,@,@\nI,4,a,b\n")


def csv_odd_rows(folder: Path) -> None:
    """One record short of a field, one empty, one that is not UTF-8; the others are good."""
    data = b"I,1,a\nI,2\n\nI,3,\xff\nI,4,d\nI,5,e,f\n"
    _bytes(folder / f"s/t/{CHANGES}.csv", data)


def csv_one_transaction(folder: Path) -> None:
    """I, U, D of one row with one commit time: only the change sequence tells their order."""
    at = "2024-05-31 20:09:45.000000"
    sequence = "2024053120094520000000000000000"
    rows = [
        f"{op},{at},1,{value},{sequence}{number:04d}"
        for op, value, number in (("I", "a", 61), ("U", "b", 65), ("D", "", 69))
    ]
    _text(folder / f"s/t/{CHANGES}.csv", "\n".join(rows) + "\n")


def csv_zipped(folder: Path) -> None:
    """CompressionType gzip."""
    _bytes(folder / f"s/t/{LOAD}.csv.gz", gzip.compress(b"1,a\n2,b\n", mtime=0))


def postgres_parquet_load(folder: Path) -> None:
    """A full load of PostgreSQL: the timestamp column first, a different transfer time on each row."""
    table = pa.table(
        {
            "dms_timestamp": ["2022-03-01 10:00:00.000001", "2022-03-01 10:00:00.000009"],
            "id": pa.array([1, 2], pa.int64()),
            "small": pa.array([-3, None], pa.int16()),
            "amount": pa.array([Decimal("1234.50"), None], pa.decimal128(15, 2)),
            "money": pa.array([Decimal("9.9900"), None], pa.decimal128(38, 4)),
            "ratio": pa.array([0.5, None], pa.float32()),
            "exact": pa.array([0.1, None], pa.float64()),
            "at": pa.array([datetime(2022, 3, 1, 9, 59, 59, 123_000), None], pa.timestamp("ms")),
            "uuid": ["7d444840-9dc0-11d1-b245-5ffdce74fad2", None],
            "doc": ['{"a": 1}', None],
            "photo": pa.array([b"\x00\xff", None], pa.binary()),
            "ok": [True, None],
            "flag": ["true", "false"],
        }
    )
    required = table.schema.field("dms_timestamp").with_nullable(False)
    _parquet(folder / f"public/t/{LOAD}.parquet", table.cast(table.schema.set(0, required)))


def postgres_parquet_changes(folder: Path) -> None:
    """Deletes carry only the key; a change of the key shows in the before image alone."""
    sequence = "2024053120094520000000000000000"
    table = pa.table(
        {
            "Op": ["I", "U", "D"],
            "dms_timestamp": ["2024-05-31 20:09:45.000000"] * 3,
            "id": pa.array([1, 20, 3], pa.int64()),
            "note": ["a", "b", None],
            "cdc_change_seq": [f"{sequence}{number:04d}" for number in (61, 65, 69)],
            "cdc_stream_position": ["0/16B3748", "0/16B3790", "0/16B37D8"],
            "AR_H_USER": ["ann", "bob", "eve"],
            "BI_id": pa.array([None, 2, 3], pa.int64()),
        }
    )
    _parquet(folder / f"public/t/{CHANGES}.parquet", table)


def unsigned_and_time_parquet(folder: Path) -> None:
    """The largest unsigned numbers, and times in milliseconds, from MySQL."""
    table = pa.table(
        {
            "id": pa.array([2**64 - 1], pa.uint64()),
            "u1": pa.array([2**8 - 1], pa.uint8()),
            "u2": pa.array([2**16 - 1], pa.uint16()),
            "u4": pa.array([2**32 - 1], pa.uint32()),
            "clock": pa.array([time(23, 59, 59, 999_000)], pa.time32("ms")),
            "day": pa.array([date(1, 1, 1)], pa.date32()),
            "nanos": pa.array([1_700_000_000_123_456_789], pa.timestamp("ns")),
        }
    )
    _parquet(folder / f"s/t/{LOAD}.parquet", table, version="2.6", compression="gzip")


def zero_row_parquet(folder: Path) -> None:
    """A file of columns without a row."""
    schema = pa.schema([("Op", pa.string()), ("id", pa.int64())])
    _parquet(folder / f"s/t/{CHANGES}.parquet", schema.empty_table())


QUIRKS: tuple[Callable[[Path], None], ...] = (
    mysql_csv_defaults,
    oracle_csv_header,
    csv_float_keys,
    csv_quoting,
    csv_without_rfc4180,
    csv_no_sup_value,
    csv_odd_rows,
    csv_one_transaction,
    csv_zipped,
    postgres_parquet_load,
    postgres_parquet_changes,
    unsigned_and_time_parquet,
    zero_row_parquet,
)


def make(root: Path) -> None:
    """Write every quirk's files below ``root``."""
    for quirk in QUIRKS:
        quirk(root / quirk.__name__)


def _bytes(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def _text(path: Path, text: str) -> None:
    _bytes(path, text.encode())


def _parquet(path: Path, table: pa.Table, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, store_schema=False, **{"compression": "none"} | options)


if __name__ == "__main__":
    make(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent)
