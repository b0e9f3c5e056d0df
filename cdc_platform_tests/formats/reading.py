"""Reading one raw file to plain values, for the tests of the readers."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa

from cdc_platform.config.model import RawOptions, TableConfig
from cdc_platform.events import EVENT_COLUMNS, PositionKind
from cdc_platform.formats.dms_names import parse_raw_file_name
from cdc_platform.formats.dms_reader import RejectedRow, open_event_file
from cdc_platform.raw.files import AcceptedFile, RawFile
from cdc_platform.raw.store import FolderRawStore

#: Raw options of a task that adds no column of its own.
BARE: dict[str, Any] = {
    "timestamp_column": None,
    "change_sequence_column": None,
    "stream_position_column": None,
    "before_image_prefix": None,
}


@dataclass(frozen=True, slots=True)
class Read:
    """A whole file: its schema, its events as dicts, the rejected rows."""

    schema: pa.Schema
    events: list[dict[str, Any]]
    rejected: list[RejectedRow]
    position_kind: PositionKind
    source_columns: dict[str, str]
    untyped: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The events' own columns, without the control columns."""
        return [{k: v for k, v in event.items() if k not in EVENT_COLUMNS.names} for event in self.events]

    @property
    def faults(self) -> list[tuple[int, str | None]]:
        """Row and column of each rejected row, in the order of rows."""
        return sorted((one.row, one.column) for one in self.rejected)

    def column(self, name: str) -> list[Any]:
        """One column of the events."""
        return [event[name] for event in self.events]


def table_of(
    name: str = "s.t", key: tuple[str, ...] = ("id",), columns: str = "", **more: Any
) -> TableConfig:
    """Return a table; ``columns`` is ``name type, name type`` (types without commas: ``decimal(8;2)``)."""
    declared = [
        {"name": part.split()[0], "type": part.split()[1].replace(";", ",")}
        for part in columns.split(",")
        if part.strip()
    ]
    return TableConfig.model_validate({"name": name, "merge_key": key, "columns": declared, **more})


def options_of(folder: Path, **settings: Any) -> RawOptions:
    """Return raw options at ``folder``."""
    return RawOptions.model_validate({"location": str(folder), **settings})


def only_file(folder: Path, ending: str = "") -> RawFile:
    """Return the one raw file below ``folder`` whose key ends so."""
    [file] = [file for file in FolderRawStore(folder).list() if file.key.endswith(ending)]
    return file


def read(
    folder: Path,
    options: RawOptions,
    table: TableConfig,
    *,
    ending: str = "",
    generation: int = 7,
    batch_rows: int = 50_000,
    file_time: datetime | None = None,
) -> Read:
    """Read the one file below ``folder`` whose key ends with ``ending``."""
    file = only_file(folder, ending)
    name = parse_raw_file_name(file.key, options)
    at = file_time or name.file_time or file.last_modified
    accepted = AcceptedFile(file, name.kind, at, "2024-05-31", generation)
    event_file = open_event_file(FolderRawStore(folder), options, table, accepted, batch_rows=batch_rows)
    batches = list(event_file.batches())
    for batch in batches:
        assert event_file.schema == batch.events.schema
        assert batch.events.num_rows <= batch_rows
    return Read(
        event_file.schema,
        [event for batch in batches for event in batch.events.to_pylist()],
        [row for batch in batches for row in batch.rejected],
        event_file.position_kind,
        dict(event_file.source_columns),
        event_file.untyped_columns,
    )
