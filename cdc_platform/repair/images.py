"""What the keys to repair hold now and what they are to hold: SQL over the workspace of a comparison.

A column that is equal under its rule keeps base's own form of the value, and a column that is not compared
keeps base's value; the others take the source's, in the form DMS would have given it and in base's type. An
image that would still differ from the source then is not written: its key is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa
from pyiceberg.schema import Schema

from cdc_platform.config.model import Images
from cdc_platform.errors import ReconciliationError
from cdc_platform.lake.column_types import duckdb_type
from cdc_platform.reconcile.base_rows import spelled
from cdc_platform.reconcile.key_outcomes import Outcome
from cdc_platform.reconcile.sources import ColumnPlan, ReadPlan
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.typed import differs_sql
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.repair.judge import Judged

#: Kinds of differences a merge can mend, by their outcome.
KINDS = {
    Outcome.MISSING: "missing",
    Outcome.UNEXPECTED: "unexpected",
    Outcome.CHANGED: "changed",
    Outcome.DUPLICATE: "duplicate",
    Outcome.SPELLED: "written otherwise",
}

_LAST_DAY, _FIRST_DAY = "DATE '9999-12-31'", "DATE '0001-01-01'"
_LAST_MOMENT = "'9999-12-31 23:59:59.999999'"
_FIRST_MOMENT = "'0001-01-01 00:00:00'"


@dataclass(frozen=True, slots=True)
class ImageColumns:
    """The columns of base with their DuckDB types, and how those that are compared are read."""

    types: Mapping[str, str]
    plans: Mapping[str, ColumnPlan]
    key: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """The columns, in base's order."""
        return tuple(self.types)


def image_columns(schema: Schema, subject: Subject, plan: ReadPlan) -> ImageColumns:
    """Return the columns an image has. Raises ReconciliationError for a type no event can carry."""
    types = {}
    for name in subject.view.columns.names:
        kind = duckdb_type(schema.find_field(name).field_type)
        if kind is None:
            what = f"column {name!r} of base has a type that no change event carries"
            raise ReconciliationError(what, where=subject.where, mend="reload the table to repair it")
        types[name] = kind
    return ImageColumns(types, {column.column: column for column in plan.columns}, subject.key)


def make_images(judged: Judged, columns: ImageColumns, *, upserts_only: bool) -> dict[str, int]:
    """Make ``touched``: a row for each key to repair, with its row before and after.

    Columns: key_id, outcome, op, generation and position (the highest base knows of the key, NULL for none),
    several, has_before, and for column number i of base ``before_i`` and ``after_i``, for the key ``key_i``.
    Returns why the others of the keys that differ are left out, with how many.
    """
    con = judged.con
    certain = "NOT o.awaited AND NOT o.moved AND NOT o.later" if judged.tally.different else "false"
    partial = judged.subject.table.images is Images.PARTIAL
    con.execute(f"CREATE OR REPLACE TEMP TABLE images AS {_images_sql(judged, columns, certain, partial)}")
    left_out = {
        "in flight": judged.tally.in_flight,
        "several rows of the key in the source": _count(
            con,
            f"SELECT count(*) FROM source_outcomes o WHERE o.outcome = {Outcome.AMBIGUOUS:d} AND {certain}",
        ),
        "the source's value does not fit base's type": _remove(con, _unfit(columns)),
        "base has columns of the source that cannot be compared": _remove(
            con, "outcome = 1" if _is_partly_read(judged, columns) else "false"
        ),
        "the source writes the key otherwise": _remove(con, _not_replaced(judged)),
        "delete, and only rows of the source are written": _remove(
            con, "op = 'D'" if upserts_only else "false"
        ),
    }
    con.execute("CREATE OR REPLACE TEMP TABLE touched AS SELECT * EXCLUDE (source_row) FROM images")
    return {why: count for why, count in left_out.items() if count}


def changed_columns(con: duckdb.DuckDBPyConnection, columns: ImageColumns) -> dict[str, int]:
    """Return in how many rows that stay each column changes, of those that change at all."""
    counts = ", ".join(
        f"count(*) FILTER ({differs_sql(f'before_{i}', f'after_{i}')})" for i in range(len(columns.names))
    )
    row = con.execute(f"SELECT {counts} FROM touched WHERE op <> 'D' AND has_before").fetchone()
    pairs = zip(columns.names, row or (), strict=True)
    return {name: int(count) for name, count in pairs if count}


