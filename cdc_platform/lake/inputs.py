"""What a merge takes: accepted files and a way to open each as a normalised event stream.

The reader's classes (:mod:`cdc_platform.formats.dms_reader`) fit these protocols; so does anything else that
yields event batches, such as the synthetic events of a repair.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa

from cdc_platform.events import PositionKind
from cdc_platform.raw.files import AcceptedFile


class RejectedRow(Protocol):
    """A row that cannot be applied, with why and what to do."""

    @property
    def row(self) -> int: ...

    @property
    def column(self) -> str | None: ...

    @property
    def reason(self) -> str: ...

    @property
    def mend(self) -> str: ...

    @property
    def values(self) -> Mapping[str, Any]: ...


class EventBatch(Protocol):
    """Some rows of a file: the events, and the rows that are none."""

    @property
    def events(self) -> pa.RecordBatch: ...

    @property
    def rejected(self) -> Sequence[RejectedRow]: ...


class EventFile(Protocol):
    """An opened raw file. ``schema`` is that of :mod:`cdc_platform.events`; batches may be read once."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def source_columns(self) -> Mapping[str, str]:
        """Safe column name → the source's own."""
        ...

    @property
    def position_kind(self) -> PositionKind: ...

    def batches(self) -> Iterator[EventBatch]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class MergeInput:
    """One accepted file. ``open`` may raise RawFileError or SchemaError: the file is then quarantined."""

    accepted: AcceptedFile
    open: Callable[[], EventFile]

    @property
    def identity(self) -> tuple[str, str]:
        """What makes two deliveries one: key and ETag."""
        return self.accepted.file.key, self.accepted.file.etag
