"""The schema of a base table: made from the first files, then only ever widened.

Control columns come first, then the source's columns under their safe names with the source's own name as
doc. Key columns are required and are the table's identifier; every other source column is optional, because
the source may drop it. A column a file lacks is kept and NULL from then on. What Iceberg does not allow is
:class:`IncompatibleSchemaChange`, and the file goes to quarantine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from pyiceberg.exceptions import TableAlreadyExistsError
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.table.sorting import NullOrder, SortDirection, SortField, SortOrder
from pyiceberg.table.update.schema import UpdateSchema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, FloatType, NestedField, PrimitiveType

from cdc_platform.config.model import NoKey, Publish, TableConfig
from cdc_platform.errors import (
    IncompatibleSchemaChange,
    MergeError,
    MissingMergeKey,
    SchemaError,
    StaleCommit,
)
from cdc_platform.events import BEFORE_PREFIX, CONTROL_COLUMNS, CONTROL_PREFIX, EVENT_COLUMNS, before_name
from cdc_platform.lake import applied
from cdc_platform.lake.branch import at_write_branch
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.column_types import combined, iceberg_type
from cdc_platform.lake.declared import declaration
from cdc_platform.lake.inputs import EventFile
from cdc_platform.lake.partition_fit import partition_floors
from cdc_platform.lake.partitions import partition_spec
from cdc_platform.lake.publishing import hold_back
from cdc_platform.naming import safe_name

_PROPERTIES = {
    "format-version": "2",
    "write.delete.mode": "merge-on-read",
    "write.update.mode": "merge-on-read",
    "write.merge.mode": "merge-on-read",
    # One delete file per data file: planners attach it to that file only, and a merge can replace it.
    "write.delete.granularity": "file",
    "write.target-file-size-bytes": str(128 * 1024 * 1024),
    "write.parquet.compression-codec": "zstd",
    "write.metadata.delete-after-commit.enabled": "true",
    "write.metadata.previous-versions-max": "100",
}


@dataclass(frozen=True, slots=True)
class FileColumns:
    """How one file's columns go into the table's: which it has, and which need a check of every value."""

    present: tuple[str, ...]
    before: tuple[str, ...]
    checked: frozenset[str]


class TargetSchema:
    """The table's columns as the files of a batch make them, file by file."""

    def __init__(self, table: Table | None, config: TableConfig, *, where: str) -> None:
        self._config = config
        self._where = where
        self._base = table
        self._table = table.schema() if table is not None else None
        self.key = config.safe_key
        self.columns: dict[str, PrimitiveType] = {}
        self._docs: dict[str, str] = {}
        for field in self._table.fields if self._table is not None else ():
            if not field.name.startswith(CONTROL_PREFIX) and isinstance(field.field_type, PrimitiveType):
                self.columns[field.name] = field.field_type
                if field.doc is not None:
                    self._docs[field.name] = field.doc

    @property
    def before(self) -> tuple[str, ...]:
        """The columns whose before image the merge uses: the key, or every column of a multiset."""
        return tuple(self.columns) if self._config.no_key == NoKey.MULTISET else self.key

    @property
    def partition_floors(self) -> Mapping[str, tuple[int, int]]:
        """The columns whose lowest values have no partition, see :mod:`~cdc_platform.lake.partition_fit`."""
        return partition_floors(self._base, self._config, self.columns)

    def admit(self, file: EventFile) -> FileColumns:
        """Widen the columns so that ``file`` fits. Raises SchemaError, and then nothing has changed."""
        columns = dict(self.columns)
        checked = set()
        incoming = [f for f in file.schema if not f.name.startswith(CONTROL_PREFIX)]
        for field in incoming:
            known = columns.get(field.name)
            kind = self._type_of(field)
            if known is None:
                columns[field.name] = kind
                continue
            self._check_source_name(field.name, known, file.source_columns.get(field.name))
            result = combined(known, kind, key=field.name in self.key)
            if result is None:
                raise self._incompatible(field.name, known, kind)
            columns[field.name] = result.type
            if result.checked:
                checked.add(field.name)
        present = tuple(field.name for field in incoming)
        missing = [column for column in self.key if column not in present]
        if missing:
            raise MissingMergeKey(
                f"the file has no column {', '.join(missing)}, which the merge key needs",
                where=self._where,
                mend="correct `merge_key`, or let DMS replicate the column again",
            )
        self.columns = columns
        self._docs = {name: file.source_columns.get(name, name) for name in present} | self._docs
        wanted = {before_name(column) for column in self.before}
        before = [f.name.removeprefix(BEFORE_PREFIX) for f in file.schema if f.name in wanted]
        return FileColumns(present, tuple(before), frozenset(checked))

    def _check_source_name(self, column: str, known: PrimitiveType, incoming: str | None) -> None:
        """Raise IncompatibleSchemaChange where two of the source's columns have one safe name.

        Case alone makes no other column. Docs that are no name of the column are a person's words.
        """
        there = self._docs.get(column)
        if there is None or incoming is None or there.casefold() == incoming.casefold():
            return
        declared = any(one.name.casefold() == incoming.casefold() for one in self._config.columns)
        if declared or safe_name(there) != column or safe_name(incoming) != column:
            return
        raise IncompatibleSchemaChange(
            f"column {column!r} of the table holds the source's {there!r}, the file has {incoming!r}, whose "
            "name in the table is the same",
            where=self._where,
            mend=f"if {there!r} was renamed, declare name: {incoming!r}, type: {known} under `columns`, then "
            f"release the file; if it is another column, let a transformation rule of the DMS task rename it "
            "and reload the table, and discard the file",
        )

    def _type_of(self, field: pa.Field[pa.DataType]) -> PrimitiveType:
        kind = iceberg_type(field.type)
        if kind is None:
            raise IncompatibleSchemaChange(
                f"column {field.name!r} has type {field.type}, which a base table cannot hold",
                where=self._where,
                mend=f"declare another type for {field.name!r} under `columns`",
            )
        return kind

    def _incompatible(
        self, column: str, known: PrimitiveType, incoming: PrimitiveType
    ) -> IncompatibleSchemaChange:
        return IncompatibleSchemaChange(
            f"column {column!r} is {known} in the table and {incoming} in the file; "
            "Iceberg cannot change the one into the other",
            where=self._where,
            mend=f"declare `type: {known}` for {column!r} under `columns` if every value fits, then release "
            "the file; else give the table a new `id` in cdc.yaml and reload it",
        )

    @property
    def is_changed(self) -> bool:
        """Whether the table needs an update of its schema."""
        assert self._table is not None
        now = {field.name: field.field_type for field in self._table.fields}
        return any(now.get(name) != kind for name, kind in self.columns.items())

    def evolve(self, update: UpdateSchema) -> None:
        """Stage the changes: new columns at the end, widened types in place."""
        assert self._table is not None
        now = {field.name: field.field_type for field in self._table.fields}
        for name, kind in self.columns.items():
            if name not in now:
                update.add_column(name, kind, doc=self._docs.get(name))
            elif now[name] != kind:
                update.update_column(name, kind)

    def new_schema(self) -> Schema:
        """Return the schema to create the table with."""
        fields = []
        for number, control in enumerate(CONTROL_COLUMNS, start=1):
            kind = iceberg_type(control.type)
            assert kind is not None
            fields.append(NestedField(number, control.name, kind, required=not control.nullable))
        identifiers = []
        for number, (name, kind) in enumerate(self.columns.items(), start=len(fields) + 1):
            is_key = name in self.key
            fields.append(NestedField(number, name, kind, required=is_key, doc=self._docs.get(name)))
            if is_key and not isinstance(kind, FloatType | DoubleType):
                identifiers.append(number)
        # Iceberg refuses floating point identifiers; such a key stays required but unannounced.
        whole = len(identifiers) == len(self.key)
        return Schema(*fields, identifier_field_ids=identifiers if whole else [])


