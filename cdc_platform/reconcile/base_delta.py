"""Which rows base gained and lost between two snapshots, whoever made them and whatever they say of it.

Data files and delete files never change, so a data file with the same delete files in both snapshots has the
same rows in both and is not opened. Of a file with other delete files the rows between are read, of files in
one snapshot alone all rows; those cancel where the same bag of rows, by digest, only moved to another file
(compaction). What is left are the keys whose rows changed: no summary, count or statistic is believed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import duckdb
from pyiceberg.table import Table

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.live_rows import FILE, POS, LiveFiles, deleted_places_sql, live_files
from cdc_platform.lake.maintenance.intact import check_files
from cdc_platform.naming import quoted
from cdc_platform.reconcile.key_places import add_places, key_columns, keyed
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.window_events import count
from cdc_platform.reconcile.workspace_names import in_workspace


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

    Keys are as base holds them. ``touched_keys`` gains them, without repeats. Also makes ``old_places``:
    where rows of these keys lie in the files that are in both snapshots. So the key column of these is read
    once, unless rows were deleted that neither raw nor a new row explains. Raises MergeError when the
    snapshot is gone or a file missing or damaged, duckdb.Error, OSError or ArrowException when a file is.
    """
    now = live_files(base)
    # the rest takes a file that has the name it had to hold what it held
    check_files(base, now)
    then = replace(live_files(base, snapshot_id), schema=now.schema)
    delta = file_delta(then, now)
    fields, names = sides.key_fields, ", ".join(sides.key_names)
    connection.execute(f"CREATE OR REPLACE TEMP TABLE base_changes (segment INT, {fields}, change BIGINT)")
    if delta.gone or delta.new:
        rows = _of_files(sides, then, now, delta)
        connection.execute(f"INSERT INTO base_changes SELECT segment, {names}, change FROM ({rows})")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE touched_keys AS SELECT DISTINCT segment, {names} FROM (
                SELECT segment, {names} FROM touched_keys UNION ALL
                SELECT segment, {names} FROM base_changes)"""
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE old_places (segment INT, {fields}, file INT, pos BIGINT, live BOOLEAN)"
    )
    add_places(connection, sides, base, now, delta.old, "touched_keys")
    _add_of_deletes(connection, sides, base, now, delta)
    return delta


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
            SELECT {FILE} AS file, {POS} AS pos, CASE WHEN bool_or(is_now) THEN -1 ELSE 1 END AS change
            FROM (SELECT *, false AS is_now FROM ({then_deleted}) UNION ALL
                  SELECT *, true FROM ({now_deleted}))
            GROUP BY ALL HAVING bool_and(is_now) OR NOT bool_or(is_now)"""
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
        key_columns(sides), files=[replace(one, deletes=()) for _, one in delta.changed], with_place=True
    )
    unknown = "(FROM turned t ANTI JOIN old_places o ON t.file = o.file AND t.pos = o.pos)"
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE unexplained AS SELECT DISTINCT {keyed(sides)} FROM {bare} b
            SEMI JOIN {unknown} t ON t.file = b.{FILE} AND t.pos = b.{POS}"""
    )
    connection.execute("INSERT INTO touched_keys FROM unexplained")
    add_places(connection, sides, base, now, delta.old, "unexplained")
    _add_keyless(connection, sides, bare, unknown)


def _add_keyless(connection: duckdb.DuckDBPyConnection, sides: Sides, bare: str, unknown: str) -> None:
    """Add the places of turned rows without a key, which no look-up by key finds."""
    connection.execute(
        f"""INSERT INTO old_places SELECT {keyed(sides)}, b.{FILE}, b.{POS}, {sides.view.live_condition}
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
        rows = now.sql(key_columns(sides), files=delta.new)
        return f"SELECT {keyed(sides)}, 1 AS change FROM {rows} b {_where(sides)}"
    first, second = sides.digest.lanes(sides.base_values)
    columns = [column.column for column in sides.plan.columns]
    sums = []
    for change, live, files in ((-1, then, delta.gone), (1, now, delta.new)):
        if files:
            rows = live.sql(key_columns(sides, columns), files=files)
            sums.append(
                f"SELECT {keyed(sides)}, {first} AS lane1, {second} AS lane2, {change} AS one "
                f"FROM {rows} b {_where(sides)}"
            )
    names = ", ".join(["segment", *sides.key_names])
    return f"""SELECT {names}, sum(one) AS change FROM ({" UNION ALL ".join(sums)})
        GROUP BY {names}, lane1, lane2 HAVING sum(one) <> 0"""


def _where(sides: Sides) -> str:
    return f"WHERE {sides.view.live_condition}"
