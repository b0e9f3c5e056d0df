"""The rows a merge writes, as a stream sorted by partition and merge key."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table.metadata import TableMetadata

from cdc_platform.events import CONTROL_COLUMNS, CONTROL_PREFIX, ROW
from cdc_platform.lake.data_files import PARTITION_PREFIX
from cdc_platform.lake.event_images import EventImages
from cdc_platform.lake.merge_plan import MergePlan
from cdc_platform.lake.packing import Numbers
from cdc_platform.lake.partitions import partition_expressions
from cdc_platform.lake.staging import FILE
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted

_BATCH_ROWS = 65_536
#: Rows gathered at a time: fewer are gathered more slowly.
_GATHERED_ROWS = 131_072
#: Of fewer rows a file of its own, written beside another, is not worth being one file more to read.
LEAST_ROWS_OF_A_PART = 2 * _GATHERED_ROWS


def rows_to_write(plan: MergePlan, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
    """Yield the rows ``plan`` decided on, with a partition column for each field of the table's spec."""
    if not plan.decision.rows_sql:
        return
    folded = plan.decision.folded
    if folded is not None and not metadata.spec().fields:
        yield from _taken(folded.images.of(schema_to_pyarrow(metadata.schema())), folded.upserts)
        return
    if folded is not None:
        plan.con.register("upserted", folded.upserted())
    rows = f"SELECT {_renamed(plan)} FROM ({plan.decision.rows_sql})"
    if plan.kept and plan.decision.outline_sql and not metadata.spec().fields:
        yield from _gathered(plan, metadata)
        return
    partitions = partition_expressions(plan.con, metadata.spec(), metadata.schema(), rows)
    names = [f"{PARTITION_PREFIX}{number}" for number in range(len(partitions))]
    extra = "".join(f", {value} AS {name}" for name, value in zip(names, partitions, strict=True))
    order = ", ".join([*names, *map(quoted, plan.target.key)])
    query = f"SELECT *{extra} FROM ({rows})" + (f" ORDER BY {order}" if order else "")
    yield from plan.con.execute(query).to_arrow_reader(_BATCH_ROWS)


def parts_to_write(plan: MergePlan, metadata: TableMetadata, most: int) -> list[Iterator[pa.RecordBatch]]:
    """Return the rows as up to ``most`` streams that may be read side by side, each a range of keys.

    Many rows are given so that need no partition: one file would be written by one thread.
    Empty where it has to be one stream, see :func:`rows_to_write`.
    """
    folded = plan.decision.folded
    if not plan.decision.rows_sql or folded is None or metadata.spec().fields:
        return []
    number = min(most, len(folded.upserts) // LEAST_ROWS_OF_A_PART)
    if number < 2:
        return []
    images = folded.images.of(schema_to_pyarrow(metadata.schema()))
    return [_taken(images, rows) for rows in np.array_split(folded.upserts, number)]


def _taken(images: EventImages, rows: Numbers) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(rows), _GATHERED_ROWS):
        yield images.take(rows[start : start + _GATHERED_ROWS])


def _renamed(plan: MergePlan) -> str:
    """Return the SQL of the table's columns, by their own names, from the workspace's."""
    columns = (f"{quoted(alias(name))} AS {quoted(name)}" for name in plan.target.columns)
    return ", ".join([*CONTROL_COLUMNS.names, *columns])


def _gathered(plan: MergePlan, metadata: TableMetadata) -> Iterator[pa.RecordBatch]:
    """Let the engine sort the keys alone, and gather the other columns from the events as they came."""
    key = plan.target.key
    schema = schema_to_pyarrow(metadata.schema())
    wanted = [f for f in schema if f.name not in key and not f.name.startswith(CONTROL_PREFIX)]
    images = EventImages(plan.kept, pa.schema(wanted))
    renamed = ", ".join(f"{quoted(alias(name))} AS {quoted(name)}" for name in key)
    control = ", ".join([*CONTROL_COLUMNS.names, FILE, ROW])
    order = ", ".join(map(quoted, key))
    query = f"SELECT {control}, {renamed} FROM ({plan.decision.outline_sql}) ORDER BY {order}"
    for outline in plan.con.execute(query).to_arrow_reader(_GATHERED_ROWS):
        yield images.fill(outline)
