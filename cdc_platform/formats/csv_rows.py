"""The records of a DMS CSV file, in bounded batches of text columns.

Arrow's streaming reader splits records and tells an unquoted empty field (NULL) from a quoted one (the empty
string). Records with another number of fields than the first, and records that are not UTF-8, are rejected
one by one, by their number.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from cdc_platform.config.model import CsvOptions
from cdc_platform.errors import UnreadableRawFile
from cdc_platform.formats.bad_values import is_text
from cdc_platform.formats.csv_bytes import CsvBytes, checked_delimiter
from cdc_platform.formats.event_file import RejectedRow, RowBatch, numbers_from, shown

_BLOCK = 16 * 2**20  # no record may be longer
_MOST_COLUMNS = 5_000  # more than any source engine allows
_MOST_ODD = 10_000


class CsvRows:
    """An open CSV file. Raises what Arrow raises; the caller says which file it was.

    ``first_record`` is the first record's fields: the column names, when the file has a header.
    """

    def __init__(self, stream: pa.NativeFile, options: CsvOptions, *, zipped: bool, where: str) -> None:
        self._bytes = CsvBytes(
            pa.CompressedInputStream(stream, "gzip") if zipped else stream, options, where=where
        )
        self._odd: list[csv.InvalidRow] = []
        self._reader = self._open(options, where)
        self._header = 1 if options.header else 0
        self._next_number = 0
        self._first = self._read()
        self.rows: int | None = None
        self.first_record = self._peek()
        self._check_line_ends(options, where)

    def batches(self, batch_rows: int, names: Sequence[str]) -> Iterator[RowBatch]:
        """Yield the records under ``names``, in file order; a header is no record."""
        batch, skip = self._first, self._header
        while batch is not None:
            numbers = self._numbered(batch.num_rows)
            for at in range(skip, batch.num_rows, batch_rows):
                part = slice(at, at + batch_rows)
                yield self._text(batch[part], numbers[part], names)
            batch, skip = self._read(), 0
        if self._odd:
            yield RowBatch(_empty(names), pa.array([], pa.int64()), self._take_odd())

    def close(self) -> None:
        """Close the file."""
        self._reader.close()
        self._bytes.close()

    def _open(self, options: CsvOptions, where: str) -> csv.CSVStreamingReader:
        source: Any = pa.PythonFile(self._bytes, mode="r")
        return csv.open_csv(
            source,
            read_options=csv.ReadOptions(
                autogenerate_column_names=True,
                use_threads=False,  # else Arrow does not tell the number of an odd record
                block_size=_BLOCK,
            ),
            parse_options=csv.ParseOptions(
                delimiter=checked_delimiter(options, where),
                quote_char='"' if options.rfc4180 else False,
                newlines_in_values=options.rfc4180,
                ignore_empty_lines=False,
                invalid_row_handler=self._note_odd,
            ),
            convert_options=csv.ConvertOptions(
                column_types={f"f{number}": pa.binary() for number in range(_MOST_COLUMNS)},
                null_values=sorted({"", options.null_value}),
                strings_can_be_null=True,
                quoted_strings_can_be_null=False,
            ),
        )

    def _read(self) -> pa.RecordBatch | None:
        try:
            return self._reader.read_next_batch()
        except StopIteration:
            return None

    def _peek(self) -> tuple[str | None, ...]:
        if self._first is None or not self._first.num_rows:
            return (None,) * len(self._reader.schema)
        values = [self._bytes.restored(column[:1])[0].as_py() for column in self._first.columns]
        return tuple(None if value is None else value.decode("utf-8", "replace") for value in values)

    def _check_line_ends(self, options: CsvOptions, where: str) -> None:
        """Raise UnreadableRawFile when the records end in CRLF: each last value would keep a CR.

        A header tells. Without one every record must end so, and the configuration must not say that LF is
        the delimiter: values may end in a CR themselves, which DMS does not quote.
        """
        if options.row_delimiter != "\n" or not (self.first_record[-1:] or ("",))[0]:
            return
        is_crlf = str(self.first_record[-1]).endswith("\r")
        if is_crlf and not options.header and self._first is not None:
            is_said = "row_delimiter" in options.model_fields_set
            ends: Any = pc.ends_with(self._bytes.restored(self._first.columns[-1]), "\r")
            is_every = pc.all(pc.fill_null(ends, False)).as_py()
            is_crlf = is_every and not is_said and not self._bytes.has_quoted_cr
        if is_crlf:
            raise UnreadableRawFile(
                "its records end in CR LF, and `csv.row_delimiter` is LF: the last column would keep a CR",
                where=where,
                mend='set `csv.row_delimiter` to "\\r\\n" (CsvRowDelimiter of the S3 endpoint); or to "\\n" '
                "if the values of the last column themselves end in CR",
            )

    def _note_odd(self, row: csv.InvalidRow) -> Literal["skip", "error"]:
        self._odd.append(row)
        return "skip" if len(self._odd) <= _MOST_ODD else "error"

    def _numbered(self, height: int) -> pa.Array[Any]:
        """Return the record numbers of the next ``height`` records, passing over those of odd ones.

        Arrow reads ahead, so the odd records noted so far reach at least to the end of this batch.
        """
        odd = pa.array([_place(row) for row in self._odd], pa.int64())
        candidates = numbers_from(self._next_number, self._next_number + height + len(odd))
        places = candidates.filter(pc.invert(pc.is_in(candidates, value_set=odd)))[:height]
        if height:
            self._next_number = places[-1].as_py() + 1
        numbers: pa.Array[Any] = pc.subtract(places, self._header)
        return numbers

    def _take_odd(self, before: int | None = None) -> tuple[RejectedRow, ...]:
        taken = [row for row in self._odd if before is None or _place(row) < before]
        self._odd = [row for row in self._odd if row not in taken]
        return tuple(
            RejectedRow(
                row=_place(row) - self._header,
                column=None,
                reason=f"the record has {row.actual_columns} fields, the file's others have "
                f"{row.expected_columns}",
                mend="see that Rfc4180 and the delimiters in cdc.yaml are those of the S3 endpoint; a "
                "column added meanwhile needs its own entry in `columns`",
                values={"record": shown(row.text)},
            )
            for row in taken
        )

    def _text(self, batch: pa.RecordBatch, numbers: pa.Array[Any], names: Sequence[str]) -> RowBatch:
        odd = self._take_odd(self._next_number)
        columns = [self._bytes.restored(column) for column in batch.columns]
        try:
            return RowBatch(_as_text(columns, names), numbers, odd)
        except pa.ArrowInvalid:
            good_rows = is_text(columns)
        bad = pa.record_batch(columns, names=list(names)).filter(pc.invert(good_rows))
        rejected = tuple(
            RejectedRow(
                row=number,
                column=None,
                reason="the record is not UTF-8 text",
                mend="have the source's character set converted by DMS, then reload the table",
                values={
                    name: shown(value and value.decode("utf-8", "replace")) for name, value in row.items()
                },
            )
            for number, row in zip(_ints(numbers.filter(pc.invert(good_rows))), bad.to_pylist(), strict=True)
        )
        good = [column.filter(good_rows) for column in columns]
        return RowBatch(_as_text(good, names), numbers.filter(good_rows), odd + rejected)


def _place(row: csv.InvalidRow) -> int:
    """Return the 0-based place of ``row`` in the file, the header included."""
    assert row.number is not None, "Arrow numbers the rows of a reader without threads"
    return row.number - 1


def _ints(numbers: pa.Array[Any]) -> list[int]:
    return [int(number.as_py()) for number in numbers]


def _as_text(columns: Sequence[pa.Array[Any]], names: Sequence[str]) -> pa.RecordBatch:
    return pa.record_batch([pc.cast(column, pa.string()) for column in columns], names=list(names))


def _empty(names: Sequence[str]) -> pa.RecordBatch:
    return pa.record_batch([pa.array([], pa.string()) for _ in names], names=list(names))
