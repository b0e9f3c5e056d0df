"""Where rows with certain keys lie in data files of base, deleted or not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import duckdb
import numpy as np
from pyiceberg.table import Table

from cdc_platform.events import OP
from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.live_rows import FILE, POS, LiveFiles
from cdc_platform.naming import quoted, sql_text
from cdc_platform.reconcile.ascending_keys import places_of
from cdc_platform.reconcile.key_numbers import is_whole
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.window_events import count

#: Types whose values come back unchanged from their text, and are ordered alike by files' statistics.
_ORDERED = ("SMALLINT", "INTEGER", "BIGINT", "DECIMAL", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")
#: More keys are not held in memory to search for them, which takes some 50 bytes each.
_MOST_SEARCHED = 4_000_000


def add_places(
    connection: duckdb.DuckDBPyConnection,
    sides: Sides,
    base: Table,
    now: LiveFiles,
    files: Sequence[BaseFile],
    sought: str,
) -> None:
    """Add where rows of the keys in the table ``sought``, each once, lie in ``files`` to ``old_places``."""
    keys = count(connection, f"SELECT count(*) FROM {sought}")
    if not files or not keys:
        return
    if keys <= _MOST_SEARCHED:
        files = _add_of_ascending(connection, sides, base, now, files, sought)
    if not files:
        return
    bare = now.sql(key_columns(sides), files=[replace(one, deletes=()) for one in files], with_place=True)
    same = " AND ".join(
        f"b.{quoted(column.column)} = k.k{place}" for place, column in enumerate(sides.plan.key)
    )
    within = within_sought(connection, sides, sought)
    found = f"SELECT b.* FROM {bare} b SEMI JOIN {sought} k ON {same} WHERE {within}"
    connection.execute(
        f"""INSERT INTO old_places SELECT {keyed(sides)}, b.{FILE}, b.{POS}, {sides.view.live_condition}
            FROM ({found}) b"""
    )


def _add_of_ascending(
    connection: duckdb.DuckDBPyConnection,
    sides: Sides,
    base: Table,
    now: LiveFiles,
    files: Sequence[BaseFile],
    sought: str,
) -> Sequence[BaseFile]:
    """Add those of files that ascend by the key; return the others."""
    (key, *_) = sides.plan.key
    if not is_whole(sides.key_types) or key.base != "{}" or sides.view.soft_deletes:
        return files
    rows = connection.execute(f"SELECT k0::BIGINT AS k0 FROM {sought} WHERE k0 IS NOT NULL")
    # without repeats already, and a sort is quicker than the hash table of numpy.unique
    numbers = np.sort(rows.fetchnumpy()["k0"])
    if not len(numbers):
        return files
    (threads,) = connection.execute("SELECT current_setting('threads')").fetchone() or (1,)
    field_id = now.schema.find_field(key.column).field_id
    found, left = places_of(base.io, files, field_id, numbers, int(threads))
    connection.register("found_places", found)
    try:
        number = sides.segments.number_sql(sides.keys_of(["p.k0"]))
        connection.execute(
            f"INSERT INTO old_places SELECT {number}, p.k0, p.file, p.pos, true FROM found_places p"
        )
    finally:
        connection.unregister("found_places")
    return left


def within_sought(connection: duckdb.DuckDBPyConnection, sides: Sides, sought: str) -> str:
    """Return the SQL condition that a row ``b`` lies between the first and the last key in ``sought``.

    It says nothing the keys do not say, but in a form that statistics of files answer: of a table to which
    keys are added in order, most of what is old is not read.
    """
    column, kind = sides.plan.key[0], sides.digest.types[sides.key_places[0]]
    if column.base != "{}" or kind.partition("(")[0] not in _ORDERED:
        return "true"
    row = connection.execute(f"SELECT min(k0)::VARCHAR, max(k0)::VARCHAR FROM {sought}").fetchone()
    if row is None or row[0] is None:
        return "true"
    first, last = (f"{sql_text(one)}::{kind}" for one in row)
    return f"b.{quoted(column.column)} BETWEEN {first} AND {last}"


def key_columns(sides: Sides, more: Sequence[str] = ()) -> list[str]:
    """Return what is read of base's rows: their key, what tells remembered deletes, and ``more``."""
    names = [column.column for column in sides.plan.key]
    names += [name for name in more if name not in names]
    return [*names, *([OP] if sides.view.soft_deletes else [])]


def keyed(sides: Sides) -> str:
    """Return SQL of the segment and the key of a base row ``b``."""
    keys = sides.keys_of([f"b.{quoted(column.column)}" for column in sides.plan.key])
    return f"{sides.segments.number_sql(keys)} AS segment, {named(sides)}"


def named(sides: Sides) -> str:
    """Return SQL of the key of a base row ``b``."""
    names = zip(sides.plan.key, sides.key_names, strict=True)
    return ", ".join(f"b.{quoted(column.column)} AS {name}" for column, name in names)
