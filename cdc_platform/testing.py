"""Writers of raw files as DMS leaves them, for tests: ours and those of whoever builds on this package.

Rows and events are plain dicts of column → value. An event's dict also holds ``Op`` (I, U or D; default I)
and, where the test cares, the columns the task adds, under the names the :class:`RawOptions` give them::

    write_load_file(raw, "public", "orders", [{"id": 1, "note": "first"}])
    write_change_file(
        raw, "public", "orders", at=datetime(2024, 5, 31, 20, 9, 45, tzinfo=UTC),
        events=[{"Op": "U", "id": 2, "note": "moved", "BI_id": 1}, {"Op": "D", "id": 3}],
    )

What an event does not say is filled in as a task would: the commit time is the file's time, change
sequences ascend within the file and with its time, a before image (when any event of the file has one) is
NULL on inserts and the row's own value elsewhere. Files appear complete, by a rename.
Each writer returns the key.
"""

from __future__ import annotations

import gzip
import io
import os
import secrets
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.config.model import CsvOptions, FileFormat, RawOptions
from cdc_platform.formats.dms_names import change_file_key, load_file_key

__all__ = ["change_sequence", "csv_text", "write_change_file", "write_load_file"]

Row = Mapping[str, Any]


def change_sequence(moment: datetime, counter: int) -> str:
    """Return an AR_H_CHANGE_SEQ: 16 digits of time to the hundredth of a second, 19 of counter.

    >>> change_sequence(datetime(2024, 5, 31, 20, 9, 45, 200000, UTC), 61)
    '20240531200945200000000000000000061'
    """
    utc = moment.astimezone(UTC)
    return f"{utc:%Y%m%d%H%M%S}{utc.microsecond // 10_000:02d}{counter:019d}"


def write_load_file(
    folder: str | Path,
    schema: str,
    table: str,
    rows: Iterable[Row],
    *,
    counter: int = 1,
    segment: str = "",
    at: datetime | None = None,
    types: Mapping[str, pa.DataType] | None = None,
    options: RawOptions | None = None,
    extension: str | None = None,
) -> str:
    """Write one file of a full load and return its key.

    ``at`` (default now) is the transfer time on each row and becomes the file's modification time.
    """
    options = options or RawOptions(location=str(folder))
    moment = at or datetime.now(UTC)
    columns = _columns(list(rows), types)
    added = _added(columns, options, [moment] * _height(columns), [None] * _height(columns), "L")
    if options.include_op_for_full_load:
        added = {"Op": ["I"] * _height(columns)} | added
    extension = extension or _extension(options)
    key = load_file_key(schema, table, counter, segment=segment, extension=extension)
    _write(Path(folder) / key, _ordered(columns, added, options), types or {}, options)
    if at is not None:
        os.utime(Path(folder) / key, (at.timestamp(), at.timestamp()))
    return key


def write_change_file(
    folder: str | Path,
    schema: str,
    table: str,
    *,
    at: datetime,
    events: Iterable[Row],
    types: Mapping[str, pa.DataType] | None = None,
    options: RawOptions | None = None,
    date_folder: str = "",
    fraction_digits: int = 3,
    extension: str | None = None,
) -> str:
    """Write one file of changes, named by ``at`` (tz-aware), and return its key."""
    options = options or RawOptions(location=str(folder))
    rows = list(events)
    columns = _columns(rows, types)
    ops = columns.pop("Op", [None] * len(rows))
    ops = ["I" if "Op" not in row else op for row, op in zip(rows, ops, strict=True)]
    sequences = [change_sequence(at, number + 1) for number in range(len(rows))]
    added = _added(columns, options, [at] * len(rows), sequences, ops, rows)
    if not options.cdc_inserts_only or options.include_op_for_full_load:
        added = {"Op": ops} | added
    key = change_file_key(
        schema,
        table,
        at,
        fraction_digits=fraction_digits,
        date_folder=date_folder,
        extension=extension or _extension(options),
    )
    _write(Path(folder) / key, _ordered(columns, added, options), types or {}, options)
    return key


