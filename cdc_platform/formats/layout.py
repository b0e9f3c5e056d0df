"""Which column of a raw file means what: Op, the columns the task adds, the source's own, before images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cdc_platform.config.model import RawOptions, TableConfig
from cdc_platform.errors import ConfigError, MissingMergeKey, SchemaError, UnreadableRawFile
from cdc_platform.events import CONTROL_PREFIX, EVENT_COLUMNS, PositionKind, before_name
from cdc_platform.formats.types import canonical_type, parse_iceberg_type
from cdc_platform.naming import safe_name, safe_names
from cdc_platform.raw.files import FileKind

OP_COLUMN = "Op"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the event stream and where it comes from. ``index`` is its place in the file."""

    index: int
    source: str
    name: str
    file_type: pa.DataType
    type: pa.DataType


@dataclass(frozen=True, slots=True)
class Layout:
    """The parts of one file's rows; the indices of columns it does not have are None.

    ``untyped`` are the CSV columns read as strings because nothing declares their type.
    """

    op: int | None
    timestamp: int | None
    change_sequence: int | None
    stream_position: int | None
    columns: tuple[Column, ...]
    before: tuple[Column, ...]
    position_kind: PositionKind
    untyped: tuple[str, ...]

    @property
    def schema(self) -> pa.Schema:
        """The schema of the events."""
        own = [pa.field(column.name, column.type) for column in (*self.columns, *self.before)]
        return pa.schema([*EVENT_COLUMNS, *own])

    @property
    def source_columns(self) -> Mapping[str, str]:
        """Safe name → the source's own name."""
        return {column.name: column.source for column in self.columns}


def has_op(names: Sequence[str], kind: FileKind, options: RawOptions, *, where: str) -> bool:
    """Return whether the first column is DMS's Op.

    A table may have a column ``Op`` of its own: in front of the timestamp column it is DMS's for sure, else
    the endpoint's settings decide. Raises UnreadableRawFile for changes without Op that are not known to be
    inserts only.
    """
    is_load = kind is FileKind.LOAD
    expected = options.include_op_for_full_load or not (is_load or options.cdc_inserts_only)
    if names[:1] != [OP_COLUMN]:
        if not is_load and not options.cdc_inserts_only:
            raise UnreadableRawFile(
                f"the first column of a file of changes is {names[0] if names else None!r}, not 'Op'",
                where=where,
                mend="set `cdc_inserts_only: true` in cdc.yaml if the endpoint writes inserts only",
            )
        return False
    return expected or (options.timestamp_column is not None and names[1:2] == [options.timestamp_column])


def layout_of(
    names: Sequence[str],
    types: Sequence[pa.DataType],
    kind: FileKind,
    options: RawOptions,
    table: TableConfig,
    *,
    where: str,
    is_text: bool = False,
) -> Layout:
    """Return the layout of a file with these columns. ``is_text`` says that types are only CSV's.

    Raises UnreadableRawFile (no Op, names twice or clashing), MissingMergeKey, SchemaError (types).
    """
    _check_names(names, where)
    op = 0 if has_op(list(names), kind, options, where=where) else None
    added = _added_columns(names, op, options)
    rest = [index for index in range(len(names)) if index != op and index not in added.values()]
    before_of = _before_images([names[index] for index in rest], options.before_image_prefix)
    own = [index for index in rest if names[index] not in before_of]
    images = [index for index in rest if names[index] in before_of]
    declared = _declared(table)
    columns = _own_columns(names, types, own, declared, where)
    _check_key(table, columns, where)
    return Layout(
        op=op,
        columns=columns,
        before=_before_columns(names, types, images, before_of, columns),
        position_kind=_position_kind(added["change_sequence"], added["timestamp"]),
        untyped=tuple(column.source for column in columns if is_text and column.name not in declared),
        **added,
    )


def _added_columns(names: Sequence[str], op: int | None, options: RawOptions) -> dict[str, int | None]:
    """Return where the columns are that the task adds and events take into their control columns."""
    roles = {
        "timestamp": options.timestamp_column,
        "change_sequence": options.change_sequence_column,
        "stream_position": options.stream_position_column,
    }
    places = {name: index for index, name in enumerate(names) if index != op}
    return {role: None if name is None else places.get(name) for role, name in roles.items()}


