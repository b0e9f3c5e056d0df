"""The SQL catalog, without reading, checking and copying a table's metadata more often than it changes.

A metadata file never changes once it is written, so what was parsed of it, or written to it, holds for as
long as the catalog's row names that file: which file is asked of the database each time. pyiceberg 0.12 reads
the file at each load and copies all of it, every snapshot of the history, at each commit; both cost more than
a small merge. Metadata are values here: nothing changes them in place, updates make new ones.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.io import FileIO
from pyiceberg.serializers import FromInputFile
from pyiceberg.table import StagedTable, Table
from pyiceberg.table.locations import load_location_provider
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import (
    TableRequirement,
    TableUpdate,
    _apply_table_update,
    _TableMetadataUpdateContext,
    _update_table_metadata_log,
)
from pyiceberg.typedef import Identifier

from cdc_platform.lake.moments import moment_after

#: Of so many files the metadata are kept: a merge needs those of one table, several threads as many.
_KEPT = 8


class QuickSqlCatalog(SqlCatalog):
    """An SqlCatalog whose loads and commits cost no more for a long history than they must."""

    def __init__(self, name: str, **properties: str) -> None:
        self._known: OrderedDict[str, TableMetadata] = OrderedDict()
        self._guard = threading.Lock()
        super().__init__(name, **properties)

    def _convert_orm_to_iceberg(self, orm_table: IcebergTables) -> Table:
        location, namespace, name = (
            orm_table.metadata_location,
            orm_table.table_namespace,
            orm_table.table_name,
        )
        if not (location and namespace and name):
            raise NoSuchTableError(f"the catalog's row of {namespace}.{name} is not whole")
        metadata = self._remembered(location)
        if metadata is None:
            io = self._load_file_io(location=location)
            metadata = self._remember(location, FromInputFile.table_metadata(io.new_input(location)))
        return Table(
            identifier=(*self.identifier_to_tuple(namespace), name),
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    def _update_and_stage_table(
        self,
        current_table: Table | None,
        table_identifier: Identifier,
        requirements: tuple[TableRequirement, ...],
        updates: tuple[TableUpdate, ...],
    ) -> StagedTable:
        if current_table is None:
            return super()._update_and_stage_table(current_table, table_identifier, requirements, updates)
        for requirement in requirements:
            requirement.validate(current_table.metadata)
        metadata = _updated(current_table.metadata, updates, current_table.metadata_location)
        version = self._parse_metadata_version(current_table.metadata_location) + 1
        locations = load_location_provider(metadata.location, metadata.properties)
        location = locations.new_table_metadata_file_location(version)
        return StagedTable(
            identifier=table_identifier,
            metadata=metadata,
            metadata_location=location,
            io=self._load_file_io(metadata.properties, location),
            catalog=self,
        )

    # pyiceberg has it static; called on the catalog, it may know which catalog that is
    def _write_metadata(self, metadata: TableMetadata, io: FileIO, metadata_path: str) -> None:  # type: ignore[override]
        super()._write_metadata(metadata, io, metadata_path)
        self._remember(metadata_path, metadata)

    def _remembered(self, location: str) -> TableMetadata | None:
        with self._guard:
            if location in self._known:
                self._known.move_to_end(location)
            return self._known.get(location)

    def _remember(self, location: str, metadata: TableMetadata) -> TableMetadata:
        with self._guard:
            self._known[location] = metadata
            self._known.move_to_end(location)
            while len(self._known) > _KEPT:
                self._known.popitem(last=False)
        return metadata


def _updated(base: TableMetadata, updates: tuple[TableUpdate, ...], location: str) -> TableMetadata:
    """Return ``base`` with ``updates``, as pyiceberg's ``update_table_metadata`` does, sharing what stays."""
    context = _TableMetadataUpdateContext()
    metadata = base
    for update in updates:
        metadata = _apply_table_update(update, metadata, context)
    if context.has_changes():
        metadata = _update_table_metadata_log(metadata, location, base.last_updated_ms)
        if base.last_updated_ms == metadata.last_updated_ms:
            metadata = metadata.model_copy(update={"last_updated_ms": moment_after(base)})
    metadata.spec().check_compatible(metadata.schema())
    metadata.sort_order().check_compatible(metadata.schema())
    return metadata