def csv_text(columns: Mapping[str, Sequence[Any]], options: CsvOptions) -> str:
    """Return columns as DMS writes CSV: NULL unquoted, the empty string quoted, RFC 4180 where needed."""
    rows = [list(columns)] if options.header else []
    texts = [[_csv_field(value, options) for value in values] for values in columns.values()]
    lines = [[_csv_field(name, options) for name in row] for row in rows]
    lines += [list(line) for line in zip(*texts, strict=True)]
    return "".join(options.delimiter.join(line) + options.row_delimiter for line in lines)


def _columns(rows: Sequence[Row], types: Mapping[str, pa.DataType] | None) -> dict[str, list[Any]]:
    names = dict.fromkeys(types or ())
    for row in rows:
        names |= dict.fromkeys(row)
    return {name: [row.get(name) for row in rows] for name in names}


def _height(columns: Mapping[str, Sequence[Any]]) -> int:
    return len(next(iter(columns.values()), ()))


def _added(
    columns: dict[str, list[Any]],
    options: RawOptions,
    moments: Sequence[datetime],
    sequences: Sequence[str | None],
    ops: Sequence[str],
    rows: Sequence[Row] = (),
) -> dict[str, list[Any]]:
    """Take the columns a task adds out of ``columns``, filled up where the rows do not say."""
    added: dict[str, list[Any]] = {}
    defaults: dict[str | None, list[Any]] = {
        options.timestamp_column: [f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}" for moment in moments],
        options.change_sequence_column: list(sequences),
        options.stream_position_column: [None] * len(moments),
    }
    for name, filled in defaults.items():
        if name is None:
            continue
        said = columns.pop(name, [None] * len(filled))
        keep = [name in row for row in rows] or [False] * len(filled)
        added[name] = [
            mine if has else default for has, mine, default in zip(keep, said, filled, strict=True)
        ]
    prefix = options.before_image_prefix
    for name in [name for name in columns if prefix and name.startswith(prefix)]:
        own = columns[name.removeprefix(prefix or "")]
        said = columns.pop(name)
        added[name] = [
            before if name in row else (None if op == "I" else after)
            for row, op, before, after in zip(rows, ops, said, own, strict=True)
        ]
    return added


def _ordered(
    columns: Mapping[str, list[Any]], added: Mapping[str, list[Any]], options: RawOptions
) -> dict[str, list[Any]]:
    first = [name for name in ("Op", options.timestamp_column) if name in added]
    last = [name for name in added if name not in first]
    return {
        **{name: added[name] for name in first if name},
        **columns,
        **{name: added[name] for name in last},
    }


def _extension(options: RawOptions) -> str:
    return "csv" if options.format is FileFormat.CSV else "parquet"


def _write(
    path: Path, columns: Mapping[str, list[Any]], types: Mapping[str, pa.DataType], options: RawOptions
) -> None:
    if ".csv" in path.name:
        data = csv_text(columns, options.csv).encode()
        data = gzip.compress(data) if path.suffix == ".gz" else data
    else:
        data = _parquet(columns, types, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    temporary.write_bytes(data)
    temporary.replace(path)


def _parquet(
    columns: Mapping[str, list[Any]], types: Mapping[str, pa.DataType], options: RawOptions
) -> bytes:
    texts = {"Op", options.timestamp_column, options.change_sequence_column, options.stream_position_column}
    prefix = options.before_image_prefix or ""
    arrays: dict[str, pa.Array[Any]] = {}
    for name, values in columns.items():
        declared = types.get(name) or types.get(name.removeprefix(prefix))
        own = arrays.get(name.removeprefix(prefix))
        fallback = own.type if own is not None else None
        arrays[name] = pa.array(values, pa.string() if name in texts else declared or fallback)
    buffer = io.BytesIO()
    # as DMS: no Arrow schema in the footer, 10,000 rows in a group, no compression
    pq.write_table(pa.table(arrays), buffer, row_group_size=10_000, compression="none", store_schema=False)
    return buffer.getvalue()


def _csv_field(value: Any, options: CsvOptions) -> str:
    if value is None:
        return options.null_value
    text = _csv_value(value)
    special = ('"', "\n", "\r", options.delimiter, options.row_delimiter)
    if options.rfc4180 and (text in ("", options.null_value) or any(mark in text for mark in special)):
        return '"' + text.replace('"', '""') + '"'
    return text


def _csv_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:+.16e}"
    if isinstance(value, datetime):
        moment = value.astimezone(UTC) if value.tzinfo else value
        return f"{moment:%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.hex()
    return str(value)
