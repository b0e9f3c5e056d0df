"""One source table and its base table: name, key, partitioning, how deletes and images are taken."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, field_validator, model_validator

from cdc_platform.config.base import LONGEST_DAYS, Model, mistake
from cdc_platform.config.maintenance import MaintenanceOptions
from cdc_platform.config.partition_fields import faults_of_types, faults_together, parse_partition_field
from cdc_platform.config.raw_options import RawOptions
from cdc_platform.naming import safe_name


class DeleteMode(StrEnum):
    """What a delete does to the base row: remove it, or keep it with ``_cdc_op = 'D'``."""

    HARD = "hard"
    SOFT = "soft"


class Images(StrEnum):
    """Whether an update carries every column or only the changed ones (the others NULL)."""

    FULL = "full"
    PARTIAL = "partial"


class NoKey(StrEnum):
    """How a table without a merge key is kept: every row that ever came, or the multiset of live rows."""

    APPEND = "append"
    MULTISET = "multiset"


class Publish(StrEnum):
    """When readers of main see a merge: at once, or when what it changed is found equal to the source."""

    ALWAYS = "always"
    ON_MATCH = "on_match"


class ColumnConfig(Model):
    """A source column's name and type: needed for CSV without a header, an override otherwise."""

    name: str
    type: str = Field(description="an Iceberg type: int, long, decimal(p,s), timestamptz, string, …")
    nullable: bool = True


class TableConfig(Model):
    """One source table and its base table."""

    name: str = Field(description="schema.table as DMS names them in the raw folder")
    id: str = Field("", description="safe name of the table in asset keys and the lake; default from `name`")
    merge_key: tuple[str, ...] = Field((), description="columns that identify a row; empty: see `no_key`")
    no_key: NoKey | None = Field(None, description="append or multiset, when there is no merge key")
    partition_by: tuple[str, ...] = Field((), description="e.g. day(created_at), bucket(16, id), region")
    active: bool = True
    delete_mode: DeleteMode = DeleteMode.HARD
    images: Images = Images.FULL
    publish: Publish = Field(
        Publish.ALWAYS, description="on_match: main shows a merge once its windows are found MATCH"
    )
    verify_within_days: float | None = Field(
        None,
        gt=0,
        le=LONGEST_DAYS,
        description="a check fails when a row was not compared with the source for so long; "
        "cdc reconcile --incremental keeps it, and 30 days without it",
    )
    columns: tuple[ColumnConfig, ...] = ()
    not_compared: tuple[str, ...] = Field(
        (), description="columns that need not equal the source: left out of comparisons with it, and listed"
    )
    tombstone_horizon_days: int = Field(30, ge=1, description="how late an event may come after a delete")
    owners: tuple[str, ...] = ()
    raw: RawOptions | None = Field(None, description="overrides the source's raw options for this table")
    maintenance: MaintenanceOptions | None = Field(
        None, description="overrides single options of `maintenance` for this table"
    )

    @field_validator("name")
    @classmethod
    def _schema_dot_table(cls, name: str) -> str:
        schema, dot, table = name.partition(".")
        if not (schema and dot and table):
            raise mistake(f"{name!r} is not schema.table", "write it as DMS does, e.g. public.orders")
        return name

    @field_validator("merge_key")
    @classmethod
    def _each_column_once(cls, key: tuple[str, ...]) -> tuple[str, ...]:
        names: dict[str, str] = {}
        for column in key:
            if (first := names.setdefault(safe_name(column), column)) is not column:
                what = f"`merge_key` has {first!r} and {column!r}, which are one column"
                raise mistake(what, "name each column of the key once")
        return key

    @field_validator("partition_by")
    @classmethod
    def _known_transforms(cls, fields: tuple[str, ...]) -> tuple[str, ...]:
        for field in fields:
            try:
                parse_partition_field(field)
            except ValueError as wrong:
                what, _, mend = str(wrong).partition("; ")
                raise mistake(what, mend) from wrong
        for what, mend in faults_together(fields):
            raise mistake(what, mend)
        return fields

    @model_validator(mode="after")
    def _complete(self) -> TableConfig:
        if not self.id:
            object.__setattr__(self, "id", safe_name(self.table_name))
        if safe_name(self.id) != self.id:
            raise mistake(f"id {self.id!r} is not a safe name", f"write {safe_name(self.id)!r}")
        types = {column.name: column.type for column in self.columns}
        for what, mend in faults_of_types(self.partition_by, types):
            raise mistake(what, mend)
        if self.merge_key and self.no_key:
            raise mistake("`merge_key` and `no_key` exclude each other", "keep the one that is true")
        if self.publish is Publish.ON_MATCH and not self.merge_key:
            raise mistake(
                "without a merge key no window is ever MATCH, so nothing would be published",
                "remove `publish`, or give `merge_key`",
            )
        if self.verify_within_days is not None and not self.merge_key:
            raise mistake(
                "without a merge key no run keeps how long ago its rows were compared",
                "remove `verify_within_days`, or give `merge_key`",
            )
        if left_out := set(map(safe_name, self.not_compared)) & set(self.safe_key):
            raise mistake(
                f"`not_compared` has {min(left_out)!r}, a column of the merge key",
                "remove it there: rows are found by it",
            )
        if self.active and not self.merge_key and not self.no_key:
            raise mistake(
                "an active table needs a merge key",
                "set `merge_key`, or `no_key: append` or `multiset`, or `active: false`",
            )
        return self

    @property
    def schema_name(self) -> str:
        """The source schema."""
        return self.name.partition(".")[0]

    @property
    def table_name(self) -> str:
        """The source table, without its schema."""
        return self.name.partition(".")[2]

    @property
    def safe_key(self) -> tuple[str, ...]:
        """The merge key under the names its columns have in events and in base."""
        return tuple(safe_name(column) for column in self.merge_key)
