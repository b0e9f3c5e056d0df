"""Runs the rule a table declares over the staged events and says what is to be written and remembered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import duckdb
import pyarrow as pa
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.types import PrimitiveType

from cdc_platform.config.model import DeleteMode, Images, NoKey, TableConfig
from cdc_platform.errors import SchemaError
from cdc_platform.events import GENERATION, OP, POSITION, Position, PositionKind, before_name
from cdc_platform.lake import keyed, no_key, partial
from cdc_platform.lake.base_rows import BaseRows
from cdc_platform.lake.column_types import arrow_type, duckdb_type
from cdc_platform.lake.direct_load import DirectLoad
from cdc_platform.lake.event_images import ImagesAhead
from cdc_platform.lake.fold import fold_events
from cdc_platform.lake.folded import Fates, FoldedRule, upserted_sql
from cdc_platform.lake.intake import Intake, Reader
from cdc_platform.lake.recall import Recall
from cdc_platform.lake.result import MergeCounts
from cdc_platform.lake.schema import TargetSchema
from cdc_platform.lake.selection import Selection
from cdc_platform.lake.staging import FEW_EVENTS
from cdc_platform.lake.tombstones import Tombstones
from cdc_platform.lake.workspace import alias
from cdc_platform.naming import quoted

#: Why a rule sets an event aside: cause → (reason, mend).
REASONS = {**keyed.REASONS, **partial.REASONS, **no_key.REASONS}

#: Causes that are no fault of the file's: however many of its rows have one, each is decided by itself.
DECIDED_ONE_BY_ONE = frozenset({**keyed.REASONS, **partial.REASONS})

#: Below every position: with it as the oldest, stored positions are read in every candidate file.
_LOWEST = Position(-1, -1)


@dataclass(frozen=True, slots=True)
class Decision:
    """What to write, as SQL over the workspace, whose table ``gone`` names the rows to remove."""

    #: Control columns then the source's; '' for no rows.
    rows_sql: str = ""
    #: The same rows without their images, '' where these are not all events'.
    outline_sql: str = ""
    tombstones_sql: str = ""
    counts: MergeCounts = field(default_factory=MergeCounts)
    #: The rows to write and the tombstones where they were decided on as arrays, in the order of the keys.
    folded: Fates | None = None


def keeps_events(table: TableConfig) -> bool:
    """Return whether :func:`decide` leaves the staged events as they are, whatever becomes of them."""
    return table.no_key is None and table.images is Images.FULL


def identity(table: TableConfig) -> tuple[str, ...]:
    """Return the columns by which the merge knows a row again."""
    return tuple(map(alias, table.safe_key)) or no_key.IDENTITY


def identity_types(target: TargetSchema) -> dict[str, str]:
    """Return the DuckDB types of the identity columns."""
    if not target.key:
        return {GENERATION: "BIGINT", POSITION: "DECIMAL(38, 0)"}
    types = {column: target.columns.get(column) for column in target.key}
    return {alias(c): duckdb_type(kind) or "VARCHAR" if kind else "VARCHAR" for c, kind in types.items()}


def decide(
    con: duckdb.DuckDBPyConnection,
    table: TableConfig,
    target: TargetSchema,
    reader: Reader,
    selection: Selection,
    intake: Intake,
    rows: BaseRows,
    tombstones: Tombstones,
    oldest: Position | None,
) -> Decision:
    """Decide the fate of every staged event, of which ``oldest`` is the lowest position."""
    if not intake.staged:
        con.execute("CREATE TABLE gone (file INTEGER, pos BIGINT)")
        return Decision()
    if table.no_key is None:
        known = (rows, tombstones, oldest or _LOWEST)
        folded = _decide_folded(con, table, target, reader, intake, *known)
        return folded or _decide_keyed(con, table, target, reader.direct, selection, *known)
    return _decide_no_key(con, table.no_key, target, reader, intake, rows, tombstones, oldest or _LOWEST)


def _decide_folded(
    con: duckdb.DuckDBPyConnection,
    table: TableConfig,
    target: TargetSchema,
    reader: Reader,
    intake: Intake,
    rows: BaseRows,
    tombstones: Tombstones,
    oldest: Position,
) -> Decision | None:
    """Decide the fates as arrays, None where only the engine can."""
    floor = tombstones.floor
    is_plain = table.delete_mode == DeleteMode.HARD and table.images == Images.FULL
    # below the floor an event is in doubt
    is_in_doubt = floor is not None and not floor < oldest
    if not is_plain or is_in_doubt or sum(map(len, reader.kept.values())) <= FEW_EVENTS:
        return None
    types = {column: arrow_type(target.columns[column]) or pa.null() for column in target.key}
    fold = fold_events(reader.kept, target.key, types)
    if fold is None:
        return None
    images = ImagesAhead(reader.kept, schema_to_pyarrow(rows.schema) if rows.schema is not None else None)
    rule = FoldedRule(con, fold)
    rule.look_up(rows, tombstones, oldest)
    times = {staged.index: staged.input.accepted.file_time for staged in intake.staged}
    fates = rule.decide(times, images)
    return Decision(rows_sql=upserted_sql(tuple(_aliased(target))), folded=fates, counts=fates.counts)


def _decide_keyed(
    con: duckdb.DuckDBPyConnection,
    table: TableConfig,
    target: TargetSchema,
    direct: DirectLoad | None,
    selection: Selection,
    rows: BaseRows,
    tombstones: Tombstones,
    oldest: Position,
) -> Decision:
    key, kinds = tuple(map(alias, target.key)), _aliased(target)
    alone = direct.fold_in(_other_keys(key, rows, tombstones)) if direct is not None else 0
    soft, partial_images = table.delete_mode == DeleteMode.SOFT, table.images == Images.PARTIAL
    rule = keyed.KeyedRule(con, key, tuple(kinds), soft=soft)
    if partial_images:
        images = partial.PartialImages(con, key, kinds, soft=soft)
        images.touch()
        _look_up(con, rows, tombstones, _LOWEST)
        images.fold(rows, Recall(con, selection, key, kinds))
        con.execute("DROP TABLE touched")
        rule.make_actions()
    else:
        rule.make_actions()
        _look_up(con, rows, tombstones, _LOWEST if soft else oldest)
    rule.decide(tombstones.floor, has_positions=rows.has_positions)
    if tombstones.floor is not None:
        rule.set_aside_lost()
    if soft:
        con.execute(
            "CREATE TABLE shadows AS SELECT image_file AS file, image_pos AS pos FROM fates "
            "WHERE image_file IS NOT NULL"
        )
        rows.images("shadows", "shadow_images", kinds)
    counts = _keyed_counts(con)
    return Decision(
        rule.outcome_sql(tuple(kinds), written=direct.indexes if direct else ()),
        "" if soft else rule.outline_sql(),
        rule.tombstones_sql(),
        replace(counts, rows_inserted=counts.rows_inserted + alone),
    )


def _aliased(target: TargetSchema) -> dict[str, PrimitiveType]:
    return {alias(column): kind for column, kind in target.columns.items()}


def _other_keys(key: Sequence[str], rows: BaseRows, tombstones: Tombstones) -> list[str]:
    """Return SQL for the keys that staged events, the base table and tombstones know."""
    now = ", ".join(map(quoted, key))
    before = ", ".join(f"coalesce({quoted(before_name(c))}, {quoted(c)}) AS {quoted(c)}" for c in key)
    staged = [f"SELECT {now} FROM events", f"SELECT {before} FROM events WHERE {OP} = 'U'"]
    return [*staged, *rows.keys_sql(), *tombstones.keys_sql()]


def _look_up(
    con: duckdb.DuckDBPyConnection, rows: BaseRows, tombstones: Tombstones, oldest: Position
) -> None:
    """Make ``known`` and ``tombs`` for the keys in ``touched``."""
    rows.find(rows.candidates(), oldest)
    tombstones.find(oldest)


def _keyed_counts(con: duckdb.DuckDBPyConnection) -> MergeCounts:
    query = """SELECT
        count(*) FILTER (WHERE fate IN ('upsert', 'shadow') AND NOT has_row),
        count(*) FILTER (WHERE fate = 'upsert' AND has_row),
        count(*) FILTER (WHERE fate IN ('delete', 'shadow') AND has_row),
        count(*) FILTER (WHERE fate = 'delete' AND NOT has_row),
        count(*) FILTER (WHERE fate = 'upsert' AND NOT has_row AND kind = 'U'),
        count(*) FILTER (WHERE fate = 'stale')
        FROM fates"""
    found = con.execute(query).fetchone()
    assert found is not None
    inserted, updated, deleted, missing, lone, stale = map(int, found)
    return MergeCounts(
        rows_inserted=inserted,
        rows_updated=updated,
        rows_deleted=deleted,
        deletes_without_row=missing,
        updates_without_row=lone,
        stale=stale,
    )


def _decide_no_key(
    con: duckdb.DuckDBPyConnection,
    policy: NoKey,
    target: TargetSchema,
    reader: Reader,
    intake: Intake,
    rows: BaseRows,
    tombstones: Tombstones,
    oldest: Position,
) -> Decision:
    sequenced = PositionKind.CHANGE_SEQUENCE.value in intake.position_kinds.values()
    has_before = policy == NoKey.MULTISET and reader.has_full_before
    columns = tuple(_aliased(target))
    rule = no_key.NoKeyRule(con, policy, columns, has_before=has_before, has_sequence=sequenced)
    rule.touch()
    _look_up(con, rows, tombstones, oldest)
    rule.decide()
    rule.match(_equal_rows_sql(con, target, rows))
    query = """SELECT (SELECT count(*) FROM added), (SELECT count(*) FROM gone),
        (SELECT count(*) FROM repeated), (SELECT count(*) FROM events WHERE _cdc_op = 'D')"""
    found = con.execute(query).fetchone()
    assert found is not None
    added, gone, repeated, deletes = map(int, found)
    ignored = deletes if policy == NoKey.APPEND else 0
    counts = MergeCounts(rows_inserted=added, rows_deleted=gone, stale=repeated, ignored=ignored)
    return Decision(rule.outcome_sql(columns), "", rule.tombstones_sql(), counts)


def _equal_rows_sql(con: duckdb.DuckDBPyConnection, target: TargetSchema, rows: BaseRows) -> str:
    """Return SQL for the base rows whose contents equal those of a row in ``removing``."""
    wanted = con.execute("SELECT count(*) FROM removing").fetchone()
    kinds = _aliased(target)
    if rows.schema is None or not wanted or not wanted[0]:
        values = ", ".join(f"NULL::{duckdb_type(kind)} AS {quoted(c)}" for c, kind in kinds.items())
        where = "NULL::BIGINT AS generation, NULL::DECIMAL(38, 0) AS position"
        return f"SELECT 0 AS file, 0::BIGINT AS pos, {where}, {values} WHERE false"
    return rows.equal_sql("removing", tuple(kinds))


def check_declaration(table: TableConfig, source: str) -> None:
    """Raise SchemaError when the table's declaration contradicts itself."""
    if table.no_key == NoKey.MULTISET and table.delete_mode == DeleteMode.SOFT:
        raise SchemaError(
            "a table without a key cannot keep deleted rows",
            where=f"{source}/{table.id}",
            mend="set `delete_mode: hard`, or give the table a `merge_key`",
        )
    if table.no_key and table.images == Images.PARTIAL:
        raise SchemaError(
            "partial images need a merge key to be folded by",
            where=f"{source}/{table.id}",
            mend="set `images: full`, or give the table a `merge_key`",
        )
