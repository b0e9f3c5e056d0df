"""The file of a repair's events: already a normalised event stream, kept as Parquet beside the table.

It is opened as any raw file, by whatever merges, reconciles or inspects. Its generation is not what it was
written with but the one its window manifest gives it now: a full load that becomes known late takes it over.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.parquet as pq

from cdc_platform.errors import RawFileVanished, UnreadableRawFile
from cdc_platform.events import GENERATION, PositionKind
from cdc_platform.formats.event_file import EventBatch
from cdc_platform.raw.files import AcceptedFile
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import object_key

_KIND, _NAMES = b"cdc.position-kind", b"cdc.source-columns"
_BATCH_ROWS = 50_000


class RepairFile:
    """An open file of repair events."""

    def __init__(self, data: bytes, generation: int) -> None:
        self._file = pq.ParquetFile(pa.BufferReader(data))
        self._generation = generation
        told = self._file.schema_arrow.metadata or {}
        self.schema: pa.Schema = self._file.schema_arrow.remove_metadata()
        self.source_columns: Mapping[str, str] = json.loads(told[_NAMES])
        self.position_kind = PositionKind(told[_KIND].decode())
        self.untyped_columns: tuple[str, ...] = ()
        self.rows: int | None = self._file.metadata.num_rows

    def batches(self) -> Iterator[EventBatch]:
        """Yield the events in file order."""
        place = self.schema.get_field_index(GENERATION)
        for batch in self._file.iter_batches(_BATCH_ROWS):
            generations = pa.array([self._generation], pa.int64()).take(
                pa.array([0] * batch.num_rows, pa.int64())
            )
            columns = [*batch.columns]
            columns[place] = generations
            yield EventBatch(pa.RecordBatch.from_arrays(columns, schema=self.schema))
        self.close()

    def close(self) -> None:
        """Close the file; closing twice does nothing."""
        self._file.close()


def repair_file_bytes(
    events: pa.Table, kind: PositionKind, source_columns: Mapping[str, str]
) -> tuple[bytes, str]:
    """Return the bytes of a file of ``events``, and their etag."""
    told = {_KIND: kind.value.encode(), _NAMES: json.dumps(dict(source_columns)).encode()}
    sink = io.BytesIO()
    pq.write_table(events.replace_schema_metadata(told), sink, compression="zstd")
    data = sink.getvalue()
    return data, _etag(data)


def open_repair_file(objects: ObjectStore, accepted: AcceptedFile) -> RepairFile:
    """Open the file of a repair. Raises RawFileVanished, or UnreadableRawFile when it is not what it was."""
    key, where = object_key(accepted.file.key), objects.url(object_key(accepted.file.key))
    data = objects.get(key)
    mend = "restore the object, or undo the repair and repair again"
    if data is None:
        raise RawFileVanished("the file of a repair is gone", where=where, mend=mend)
    if _etag(data) != accepted.file.etag:
        raise UnreadableRawFile("the file of a repair was changed", where=where, mend=mend)
    try:
        return RepairFile(data, accepted.generation)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise UnreadableRawFile(f"not a file of a repair: {error}", where=where, mend=mend) from error


def _etag(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:32]