def _images_sql(judged: Judged, columns: ImageColumns, certain: str, partial: bool) -> str:
    plans, wanted = columns.plans, ", ".join(str(int(outcome)) for outcome in KINDS)
    before = [f"b.{in_workspace(name)} AS before_{i}" for i, name in enumerate(columns.names)]
    after = [f"{_after(name, columns)} AS after_{i}" for i, name in enumerate(columns.names)]
    keys = [
        f"coalesce(b.{in_workspace(name)}, "
        f"TRY_CAST(k.{in_workspace(name)} AS {columns.types[name]})) AS key_{i}"
        for i, name in enumerate(columns.key)
    ]
    assert set(columns.key) <= set(plans)
    stays = "'I'" if partial else "CASE WHEN o.base_row IS NULL THEN 'I' ELSE 'U' END"
    live = judged.subject.view.live_condition
    return f"""
        WITH outcomes AS (
            -- a row whose key the source writes otherwise is none of this key's
            SELECT * REPLACE (CASE WHEN outcome <> {Outcome.SPELLED:d} THEN source_row END AS source_row)
            FROM source_outcomes),
        known AS (
            SELECT key_id, max({{g: generation, p: position}}) AS place FROM (
                SELECT key_id, _cdc_generation AS generation, _cdc_position AS position FROM base_rows
                UNION ALL SELECT key_id, generation, position FROM tombstones) GROUP BY key_id),
        rows_of AS (SELECT key_id, count(*) AS n FROM base_rows b WHERE {live} GROUP BY key_id)
        SELECT o.key_id, o.outcome, o.source_row,
               CASE WHEN o.source_row IS NULL THEN 'D' ELSE {stays} END AS op,
               n.place.g AS generation, n.place.p AS position, coalesce(c.n, 0) > 1 AS several,
               o.base_row IS NOT NULL AS has_before, {", ".join([*keys, *before, *after])}
        FROM outcomes o JOIN keys k ON k.key_id = o.key_id
        LEFT JOIN source_rows s ON s.rowid = o.source_row
        LEFT JOIN base_rows b ON b.rowid = o.base_row
        LEFT JOIN known n ON n.key_id = o.key_id
        LEFT JOIN rows_of c ON c.key_id = o.key_id
        WHERE o.outcome IN ({wanted}) AND {certain} {_other_spellings(judged, columns, certain)}"""


def _other_spellings(judged: Judged, columns: ImageColumns, certain: str) -> str:
    """Return what adds the deletes of other spellings of a key (padding), which a merge takes for other keys.

    Two of a key's spellings may have been looked up: what is done for both is done once.
    """
    assert judged.plan is not None
    names = list(spelled(judged.plan))
    if not names:
        return ""
    key = ", ".join(f"b.{in_workspace(name)}" for name in columns.key)
    before = [f"b.{in_workspace(name)}" for name in columns.names]
    is_other = " OR ".join(f"b.{in_workspace(name)} <> f.{in_workspace(name)}" for name in names)
    after = ", ".join("NULL" for _ in columns.names)
    keys = ", ".join(f"key_{i}" for i in range(len(columns.key)))
    return f"""
        QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY o.key_id) = 1
        UNION ALL
        SELECT o.key_id, o.outcome, NULL, 'D', n.place.g, n.place.p, true, true,
               {key}, {", ".join(before)}, {after}
        FROM source_outcomes o JOIN base_rows f ON f.rowid = o.base_row
        JOIN base_rows b ON b.key_id = o.key_id
        LEFT JOIN known n ON n.key_id = o.key_id
        WHERE o.outcome = {Outcome.DUPLICATE:d} AND ({is_other}) AND {certain}
          AND {judged.subject.view.live_condition}
        QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY o.key_id) = 1"""


