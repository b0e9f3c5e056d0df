"""Writers of v2 manifests, of data files and of delete files, that do not begin from nothing each time.

pyiceberg 0.12 has no manifest writer whose content is DELETES, and works out a manifest's Avro schema and its
encoders anew for each file, a tenth of a small merge. They follow from the type of the partition alone. It
also makes each entry an Avro block of its own, compressed by itself; many together are smaller, and quicker
to write and to read.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from functools import lru_cache
from types import TracebackType

from pyiceberg.avro.file import MAGIC, META_SCHEMA, SYNC_SIZE, AvroFileHeader, AvroOutputFile
from pyiceberg.avro.resolver import construct_writer, resolve_writer
from pyiceberg.avro.writer import Writer
from pyiceberg.io import OutputFile
from pyiceberg.manifest import (
    DEFAULT_READ_VERSION,
    ManifestContent,
    ManifestEntry,
    ManifestWriterV2,
    data_file_with_partition,
    manifest_entry_schema_with_data_file,
)
from pyiceberg.schema import Schema
from pyiceberg.typedef import TableVersion
from pyiceberg.types import StructType
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

#: As it is written, and as pyiceberg holds it.
_VERSIONS: tuple[TableVersion, TableVersion] = (2, DEFAULT_READ_VERSION)

#: Entries of one Avro block: it is compressed, and read, as a whole.
_ENTRIES_PER_BLOCK = 500


@dataclass(frozen=True, slots=True)
class _Layout:
    """How an entry is written: the file's schema, the encoders, and the schema as Avro's JSON."""

    schema: Schema
    writer: Writer
    json: str


@lru_cache(maxsize=64)
def _layout(partition: StructType) -> _Layout:
    schema, read = (
        manifest_entry_schema_with_data_file(
            format_version=version,
            data_file=data_file_with_partition(format_version=version, partition_type=partition),
        )
        for version in _VERSIONS
    )
    avro = AvroSchemaConversion().iceberg_to_avro(schema, schema_name="manifest_entry")
    return _Layout(schema, resolve_writer(record_schema=read, file_schema=schema), json.dumps(avro))


@lru_cache(maxsize=1)
def _header_writer() -> Writer:
    return construct_writer(META_SCHEMA)


class _EntryFile(AvroOutputFile[ManifestEntry]):
    """An Avro file of manifest entries in a layout that is known already."""

    def __init__(self, output: OutputFile, layout: _Layout, metadata: dict[str, str]) -> None:
        self.output_file = output
        self.file_schema = layout.schema
        self.schema_name = "manifest_entry"
        self.sync_bytes = os.urandom(SYNC_SIZE)
        self.writer = layout.writer
        self.metadata = metadata
        self._json = layout.json
        self._waiting: list[ManifestEntry] = []

    def write_block(self, objects: list[ManifestEntry]) -> None:
        """Take entries; they become a block with others."""
        self._waiting += objects
        if len(self._waiting) >= _ENTRIES_PER_BLOCK:
            self._flush()

    def __exit__(
        self,
        exctype: type[BaseException] | None,
        excinst: BaseException | None,
        exctb: TracebackType | None,
    ) -> None:
        try:
            if exctype is None and self._waiting:
                self._flush()
        finally:
            super().__exit__(exctype, excinst, exctb)

    def _flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        super().write_block(waiting)

    def _write_header(self) -> None:
        header = AvroFileHeader(MAGIC, {**self.metadata, "avro.schema": self._json}, self.sync_bytes)
        _header_writer().write(self.encoder, header)


class DataManifestWriter(ManifestWriterV2):
    """A v2 manifest of data files."""

    def new_writer(self) -> AvroOutputFile[ManifestEntry]:
        layout = _layout(self._spec.partition_type(self._schema))
        return _EntryFile(self._output_file, layout, self._meta)


class DeleteManifestWriter(DataManifestWriter):
    """A v2 manifest of delete files."""

    def content(self) -> ManifestContent:
        return ManifestContent.DELETES

    @property
    def _meta(self) -> dict[str, str]:
        return {**super()._meta, "content": "deletes"}
