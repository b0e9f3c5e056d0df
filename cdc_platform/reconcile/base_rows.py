"""The base witness: the rows base holds, in one pinned snapshot, for the keys of a window."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa

from cdc_platform.events import CONTROL_COLUMNS, GENERATION, OP, POSITION
from cdc_platform.naming import quoted
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.workspace_names import in_workspace, shape_of


@dataclass(frozen=True, slots=True)
class BaseView:
    """One snapshot of a base table as SQL can read it.

    ``relation`` is a FROM item that yields the rows with their control columns; None when the table has no
    snapshot yet. ``tombstones`` is a FROM item of key columns, generation and position;
    None when there are none. ``completed_generation`` is the last full load known to be whole. ``fields`` are
    what each column is in the table's files, ``declared`` the types cdc.yaml gives columns. ``files`` are the
    data files, whose footers may tell how keys lie.
    """

    relation: str | None
    schema: pa.Schema
    snapshot_id: int | None
    tombstones: str | None = None
    completed_generation: int | None = None
    soft_deletes: bool = False
    partial_images: bool = False
    fields: Mapping[str, str] = field(default_factory=dict)
    declared: Mapping[str, str] = field(default_factory=dict)
    files: tuple[str, ...] = ()

    @property
    def columns(self) -> pa.Schema:
        """The source columns base holds."""
        return pa.schema([column for column in self.schema if column.name not in CONTROL_COLUMNS.names])

    @property
    def live_condition(self) -> str:
        """The SQL condition on ``b`` that a row is not a remembered delete."""
        return f"b.{OP} <> 'D'" if self.soft_deletes else "true"


def load_base_rows(
    connection: duckdb.DuckDBPyConnection,
    view: BaseView,
    key: tuple[str, ...],
    forms: Mapping[str, str] | None = None,
) -> None:
    """Make ``base_rows`` and ``tombstones`` for the rows of the temporary table ``keys``.

    Every row of a key is taken, also a second one that should not be there. ``forms`` are SQL templates of
    what key columns are compared as, where that is another than what base has.
    """
    names = [column.name for column in view.columns]
    same_key = " AND ".join(
        f"{form.format('b.' + quoted(column))} = {form.format('k.' + in_workspace(column))}"
        for column, form in ((column, (forms or {}).get(column, "{}")) for column in key)
    )
    wanted = ", ".join(
        f"b.{quoted(name)} AS {in_workspace(name)}" for name in [OP, GENERATION, POSITION, *names]
    )
    if view.relation is None:
        fields = [
            pa.field("key_id", pa.int64()),
            *(CONTROL_COLUMNS.field(n) for n in (OP, GENERATION, POSITION)),
        ]
        connection.register("no_rows", pa.schema([*fields, *shape_of(view.columns)]).empty_table())
        rows = "SELECT * FROM no_rows"
    else:
        rows = f"SELECT k.key_id, {wanted} FROM {view.relation} b JOIN keys k ON {same_key}"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE base_rows AS {rows}")
    tombstones = (
        f"""SELECT key_id, place.generation AS generation, place.position AS position FROM (
                SELECT k.key_id, max({{generation: b.{GENERATION}, position: b.{POSITION}}}) AS place
                FROM {view.tombstones} b JOIN keys k ON {same_key} GROUP BY k.key_id)"""
        if view.tombstones
        else "SELECT 0::BIGINT AS key_id, 0::BIGINT AS generation, 0::DECIMAL(38,0) AS position WHERE false"
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE tombstones AS {tombstones}")


def load_all_spellings(connection: duckdb.DuckDBPyConnection, view: BaseView, plan: ReadPlan) -> None:
    """Make ``base_rows`` anew with the rows of other spellings of a key (padding), where there can be any.

    In base they are rows of several keys, to the source they are one.
    """
    forms = spelled(plan)
    if forms:
        load_base_rows(connection, view, tuple(column.column for column in plan.key), forms)


def first_row_sql(plan: ReadPlan) -> str:
    """Return SQL of which of a key's rows in ``base_rows b`` is compared: that of the shortest spelling."""
    names = ", ".join(f"b.{in_workspace(column)}" for column in spelled(plan))
    return f"arg_min(b.rowid, concat_ws(chr(0), {names}))" if names else "min(b.rowid)"


def spelled(plan: ReadPlan) -> dict[str, str]:
    """Return, of the key columns of which base may have a value in several spellings, the form compared."""
    return {column.column: column.base for column in plan.key if column.base != "{}"}