def _after(name: str, columns: ImageColumns) -> str:
    """Return SQL for a column's value after the repair; a deleted row has none."""
    own, plan = f"b.{in_workspace(name)}", columns.plans.get(name)
    if plan is None:
        return f"CASE WHEN o.source_row IS NOT NULL THEN {own} END"
    taken = f"TRY_CAST({_as_dms_writes(plan)} AS {columns.types[name]})"
    kept = f"o.base_row IS NOT NULL AND NOT {unequal(plan, f's.{in_workspace(name)}', own)}"
    return f"CASE WHEN o.source_row IS NULL THEN NULL WHEN {kept} THEN {own} ELSE {taken} END"


def unequal(plan: ColumnPlan, left: str, right: str) -> str:
    """Return the SQL condition that a source value and one of base differ under the column's rule."""
    base = plan.base.format(right)
    differs = differs_sql(left, base)
    if plan.also is None:
        return f"({differs})"
    return f"({differs} AND NOT coalesce({plan.also.format(source=left, base=base)}, false))"


def _as_dms_writes(plan: ColumnPlan) -> str:
    """Return SQL for the source's value with what DMS does to the ends of dates and times."""
    value = f"s.{in_workspace(plan.column)}"
    # greatest and least pass over NULL
    if pa.types.is_date(plan.arrow):
        return f"CASE WHEN {value} IS NOT NULL THEN greatest(least({value}, {_LAST_DAY}), {_FIRST_DAY}) END"
    if isinstance(plan.arrow, pa.TimestampType):
        kind = "TIMESTAMPTZ" if plan.arrow.tz else "TIMESTAMP"
        zone = "+00" if plan.arrow.tz else ""
        last, first = (f"{kind} {text[:-1]}{zone}'" for text in (_LAST_MOMENT, _FIRST_MOMENT))
        return f"CASE WHEN {value} IS NOT NULL THEN greatest(least({value}, {last}), {first}) END"
    if pa.types.is_time(plan.arrow):
        micros = f"least(epoch_us({value}) // 1000 * 1000, 86399999000)"
        return f"CASE WHEN {value} IS NOT NULL THEN TIME '00:00:00' + to_microseconds({micros}) END"
    return value


def _unfit(columns: ImageColumns) -> str:
    """Return the condition on ``images`` that a row would differ from the source even once written."""
    differs = [
        unequal(columns.plans[name], f"s.{in_workspace(name)}", f"i.after_{i}")
        for i, name in enumerate(columns.names)
        if name in columns.plans
    ]
    null_key = " OR ".join(f"key_{i} IS NULL" for i in range(len(columns.key)))
    return f"""{null_key} OR key_id IN (
        SELECT i.key_id FROM images i JOIN source_rows s ON s.rowid = i.source_row
        WHERE {" OR ".join(differs)})"""


def _not_replaced(judged: Judged) -> str:
    """Return the condition on ``images`` that a key is written otherwise, and that its row will not be."""
    assert judged.plan is not None
    names = [in_workspace(column.column) for column in judged.plan.key]
    same = " AND ".join(f"k.{name} = s.{name}" for name in names)
    return f"""outcome = {Outcome.SPELLED:d} AND key_id NOT IN (
        SELECT o.key_id FROM source_outcomes o
        JOIN source_rows s ON s.rowid = o.source_row JOIN keys k ON {same}
        JOIN source_outcomes w ON w.key_id = k.key_id AND NOT (w.awaited OR w.moved OR w.later)
        LEFT JOIN images i ON i.key_id = k.key_id AND i.op <> 'D'
        WHERE w.outcome = {Outcome.EQUAL:d} OR i.key_id IS NOT NULL)"""


def _is_partly_read(judged: Judged, columns: ImageColumns) -> bool:
    """Whether the source has a value for a column of base that could not be compared: a new row lacks it."""
    assert judged.plan is not None
    there: Sequence[str] = [column.safe_name for column in judged.plan.table.columns]
    return any(name in there for name in columns.names if name not in columns.plans)


def _remove(con: duckdb.DuckDBPyConnection, condition: str) -> int:
    removed = con.execute(f"DELETE FROM images WHERE {condition}").fetchone()
    return int(removed[0]) if removed else 0


def _count(con: duckdb.DuckDBPyConnection, query: str) -> int:
    row = con.execute(query).fetchone()
    return int(row[0]) if row else 0
