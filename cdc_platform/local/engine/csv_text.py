"""Rows as DMS's CSV: quotes only where needed, floats with 17 digits, times to the microsecond.

Rendered a column at a time; the text of a batch is one Arrow buffer.
"""

from __future__ import annotations

import binascii
import re
from typing import Any

import pyarrow as pa

from cdc_platform.local.engine.options import FileOptions
from cdc_platform.local.engine.shape import FileBatch
from cdc_platform.local.engine.types import Values, pc


def csv_header(schema: pa.Schema, options: FileOptions) -> bytes:
    """Return the header row."""
    names = _quoted(pa.array(schema.names, pa.string()), options).to_pylist()
    return (options.csv_delimiter.join(names) + options.csv_row_delimiter).encode()


def csv_rows(batch: FileBatch, options: FileOptions) -> memoryview:
    """Return the rows as CSV text in UTF-8."""
    cells = []
    for number, column in enumerate(batch.rows.columns):
        text = pc.fill_null(_text(column, options), options.csv_null)
        if options.csv_no_sup_value is not None and number in batch.absent:
            text = pc.if_else(batch.absent[number], options.csv_no_sup_value, text)
        cells.append(text)
    if not cells:
        return memoryview(b"")
    lines = pc.binary_join_element_wise(*cells, options.csv_delimiter)
    lines = pc.binary_join_element_wise(lines, options.csv_row_delimiter, "")
    return _packed(lines)


def _text(column: Values, options: FileOptions) -> Values:
    kind = column.type
    if pa.types.is_string(kind):
        return _quoted(column, options)
    if pa.types.is_floating(kind):
        return _float_text(column)
    if pa.types.is_timestamp(kind):
        return column.cast(pa.timestamp("us")).cast(pa.string())
    if pa.types.is_binary(kind):
        return _hex_text(column)
    return column.cast(pa.string())


def _quoted(text: Values, options: FileOptions) -> Values:
    if not options.csv_quotes:
        return text
    special = "".join(re.escape(sign) for sign in {'"', "\r", "\n", options.csv_delimiter[0]})
    doubled = pc.replace_substring(text, '"', '""')
    within = pc.binary_join_element_wise('"', doubled, '"', "")
    return pc.if_else(pc.match_substring_regex(text, f"[{special}]"), within, text)


def _float_text(column: Values) -> Values:
    import duckdb

    table = pa.table({"v": column.cast(pa.float64())})
    with duckdb.connect() as connection:
        rendered: Any = connection.from_arrow(table).project("format('{:+.16e}', v) AS v").to_arrow_table()
    return rendered.column("v").combine_chunks().cast(pa.string())


def _hex_text(column: Values) -> Values:
    filled = pc.fill_null(column, b"")
    ends = pc.cumulative_sum(pc.multiply(pc.binary_length(filled), 2)).cast(pa.int32())
    offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
    digits = pa.py_buffer(binascii.hexlify(_packed(filled)))
    presence = pa.concat_arrays([pc.is_valid(column)]).buffers()[1]
    return pa.Array.from_buffers(pa.string(), len(column), [presence, offsets.buffers()[1], digits])


def _packed(values: Values) -> memoryview:
    """Return the bytes of a string or binary array, end to end."""
    compact = pa.concat_arrays([values])
    buffers = compact.buffers()
    if len(compact) == 0 or buffers[2] is None:
        return memoryview(b"")
    offsets = memoryview(buffers[1]).cast("i")
    first, last = offsets[compact.offset], offsets[compact.offset + len(compact)]
    return memoryview(buffers[2])[first:last]
