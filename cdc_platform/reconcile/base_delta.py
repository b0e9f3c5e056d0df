"""Which rows base gained and lost between two snapshots, whoever made them and whatever they say of it.

Data files and delete files never change, so a data file with the same delete files in both snapshots has the
same rows in both and is not opened. Of a file with other delete files the rows between are read, of files in
one snapshot alone all rows; those cancel where the same bag of rows, by digest, only moved to another file
(compaction). What is left are the keys whose rows changed: no summary, count or statistic is believed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import duckdb
from pyiceberg.table import Table

from cdc_platform.events import OP
from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.live_rows import FILE, POS, LiveFiles, deleted_places_sql, live_files
from cdc_platform.naming import quoted, sql_text
from cdc_platform.reconcile.ascending_keys import places_of
from cdc_platform.reconcile.key_numbers import is_whole
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.window_events import count
from cdc_platform.reconcile.workspace_names import in_workspace

#: Types whose values come back unchanged from their text, and are ordered alike by files' statistics.
_ORDERED = ("SMALLINT", "INTEGER", "BIGINT", "DECIMAL", "DATE", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE")


@dataclass(frozen=True, slots=True)
class FileDelta:
    """The live files of two snapshots: those in one alone, and those whose deletes differ (then, now)."""

    gone: tuple[BaseFile, ...]
    new: tuple[BaseFile, ...]
    #: The same data file, under the number it has now, with the delete files of then and of now.
    changed: tuple[tuple[BaseFile, BaseFile], ...]
    #: The files of now that are in both snapshots.
    old: tuple[BaseFile, ...]

    @property
    def kept(self) -> int:
        """How many files have the same deletes in both."""
        return len(self.old) - len(self.changed)

    @property
    def sentence(self) -> str:
        return (
            f"of base's data files {self.kept:,} are as they were, {len(self.changed):,} have other deletes, "
            f"{len(self.new):,} are new and {len(self.gone):,} gone"
        )


def file_delta(then: LiveFiles, now: LiveFiles) -> FileDelta:
    """Compare two snapshots by the names of their files; nothing is opened."""
    earlier = {one.data.file_path: one for one in then.files}
    later = {one.data.file_path: one for one in now.files}
    both = [(earlier[path], one) for path, one in later.items() if path in earlier]
    changed = [(replace(a, index=b.index), b) for a, b in both if _deletes(a) != _deletes(b)]
    return FileDelta(
        gone=tuple(one for path, one in earlier.items() if path not in later),
        new=tuple(one for path, one in later.items() if path not in earlier),
        changed=tuple(changed),
        old=tuple(one for _, one in both),
    )


def load_base_changes(
    connection: duckdb.DuckDBPyConnection, sides: Sides, base: Table, snapshot_id: int
) -> FileDelta:
    """Make ``base_changes`` (segment, k0…, change): a row base gained since ``snapshot_id`` is 1, lost -1.

    Keys are as base holds them. Also makes ``old_places``: where rows of those keys, and of the keys in
    ``touched_keys``, lie in the files that are in both snapshots. So the key column of these is read once,
    unless rows were deleted that neither raw nor a new row explains. Raises MergeError when the snapshot
    is gone, duckdb.Error when a file is.
    """
    now = live_files(base)
    then = replace(live_files(base, snapshot_id), schema=now.schema)
    delta = file_delta(then, now)
    fields, names = sides.key_fields, ", ".join(sides.key_names)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE base_changes (segment INT, {fields}, change BIGINT)")
    if delta.gone or delta.new:
        rows = _of_files(sides, then, now, delta)
        connection.execute(f"INSERT INTO base_changes SELECT segment, {names}, change FROM ({rows})")
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE sought AS SELECT {names} FROM touched_keys UNION "
        f"SELECT {names} FROM base_changes"
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE old_places (segment INT, {fields}, file INT, pos BIGINT, live BOOLEAN)"
    )
    _add_places(connection, sides, base, now, delta.old)
    _add_of_deletes(connection, sides, base, now, delta)
    return delta


def _add_places(
    connection: duckdb.DuckDBPyConnection,
    sides: Sides,
    base: Table,
    now: LiveFiles,
    files: Sequence[BaseFile],
) -> None:
    """Add where rows of the keys ``sought`` lie in data files, deleted or not, to ``old_places``."""
    if not files or not count(connection, "SELECT count(*) FROM sought"):
        return
    files = _add_of_ascending(connection, sides, base, now, files)
    if not files:
        return
    bare = now.sql(_columns(sides), files=[replace(one, deletes=()) for one in files], with_place=True)
    same = " AND ".join(
        f"b.{quoted(column.column)} = k.k{place}" for place, column in enumerate(sides.plan.key)
    )
    found = f"SELECT b.* FROM {bare} b SEMI JOIN sought k ON {same} WHERE {within_sought(connection, sides)}"
    connection.execute(
        f"""INSERT INTO old_places SELECT {_keyed(sides)}, b.{FILE}, b.{POS}, {sides.view.live_condition}
            FROM ({found}) b"""
    )


def _add_of_ascending(
    connection: duckdb.DuckDBPyConnection,
    sides: Sides,
    base: Table,
    now: LiveFiles,
    files: Sequence[BaseFile],
) -> Sequence[BaseFile]:
    """Add those of files that ascend by the key; return the others."""
    (key, *_) = sides.plan.key
    if not is_whole(sides.key_types) or key.base != "{}" or sides.view.soft_deletes:
        return files
    sought = connection.execute("SELECT k0::BIGINT AS k0 FROM sought WHERE k0 IS NOT NULL ORDER BY 1")
    numbers = sought.to_arrow_table().column(0).to_numpy()
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


def within_sought(connection: duckdb.DuckDBPyConnection, sides: Sides) -> str:
    """Return the SQL condition that a row ``b`` lies between the first and the last key ``sought``.

    It says nothing the keys do not say, but in a form that statistics of files answer: of a table to which
    keys are added in order, most of what is old is not read.
    """
    column, kind = sides.plan.key[0], sides.digest.types[sides.key_places[0]]
    if column.base != "{}" or kind.partition("(")[0] not in _ORDERED:
        return "true"
    row = connection.execute("SELECT min(k0)::VARCHAR, max(k0)::VARCHAR FROM sought").fetchone()
    if row is None or row[0] is None:
        return "true"
    first, last = (f"{sql_text(one)}::{kind}" for one in row)
    return f"b.{quoted(column.column)} BETWEEN {first} AND {last}"


def _add_of_deletes(
    connection: duckdb.DuckDBPyConnection, sides: Sides, base: Table, now: LiveFiles, delta: FileDelta
) -> None:
    """Add the rows whose deletion came, or went, in files that are in both snapshots."""
    if not delta.changed:
        return
    then_deleted = deleted_places_sql([then for then, _ in delta.changed])
    now_deleted = deleted_places_sql([one for _, one in delta.changed])
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE turned AS
            SELECT {FILE} AS file, {POS} AS pos, -1 AS change FROM (({now_deleted}) EXCEPT ({then_deleted}))
            UNION ALL SELECT {FILE}, {POS}, 1 FROM (({then_deleted}) EXCEPT ({now_deleted}))"""
    )
    place = "t.file = o.file AND t.pos = o.pos"
    if count(connection, f"SELECT count(*) FROM turned t ANTI JOIN old_places o ON {place}"):
        _seek_turned(connection, sides, base, now, delta)
    names = ", ".join(f"o.{name}" for name in sides.key_names)
    connection.execute(
        f"""INSERT INTO base_changes SELECT o.segment, {names}, t.change
            FROM turned t JOIN old_places o ON {place} WHERE o.live"""
    )


