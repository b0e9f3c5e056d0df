"""Raw files as values: what a listing says of an object, and what its name says."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class FileKind(StrEnum):
    """Whether a raw file holds rows of a full load or changes."""

    LOAD = "load"
    CHANGES = "changes"


@dataclass(frozen=True, slots=True, order=True)
class RawFile:
    """One immutable object DMS wrote, as listed. ``key`` is relative to the source's raw location."""

    key: str
    size: int
    etag: str
    last_modified: datetime


@dataclass(frozen=True, slots=True)
class RawFileName:
    """What the key of a raw file says. ``segment`` is a SEGMENTn or partition sub-folder, '' without one.

    ``file_time`` is the UTC time in the name of a change file; a LOAD file has none.
    ``counter`` is the (hexadecimal) counter of a LOAD file, as a number.
    """

    kind: FileKind
    schema: str
    table: str
    segment: str
    file_time: datetime | None
    counter: int | None
    extension: str


@dataclass(frozen=True, slots=True)
class AcceptedFile:
    """A raw file that was accepted into a window, with the generation it belongs to.

    ``rows`` is the row count the file's own footer (Parquet) or reader (CSV) gave; None when not read yet.
    """

    file: RawFile
    kind: FileKind
    file_time: datetime
    window: str
    generation: int
    rows: int | None = None
