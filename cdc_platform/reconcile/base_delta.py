"""Which rows base gained and lost between two snapshots, whoever made them and whatever they say of it.

Data files and delete files never change, so a data file with the same delete files in both snapshots has the
same rows in both and is not opened. Of a file with other delete files the rows between are read, of files in
one snapshot alone all rows; those cancel where the same bag of rows, by digest, only moved to another file
(compaction). What is left are the keys whose rows changed: no summary, count or statistic is believed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

import duckdb
from pyiceberg.table import Table

from cdc_platform.events import OP
from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.live_rows import FILE, POS, LiveFiles, deleted_places_sql, live_files
from cdc_platform.naming import quoted
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.workspace_names import in_workspace


@dataclass(frozen=True, slots=True)
class FileDelta:
    """The live files of two snapshots: those in one alone, and those whose deletes differ (then, now)."""

    gone: tuple[BaseFile, ...]
    new: tuple[BaseFile, ...]
    #: The same data file, under the number it has now, with the delete files of then and of now.
    changed: tuple[tuple[BaseFile, BaseFile], ...]
    kept: int

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
        kept=len(both) - len(changed),
    )


def load_base_changes(
    connection: duckdb.DuckDBPyConnection, sides: Sides, base: Table, snapshot_id: int
) -> FileDelta:
    """Make ``base_changes`` (segment, k0…, change): a row base gained since ``snapshot_id`` is 1, lost -1.

    Keys are as base holds them. Raises MergeError when the snapshot is gone, duckdb.Error when a file is.
    """
    now = live_files(base)
    then = replace(live_files(base, snapshot_id), schema=now.schema)
    delta = file_delta(then, now)
    parts = _of_deletes(sides, now, delta)
    if delta.gone or delta.new:
        parts.append(_of_files(sides, then, now, delta))
    names = ", ".join(_key_names(sides))
    kinds = [sides.digest.types[place] for place in sides.key_places]
    fields = ", ".join(f"k{place} {kind}" for place, kind in enumerate(kinds))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE base_changes (segment INT, {fields}, change BIGINT)")
    for part in parts:
        connection.execute(f"INSERT INTO base_changes SELECT segment, {names}, change FROM ({part})")
    return delta


def restricted_sql(connection: duckdb.DuckDBPyConnection, sides: Sides, base: Table, delta: FileDelta) -> str:
    """Return the live rows of those data files that hold a row of ``keys``, as a FROM item.

    Rows that base gained are in files that were new; where the others have any, their keys alone are read.
    """
    now = live_files(base)
    fresh = {one.data.file_path for one in delta.new}
    old = [one for one in now.files if one.data.file_path not in fresh]
    chosen = [one for one in now.files if one.data.file_path in fresh]
    if old:
        held = _files_with(connection, sides, now, old)
        chosen += [one for one in old if one.index in held]
    return now.sql(files=chosen) if len(chosen) < len(now.files) else now.sql()


def _files_with(
    connection: duckdb.DuckDBPyConnection, sides: Sides, now: LiveFiles, files: Sequence[BaseFile]
) -> Collection[int]:
    columns = [column.column for column in sides.plan.key]
    same = " AND ".join(f"b.{quoted(name)} = k.{in_workspace(name)}" for name in columns)
    rows = connection.execute(
        f"SELECT DISTINCT b.{FILE} FROM {now.sql(columns, files=files, with_place=True)} b "
        f"SEMI JOIN keys k ON {same}"
    ).fetchall()
    return {file for (file,) in rows}


def _deletes(file: BaseFile) -> frozenset[str]:
    return frozenset(one.file_path for one in file.deletes)


def _of_deletes(sides: Sides, now: LiveFiles, delta: FileDelta) -> list[str]:
    """Return queries of the rows whose deletion came, or went, in files that are in both snapshots."""
    if not delta.changed:
        return []
    then_deleted = deleted_places_sql([then for then, _ in delta.changed])
    now_deleted = deleted_places_sql([one for _, one in delta.changed])
    bare = [replace(one, deletes=()) for _, one in delta.changed]
    rows = now.sql(_columns(sides), files=bare, with_place=True)
    place = f"p.{FILE} = b.{FILE} AND p.{POS} = b.{POS}"
    parts = []
    for change, places in ((-1, (now_deleted, then_deleted)), (1, (then_deleted, now_deleted))):
        between = f"(({places[0]}) EXCEPT ({places[1]}))"
        live = f"SELECT b.* FROM {rows} b SEMI JOIN {between} p ON {place}"
        parts.append(f"SELECT {_keyed(sides)}, {change} AS change FROM ({live}) b {_where(sides)}")
    return parts


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
    names = ", ".join(["segment", *_key_names(sides)])
    return f"""SELECT {names}, sum(one) AS change FROM ({" UNION ALL ".join(sums)})
        GROUP BY {names}, lane1, lane2 HAVING sum(one) <> 0"""


def _columns(sides: Sides, more: Sequence[str] = ()) -> list[str]:
    names = [column.column for column in sides.plan.key]
    names += [name for name in more if name not in names]
    return [*names, *([OP] if sides.view.soft_deletes else [])]


def _keyed(sides: Sides) -> str:
    """Return SQL of the segment and the key of a base row ``b``."""
    values = [column.base.format(f"b.{quoted(column.column)}") for column in sides.plan.key]
    kinds = [sides.digest.types[place] for place in sides.key_places]
    typed = [f"({value})::{kind}" for value, kind in zip(values, kinds, strict=True)]
    raw = [f"b.{quoted(column.column)} AS k{place}" for place, column in enumerate(sides.plan.key)]
    return ", ".join([f"{sides.segments.number_sql(typed)} AS segment", *raw])


def _key_names(sides: Sides) -> list[str]:
    return [f"k{place}" for place in range(len(sides.plan.key))]


def _where(sides: Sides) -> str:
    return f"WHERE {sides.view.live_condition}"
