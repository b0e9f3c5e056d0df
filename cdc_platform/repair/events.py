"""The change events of a repair, made from rows kept as ``touched`` (see :mod:`images`)."""

from __future__ import annotations

import duckdb
import pyarrow as pa
from pyiceberg.schema import Schema

from cdc_platform.errors import ReconciliationError
from cdc_platform.events import (
    COMMITTED_AT,
    EVENT_COLUMNS,
    GENERATION,
    OP,
    POSITION,
    POSITION_TYPE,
    ROW,
    SOURCE_POSITION,
    TIMESTAMP_TYPE,
)
from cdc_platform.lake.column_types import arrow_type
from cdc_platform.naming import quoted, sql_text
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import object_key, repair_key
from cdc_platform.repair.event_file import repair_file_bytes
from cdc_platform.repair.order import Place
from cdc_platform.repair.position import closed_sequence
from cdc_platform.repair.record import EventsFile


def repair_events(
    con: duckdb.DuckDBPyConnection,
    schema: Schema,
    key: tuple[str, ...],
    columns: tuple[str, ...],
    *,
    rows: str,
    image: str,
    place: Place,
    step: int = 0,
    source_position: str,
) -> pa.Table:
    """Return one event for each of ``rows``: SQL that yields op, key_id, ``key_i`` and ``<image>_i``.

    A delete carries its key alone.
    """
    sequence = closed_sequence(place.kind, place.instant, step)
    values = [
        f"key_{key.index(name)} AS {quoted(name)}" if name in key else f"{image}_{i} AS {quoted(name)}"
        for i, name in enumerate(columns)
    ]
    table = con.execute(
        f"""SELECT op AS {OP}, {place.generation}::BIGINT AS {GENERATION},
                   {sequence}::DECIMAL(38, 0) AS {POSITION},
                   TIMESTAMPTZ {sql_text(place.instant.isoformat())} AS {COMMITTED_AT},
                   (row_number() OVER (ORDER BY key_id) - 1)::BIGINT AS {ROW},
                   {sql_text(source_position)} AS {SOURCE_POSITION}, {", ".join(values)}
            FROM ({rows}) r ORDER BY r.key_id"""
    ).to_arrow_table()
    return table.cast(_event_schema(schema, columns))


def _event_schema(schema: Schema, columns: tuple[str, ...]) -> pa.Schema:
    fields: list[pa.Field[pa.DataType]] = [*EVENT_COLUMNS]
    for name in columns:
        kind = arrow_type(schema.find_field(name).field_type)
        if kind is None:
            what = f"column {name!r} of base has a type that no change event carries"
            raise ReconciliationError(what, mend="reload the table to repair it")
        fields.append(pa.field(name, kind))
    assert EVENT_COLUMNS.field(POSITION).type == POSITION_TYPE
    assert EVENT_COLUMNS.field(COMMITTED_AT).type == TIMESTAMP_TYPE
    return pa.schema(fields)


def keep_events(
    objects: ObjectStore,
    schema: Schema,
    events: pa.Table,
    place: Place,
    *,
    repair_id: str,
    part: str,
    window: str,
    step: int = 0,
) -> EventsFile:
    """Store ``events`` as a file that merges take, and return what a manifest says of it."""
    names = {
        field.name: field.doc or field.name for field in schema.fields if field.name in events.schema.names
    }
    data, etag = repair_file_bytes(events, place.kind, names)
    key = repair_key(repair_id, part)
    objects.put(object_key(key), data)
    return EventsFile(
        key=key,
        etag=etag,
        size=len(data),
        window=window,
        instant=place.instant.isoformat(),
        generation=place.generation,
        sequence=str(closed_sequence(place.kind, place.instant, step)),
        kind=place.kind.value,
        rows=events.num_rows,
    )
