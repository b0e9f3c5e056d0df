"""What reconciliation asks of a source database, whichever engine it is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

import pyarrow as pa

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.verdict import Excluded

#: Column of ``rows_of``: which of the keys asked for the row was found under.
KEY_NUMBER = "_cdc_key_number"

#: Facts of a table that change where its rows do without a change event: kind of fact → column ('' for what
#: is of no single one) → text.
Shape = Mapping[str, Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class SourceColumn:
    """A column of the source table. ``base_type`` is the type below any domain; precision for numerics.

    A type of another schema than the system's is ``base_type`` "schema.name". ``is_virtual``: it is computed
    when it is read, and no log carries it. ``plain_type`` is how SQL names the base type, without a length;
    ``output`` names the function that writes its values, where SQL may call it with the column as it is;
    ``has_own_cast``: a cast of text to it is a function somebody made, and not how its values are read.
    """

    name: str
    safe_name: str
    declared_type: str
    base_type: str
    category: str = ""
    precision: int | None = None
    scale: int | None = None
    nullable: bool = True
    readable: bool = True
    is_virtual: bool = False
    plain_type: str = ""
    is_domain: bool = False
    output: str = ""
    has_own_cast: bool = False


@dataclass(frozen=True, slots=True)
class SourceTable:
    """A source table as its catalog describes it.

    ``is_inherited``: rows of other tables are read with it, which its indexes know nothing of. Partitions
    are none of them. ``untold``: why what is read of it may change without a change event of it, a sentence
    about "the source table"; empty where nothing says so.
    """

    schema: str
    name: str
    columns: tuple[SourceColumn, ...]
    primary_key: tuple[str, ...]
    hides_rows: bool = False
    is_inherited: bool = False
    untold: str = ""

    @property
    def unique_key(self) -> tuple[str, ...]:
        """The columns of which no two rows that are read share the values; empty when nothing says so."""
        return () if self.is_inherited else self.primary_key

    @property
    def label(self) -> str:
        """Return schema.table for messages."""
        return f"{self.schema}.{self.name}"


class Decoding(StrEnum):
    """How a value off the wire becomes a typed one."""

    AS_IS = "as-is"
    DECIMAL_TEXT = "decimal-text"
    NUMBER_TEXT = "number-text"
    EPOCH_2000_DAYS = "days-since-2000"
    EPOCH_2000_MICROSECONDS = "microseconds-since-2000"


@dataclass(frozen=True, slots=True)
class ColumnPlan:
    """How one column is read and compared.

    ``select`` is the source's SQL expression, ``base`` the SQL template (over ``{}``) applied to the base
    value, ``rule`` the conversion rule both are compared under; None when they are compared as they are.
    ``also`` is a condition over ``{source}`` and ``{base}`` under which two unequal values are equal by rule;
    ``usual`` makes of the source's value (``{}``) the form it usually has in base then. ``altered`` and
    ``reached_from`` are those of key columns, see ``altered_keys``.
    """

    column: str
    source_column: str
    declared_type: str
    select: str
    wire: pa.DataType
    arrow: pa.DataType
    decoding: Decoding = Decoding.AS_IS
    base: str = "{}"
    also: str | None = None
    usual: str = "{}"
    rule: str | None = None
    altered: str | None = None
    reached_from: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class ReadPlan:
    """What of a table is read, and what is not compared and why.

    ``ranged``: a range of keys costs the source no more than its rows, and it orders keys as we do.
    ``refused``: columns the source does not let us read, with the error of a comparison that needs them.
    ``identity`` tells the table from every other, of other databases too; empty where nothing does.
    ``position`` is where the source's log was when the plan was made, ``shape`` what the catalog said then.
    ``started`` is when its server was, ``transactions`` counts those it had begun; where it tells them.
    ``is_standby``: the server follows another one, and may be behind capture.
    """

    table: SourceTable
    key: tuple[ColumnPlan, ...]
    columns: tuple[ColumnPlan, ...]
    excluded: tuple[Excluded, ...]
    ranged: bool = False
    refused: Mapping[str, SourceUnavailable] = field(default_factory=dict)
    identity: str = ""
    position: str = ""
    started: str = ""
    transactions: int | None = None
    is_standby: bool = False
    shape: Shape = field(default_factory=dict)

    @property
    def shape_read(self) -> Shape:
        """What ``shape`` has of the columns that are compared."""
        names = {"", *(column.source_column for column in (*self.key, *self.columns))}
        return {
            fact: {name: text for name, text in told.items() if name in names}
            for fact, told in self.shape.items()
        }

    @property
    def is_unique(self) -> bool:
        """Whether no two rows of the source share a key."""
        key = {column.source_column for column in self.key}
        return bool(self.table.unique_key) and set(self.table.unique_key) <= key


class SourceSnapshot(Protocol):
    """One consistent view of the source. Every change visible in it is at or before ``position``.

    Of a reader that has no ``snapshot_read``: every change at or before ``position`` is visible, later ones
    may be.
    """

    @property
    def position(self) -> str: ...

    def rows_of(self, keys: pa.Table, plan: ReadPlan) -> pa.Table:
        """Return the rows of ``keys`` (columns as ``plan.key``, in order): KEY_NUMBER, then the columns.

        Then, for columns with numerics that are not finite in these rows, their texts (``not_finite``).
        """
        ...

    def rows_between(
        self, low: Sequence[str] | None, high: Sequence[str] | None, plan: ReadPlan
    ) -> Iterator[pa.RecordBatch]:
        """Yield every row with ``low`` ≤ key < ``high``, columns as the plan has them; None is open.

        Bounds are text, and only given for a plan that is ``ranged``. Without any, rows with NULL in their
        key come, too. Raises SourceUnavailable unless all of them came.
        """
        ...


class SourceReader(Protocol):
    """Reads a source database without changing it.

    Every method raises SourceUnavailable when the source cannot be reached, refuses, or would hide rows.
    """

    @property
    def snapshot_read(self) -> bool:
        """Whether a snapshot is of one instant. Without it rows are read one by one, each of an instant
        between the snapshot's ``position`` and the source's position once all are read.
        """
        ...

    def plan(self, schema: str, table: str, key: Sequence[str], base_columns: pa.Schema) -> ReadPlan:
        """Return how to read the columns base holds; raises when a key column cannot be compared.

        Of a column that may not be read ``refused`` says so: whether that matters, the comparison knows.
        """
        ...

    def snapshot(self) -> AbstractContextManager[SourceSnapshot]:
        """Open one consistent, read-only view."""
        ...

    def position(self) -> str:
        """Return the source's log position now."""
        ...