def new_table(lake: Lake, source: str, config: TableConfig, target: TargetSchema, *, where: str) -> Table:
    """Create the empty base table. Raises StaleCommit when another writer just did.

    Raises MergeError when there was one that the catalog no longer knows: raw files may not go back as far.
    """
    objects = lake.objects(source, config.id)
    # a merge writes its record when the table is there
    if next(iter(objects.list(f"{applied.FOLDER}/")), None) is not None:
        if lake.load(source, config.id) is not None:
            raise StaleCommit("another writer just made the table", where=where)
        raise MergeError(
            "the catalog has no such table, but there are records of merges into it",
            where=where,
            mend="restore the catalog, or register the table's newest metadata file in it; "
            f"to build it anew from the raw files that are left, delete {objects.url(applied.FOLDER)}",
        )
    try:
        return create_table(lake, source, config, target)
    except TableAlreadyExistsError as e:
        raise StaleCommit("another writer just made the table", where=where) from e


def create_table(lake: Lake, source: str, config: TableConfig, target: TargetSchema) -> Table:
    """Create the empty base table. Raises TableAlreadyExistsError when another writer just did."""
    identifier = lake.identifier(source, config.id)
    schema = target.new_schema()
    spec = partition_spec(config, schema, where=".".join(identifier))
    by_name = {field.name: field.field_id for field in schema.fields}
    order = SortOrder(
        *[
            SortField(by_name[column], IdentityTransform(), SortDirection.ASC, NullOrder.NULLS_FIRST)
            for column in target.key
        ]
    )
    metrics = {f"write.metadata.metrics.column.{column}": "full" for column in target.key}
    lake.ensure_namespace(source)
    created = lake.catalog.create_table(
        identifier,
        schema,
        partition_spec=spec,
        sort_order=order if target.key else SortOrder(order_id=0),
        properties={
            **_PROPERTIES,
            **metrics,
            "schema.name-mapping.default": schema.name_mapping.model_dump_json(),
            "comment": f"{config.name} of source {source}",
            **declaration(schema, config),
        },
    )
    if config.publish is Publish.ON_MATCH:
        hold_back(created)
    return at_write_branch(created)


def check_event_schema(schema: pa.Schema, *, where: str) -> None:
    """Raise SchemaError unless the stream carries the event columns with their types."""
    for field in EVENT_COLUMNS:
        index = schema.get_field_index(field.name)
        if index < 0 or schema.field(index).type != field.type:
            found = "missing" if index < 0 else str(schema.field(index).type)
            raise SchemaError(
                f"event column {field.name} is {found}, not {field.type}",
                where=where,
                mend="this is a fault of the reader: report it",
            )


def field_ids(schema: Schema) -> Mapping[str, int]:
    """Return field id by column name."""
    return {field.name: field.field_id for field in schema.fields}