def added_by_dms(names: Sequence[str], options: RawOptions) -> frozenset[str]:
    """Return which columns of a Parquet file DMS wrote beside the source's: Op, the task's, before images."""
    op = 0 if names[:1] == [OP_COLUMN] else None
    places = {place for place in (op, *_added_columns(names, op, options).values()) if place is not None}
    rest = [name for place, name in enumerate(names) if place not in places]
    return frozenset(
        {names[place] for place in places} | set(_before_images(rest, options.before_image_prefix))
    )


def _own_columns(
    names: Sequence[str],
    types: Sequence[pa.DataType],
    own: Sequence[int],
    declared: Mapping[str, pa.DataType],
    where: str,
) -> tuple[Column, ...]:
    """Return the source's columns, of the declared type or else the canonical one of the file's."""
    safe = _safe([names[index] for index in own], where)
    return tuple(
        Column(
            index,
            names[index],
            safe[names[index]],
            types[index],
            declared.get(safe[names[index]]) or _canonical(types[index], names[index], where),
        )
        for index in own
    )


def _before_columns(
    names: Sequence[str],
    types: Sequence[pa.DataType],
    images: Sequence[int],
    before_of: Mapping[str, str],
    columns: Sequence[Column],
) -> tuple[Column, ...]:
    """Return the before images, each of its column's type."""
    by_source = {column.source: column for column in columns}
    after = {index: by_source[before_of[names[index]]] for index in images}
    return tuple(
        Column(index, names[index], before_name(column.name), types[index], column.type)
        for index, column in after.items()
    )


def _position_kind(change_sequence: int | None, timestamp: int | None) -> PositionKind:
    if change_sequence is not None:
        return PositionKind.CHANGE_SEQUENCE
    return PositionKind.FILE_TIME if timestamp is None else PositionKind.COMMIT_TIME


def _check_names(names: Sequence[str], where: str) -> None:
    twice = sorted({name for name in names if list(names).count(name) > 1})
    if twice or not all(names):
        raise UnreadableRawFile(
            f"columns {', '.join(map(repr, twice))} come twice" if twice else "a column has no name",
            where=where,
            mend="rename the column by a transformation rule of the DMS task, then reload the table",
        )


def _before_images(names: Sequence[str], prefix: str | None) -> dict[str, str]:
    """Return before-image column → the column it is the before image of."""
    if not prefix:
        return {}
    known = set(names)
    images = {name: name.removeprefix(prefix) for name in names if name.startswith(prefix)}
    return {image: column for image, column in images.items() if column in known - images.keys()}


def _declared(table: TableConfig) -> dict[str, pa.DataType]:
    types: dict[str, pa.DataType] = {}
    try:
        safe_names((column.name for column in table.columns), where=f"table {table.name}, columns")
    except ConfigError as error:
        where, clash, mend = error.mistakes[0]
        raise SchemaError(clash, where=where, mend=mend) from error
    for column in table.columns:
        try:
            types[safe_name(column.name)] = parse_iceberg_type(column.type)
        except SchemaError as error:
            where = f"table {table.name}, columns, {column.name}"
            raise SchemaError(error.what, where=where, mend=error.mend) from error
    return types


def _safe(names: Sequence[str], where: str) -> dict[str, str]:
    mend = "rename the column by a transformation rule of the DMS task, then reload the table"
    try:
        safe = safe_names(names, where=where)
    except ConfigError as error:
        raise UnreadableRawFile(error.mistakes[0][1], where=where, mend=mend) from error
    for name, base_name in safe.items():
        if base_name.startswith(CONTROL_PREFIX):
            raise UnreadableRawFile(
                f"column {name!r} has a name kept for control columns ({CONTROL_PREFIX}…)",
                where=where,
                mend=mend,
            )
    return safe


def _canonical(file_type: Any, name: str, where: str) -> pa.DataType:
    try:
        return canonical_type(file_type)
    except SchemaError as error:
        raise SchemaError(f"column {name!r}: {error.what}", where=where, mend=error.mend) from error


def _check_key(table: TableConfig, columns: Sequence[Column], where: str) -> None:
    missing = [key for key in table.safe_key if key not in {column.name for column in columns}]
    if missing:
        raise MissingMergeKey(
            f"the file has no merge key column {', '.join(map(repr, missing))}; it has "
            f"{', '.join(column.source for column in columns) or 'none'}",
            where=where,
            mend="correct `merge_key` in cdc.yaml, or take the filter on the column out of the DMS task",
        )
