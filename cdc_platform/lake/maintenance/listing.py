"""Listing files with their age, below a folder or an S3 prefix, by Arrow's own file systems."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pyarrow.fs import FileSelector, FileType
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file as the storage lists it; ``location`` is one :func:`normalised` gives."""

    location: str
    bytes: int
    modified_at: datetime


class Listing:
    """Lists and removes files where a table lies."""

    def __init__(self, table: Table) -> None:
        io = table.io
        self._io = io if isinstance(io, PyArrowFileIO) else PyArrowFileIO(io.properties)

    def below(self, location: str) -> Iterator[ListedFile]:
        """Yield every file below ``location``, which need not exist."""
        scheme, netloc, path = self._io.parse_location(location, self._io.properties)
        selector = FileSelector(path, allow_not_found=True, recursive=True)
        for found in self._io.fs_by_scheme(scheme, netloc).get_file_info(selector):
            if found.type == FileType.File and found.mtime is not None:
                yield ListedFile(
                    f"{scheme}://{found.path}" if scheme != "file" else str(found.path),
                    found.size or 0,
                    found.mtime.astimezone(UTC),
                )

    def normalised(self, location: str) -> str:
        """Return a location written as :meth:`below` writes it."""
        scheme, _, path = self._io.parse_location(location, self._io.properties)
        return f"{scheme}://{path}" if scheme != "file" else path

    def remove(self, location: str) -> None:
        """Remove a file that :meth:`below` listed."""
        self._io.delete(location)