def _seek_turned(
    connection: duckdb.DuckDBPyConnection, sides: Sides, base: Table, now: LiveFiles, delta: FileDelta
) -> None:
    """Add the places of the keys whose rows turned and that nothing explains."""
    bare = now.sql(
        _columns(sides), files=[replace(one, deletes=()) for _, one in delta.changed], with_place=True
    )
    unknown = "(FROM turned t ANTI JOIN old_places o ON t.file = o.file AND t.pos = o.pos)"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE sought AS SELECT DISTINCT {_named(sides)} FROM {bare} b
            SEMI JOIN {unknown} t ON t.file = b.{FILE} AND t.pos = b.{POS}"""
    )
    _add_places(connection, sides, base, now, delta.old)
    _add_keyless(connection, sides, bare, unknown)


def _add_keyless(connection: duckdb.DuckDBPyConnection, sides: Sides, bare: str, unknown: str) -> None:
    """Add the places of turned rows without a key, which no look-up by key finds."""
    connection.execute(
        f"""INSERT INTO old_places SELECT {_keyed(sides)}, b.{FILE}, b.{POS}, {sides.view.live_condition}
            FROM (SELECT b.* FROM {bare} b SEMI JOIN {unknown} t
                  ON t.file = b.{FILE} AND t.pos = b.{POS}) b"""
    )


def restricted_sql(
    connection: duckdb.DuckDBPyConnection, sides: Sides, base: Table, delta: FileDelta, *, of_changes: bool
) -> str:
    """Return the live rows of those data files that hold a row of ``keys``, as a FROM item.

    ``of_changes``: all keys are of ``touched_keys``, so that ``old_places`` tells where they lie.
    """
    now = live_files(base)
    if not delta.old:
        return now.sql()
    fresh = {one.data.file_path for one in delta.new}
    if not of_changes:
        columns = [column.column for column in sides.plan.key]
        same = " AND ".join(f"b.{quoted(name)} = k.{in_workspace(name)}" for name in columns)
        bare = now.sql(columns, files=[replace(one, deletes=()) for one in delta.old], with_place=True)
        places = f"(SELECT b.{FILE} AS file, b.{POS} AS pos FROM {bare} b SEMI JOIN keys k ON {same})"
    else:
        places = "old_places"
    rows = connection.execute(
        f"""SELECT DISTINCT o.file FROM {places} o ANTI JOIN ({deleted_places_sql(delta.old)}) d
            ON d.{FILE} = o.file AND d.{POS} = o.pos"""
    ).fetchall()
    held = {file for (file,) in rows}
    return now.sql(files=[one for one in now.files if one.data.file_path in fresh or one.index in held])


def _deletes(file: BaseFile) -> frozenset[str]:
    return frozenset(one.file_path for one in file.deletes)


def _of_files(sides: Sides, then: LiveFiles, now: LiveFiles, delta: FileDelta) -> str:
    """Return the query of what files in one snapshot alone add up to; moved rows cancel."""
    if not delta.gone:
        rows = now.sql(_columns(sides), files=delta.new)
        return f"SELECT {_keyed(sides)}, 1 AS change FROM {rows} b {_where(sides)}"
    first, second = sides.digest.lanes(sides.base_values)
    columns = [column.column for column in sides.plan.columns]
    sums = []
    for change, live, files in ((-1, then, delta.gone), (1, now, delta.new)):
        if files:
            rows = live.sql(_columns(sides, columns), files=files)
            sums.append(
                f"SELECT {_keyed(sides)}, {first} AS lane1, {second} AS lane2, {change} AS one "
                f"FROM {rows} b {_where(sides)}"
            )
    names = ", ".join(["segment", *sides.key_names])
    return f"""SELECT {names}, sum(one) AS change FROM ({" UNION ALL ".join(sums)})
        GROUP BY {names}, lane1, lane2 HAVING sum(one) <> 0"""


def _columns(sides: Sides, more: Sequence[str] = ()) -> list[str]:
    names = [column.column for column in sides.plan.key]
    names += [name for name in more if name not in names]
    return [*names, *([OP] if sides.view.soft_deletes else [])]


def _keyed(sides: Sides) -> str:
    """Return SQL of the segment and the key of a base row ``b``."""
    keys = sides.keys_of([f"b.{quoted(column.column)}" for column in sides.plan.key])
    return f"{sides.segments.number_sql(keys)} AS segment, {_named(sides)}"


def _named(sides: Sides) -> str:
    names = zip(sides.plan.key, sides.key_names, strict=True)
    return ", ".join(f"b.{quoted(column.column)} AS {name}" for column, name in names)


def _where(sides: Sides) -> str:
    return f"WHERE {sides.view.live_condition}"
