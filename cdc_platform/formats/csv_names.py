"""The column names of a CSV file: its header's, or those the configuration gives a file without one."""

from __future__ import annotations

from collections.abc import Sequence

from cdc_platform.config.model import RawOptions, TableConfig
from cdc_platform.errors import UnreadableRawFile
from cdc_platform.formats.layout import OP_COLUMN
from cdc_platform.raw.files import FileKind


def csv_column_names(
    first_record: Sequence[str | None], kind: FileKind, options: RawOptions, table: TableConfig, *, where: str
) -> tuple[str, ...]:
    """Return the names of a file's columns, given its first record.

    Raises UnreadableRawFile when there is no header and ``columns`` does not fit the number of fields, or
    when the first record is a header though the configuration says there is none.
    """
    if options.csv.header:
        return tuple(name or "" for name in first_record)
    if not table.columns:
        raise UnreadableRawFile(
            "the file has no header and nothing tells its columns",
            where=where,
            mend=f"run `cdc discover` to fill `columns` of {table.name} from the source, or declare them "
            "(column_1, column_2, … of type string if nothing better is known)",
        )
    front, middle, back = _parts(kind, options, table)
    candidates = [(*front, *middle, *back, *images) for images in _before_images(options, table)]
    names = next((names for names in candidates if len(names) == len(first_record)), None)
    if names is None:
        raise _wrong_width(first_record, candidates, table, where)
    if tuple(first_record) == names:
        raise UnreadableRawFile(
            "the file has a header, cdc.yaml says it has none",
            where=where,
            mend="set `csv.header: true` (AddColumnName of the S3 endpoint)",
        )
    return names


def _parts(kind: FileKind, options: RawOptions, table: TableConfig) -> tuple[list[str], list[str], list[str]]:
    own = [column.name for column in table.columns]
    by_load = options.include_op_for_full_load
    with_op = by_load if kind is FileKind.LOAD else by_load or not options.cdc_inserts_only
    front = [OP_COLUMN] if with_op else []
    if options.timestamp_column is not None and options.timestamp_column not in own:
        front.append(options.timestamp_column)
    added = (options.change_sequence_column, options.stream_position_column)
    return front, own, [name for name in added if name is not None and name not in own]


def _before_images(options: RawOptions, table: TableConfig) -> list[list[str]]:
    """Return the sets of before images there may be: none, of the merge key, of every column."""
    prefix = options.before_image_prefix
    own = [column.name for column in table.columns]
    if not prefix or any(name.startswith(prefix) for name in own):
        return [[]]
    added = {options.timestamp_column, options.change_sequence_column, options.stream_position_column}
    key = [name for name in own if name in table.merge_key]
    return [[], [prefix + name for name in key], [prefix + name for name in own if name not in added]]


def _wrong_width(
    first_record: Sequence[str | None],
    candidates: Sequence[tuple[str, ...]],
    table: TableConfig,
    where: str,
) -> UnreadableRawFile:
    widths = sorted({len(names) for names in candidates})
    return UnreadableRawFile(
        f"the first record has {len(first_record)} fields; `columns` and the raw options make "
        f"{' or '.join(map(str, widths))} ({', '.join(candidates[0])})",
        where=where,
        mend=f"run `cdc discover`, or give `columns` of {table.name} the columns the file has; columns the "
        "task does not write (timestamp_column, change_sequence_column, stream_position_column) are null",
    )
