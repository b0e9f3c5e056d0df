"""The bytes of a DMS CSV file as Arrow's reader should see them, and the values turned back.

Arrow ends a record at any CR or LF outside quotes, but DMS only at its row delimiter, and it quotes no lone
CR. So the row delimiter is handed on as LF, and a real CR or LF as a byte that no UTF-8 text holds (0xFF,
0xFE), to be turned back in the values. Bytes 0xFE and 0xFF of the file itself become 0xFD: no UTF-8 text
holds that either, so their record is still found not to be text. A CRLF row delimiter is left to Arrow.
"""

from __future__ import annotations

import io
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cdc_platform.config.model import CsvOptions
from cdc_platform.errors import UnreadableRawFile

_CR, _LF, _NEITHER = 0xFF, 0xFE, 0xFD
_QUOTED_CR = b'\r"\n'


def checked_delimiter(options: CsvOptions, where: str) -> str:
    """Return the field delimiter. Raises UnreadableRawFile when Arrow cannot split by it."""
    if len(options.delimiter.encode()) != 1:
        raise UnreadableRawFile(
            f"CsvDelimiter {options.delimiter!r} is not one ASCII character",
            where=where,
            mend="set CsvDelimiter of the S3 endpoint, and `csv.delimiter` in cdc.yaml, to one such as ','",
        )
    return options.delimiter


class CsvBytes(io.RawIOBase):
    """A readable stream of the translated bytes; ``restored`` undoes the translation in a column."""

    def __init__(self, source: pa.NativeFile, options: CsvOptions, *, where: str) -> None:
        self._source = source
        self._row = options.row_delimiter.encode()
        if len(self._row) != 1 and self._row != b"\r\n":
            raise UnreadableRawFile(
                f"CsvRowDelimiter {options.row_delimiter!r} is neither one ASCII character nor \\r\\n",
                where=where,
                mend="set CsvRowDelimiter of the S3 endpoint, and `csv.row_delimiter` in cdc.yaml, to '\\n'",
            )
        self._table = _table(self._row)
        self._seen: set[int] = set()
        self._tail = b""
        #: Whether a quoted last field ends in a CR: then the line ends are no CRLF.
        self.has_quoted_cr = False

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        data = self._source.read(None if size is None or size < 0 else size)
        if self._table is None:
            return data
        self._seen |= {byte for byte in (0x0D, 0x0A) if byte in data}
        self.has_quoted_cr |= _QUOTED_CR in data or _QUOTED_CR in self._tail + data[:2]
        self._tail = (self._tail + data[-2:])[-2:]
        return data.translate(self._table)

    def close(self) -> None:
        if not self.closed:
            self._source.close()
        super().close()

    def restored(self, column: pa.Array[Any]) -> pa.Array[Any]:
        """Return a binary column with the file's own CR, LF and row delimiters back in its values."""
        if self._table is None:
            return column
        back = [(b"\n", self._row)] if self._row != b"\n" else []
        if 0x0A in self._seen and self._row != b"\n":
            back.append((bytes([_LF]), b"\n"))
        if 0x0D in self._seen and self._row != b"\r":
            back.append((bytes([_CR]), b"\r"))
        for handed_on, own in back:
            column = pc.replace_substring(column, pattern=handed_on, replacement=own)
        return column


def _table(row_delimiter: bytes) -> bytes | None:
    if row_delimiter == b"\r\n":
        return None
    table = bytearray(range(256))
    table[_CR] = table[_LF] = _NEITHER
    table[0x0D], table[0x0A] = _CR, _LF
    table[row_delimiter[0]] = 0x0A
    return bytes(table)
