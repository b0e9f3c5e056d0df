"""Drafting a repair: judge the keys, make their images, weigh the guards, keep the plan."""

from __future__ import annotations

import io
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import pyarrow.parquet as pq
from pyiceberg.table import Table

from cdc_platform.config.repair import RepairOptions
from cdc_platform.errors import ReconciliationError
from cdc_platform.events import Position
from cdc_platform.lake.live_batches import live_row_count
from cdc_platform.lake.live_rows import FILE, live_files
from cdc_platform.naming import quoted
from cdc_platform.pipeline import Platform
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.raw.repairs import FOLDER
from cdc_platform.reconcile.key_outcomes import Outcome
from cdc_platform.reconcile.scopes import WHOLE
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.typed import json_value
from cdc_platform.repair.guards import Seen, guards
from cdc_platform.repair.images import KINDS, ImageColumns, changed_columns, image_columns, make_images
from cdc_platform.repair.judge import Judged, judged_run, judged_window
from cdc_platform.repair.order import Place, place_of
from cdc_platform.repair.record import Guard, Repair, RepairState, read_repair, store_new

#: Rows a plan shows, and files whose partitions it names.
PREVIEW_ROWS = 20


@dataclass(frozen=True, slots=True)
class Ask:
    """What a repair is asked for. ``run_id`` is the reconciliation that led to it.

    Where ``window`` stands for the whole table, the keys are those that run found different.
    """

    source: str
    table_id: str
    window: str
    by: str
    run_id: str | None = None
    upserts_only: bool = False
    limits: RepairOptions = field(default_factory=RepairOptions)


@dataclass(slots=True)
class Draft:
    """A plan in the making: the comparison's workspace with ``touched`` (see :mod:`images`)."""

    ask: Ask
    judged: Judged
    base: Table
    columns: ImageColumns
    place: Place | None
    left_out: Mapping[str, int]
    guards: tuple[Guard, ...]
    started: float

    @property
    def con(self) -> duckdb.DuckDBPyConnection:
        """The workspace."""
        return self.judged.con

    @property
    def subject(self) -> Subject:
        """The window and the pinned base."""
        return self.judged.subject


@contextmanager
def drafted(platform: Platform, ask: Ask) -> Iterator[Draft]:
    """Compare the window, or the keys of a full run, with the source and draft the repair of what differs."""
    started = time.monotonic()
    with _judged(platform, ask) as judged:
        subject = judged.subject
        base = platform.lake.load(ask.source, ask.table_id)
        if base is None or base.snapshot_by_id(subject.view.snapshot_id or 0) is None:
            what = "the snapshot of base that was compared is gone"
            raise ReconciliationError(what, where=subject.where, mend="plan the repair again")
        columns = ImageColumns({}, {}, subject.key)
        left_out = judged.left_open
        if judged.plan is not None:
            columns = image_columns(base.schema(), subject, judged.plan)
            left_out |= make_images(judged, columns, upserts_only=ask.upserts_only)
        else:
            judged.con.execute(
                "CREATE TEMP TABLE touched AS SELECT 0 AS key_id, '' AS op, 0 AS outcome LIMIT 0"
            )
        place, no_place = _place(platform, judged)
        seen = _seen(judged, base, place, no_place)
        yield Draft(ask, judged, base, columns, place, left_out, guards(seen, ask.limits), started)


def _judged(platform: Platform, ask: Ask) -> AbstractContextManager[Judged]:
    if ask.window in WHOLE:
        return judged_run(platform, ask.source, ask.table_id, ask.run_id or "")
    return judged_window(platform, ask.source, ask.table_id, ask.window)


def keep_plan(draft: Draft, objects: ObjectStore) -> Repair:
    """Store the draft as a plan with an id, with its keys unless guards refuse it, and return it."""
    con, judged = draft.con, draft.judged
    now = datetime.now(UTC)
    repair_id = f"{now:%Y%m%dT%H%M%S}-{secrets.token_hex(3)}"
    keys = count_rows(con, "touched")
    refused = any(not guard.passed for guard in draft.guards)
    planned = None
    if keys and not refused:
        planned = keep_rows(con, "touched", objects, f"{FOLDER}/{repair_id}/planned.parquet")
    partitions, files = _touched_files(draft) if planned else ({}, 0)
    comparison = judged.comparison
    repair = Repair(
        id=repair_id,
        source=draft.ask.source,
        table_id=draft.ask.table_id,
        window=draft.ask.window,
        run_id=draft.ask.run_id,
        by=draft.ask.by,
        created_at=now.isoformat(timespec="milliseconds"),
        state=RepairState.PLANNED,
        snapshot_id=str(draft.subject.view.snapshot_id),
        source_position=(comparison.source_position if comparison else None) or "",
        compared=judged.compared,
        ops=_ops(con),
        kinds=_kinds(con),
        left_out=dict(draft.left_out),
        columns_changed=changed_columns(con, draft.columns) if keys else {},
        partitions=partitions,
        files=files,
        guards=draft.guards,
        upserts_only=draft.ask.upserts_only,
        key=draft.columns.key,
        columns=draft.columns.names,
        excluded={one.column: one.reason for one in judged.plan.excluded} if judged.plan else {},
        preview=tuple(preview(con, draft.columns)) if keys else (),
        planned=planned,
        seconds=round(time.monotonic() - draft.started, 3),
    )
    store_new(objects, repair)
    return read_repair(objects, repair_id, repair.where)


def _ops(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    found = dict(con.execute("SELECT op, count(*) FROM touched GROUP BY op").fetchall())
    return {name: int(found.get(op, 0)) for name, op in (("insert", "I"), ("update", "U"), ("delete", "D"))}


def _kinds(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    found = con.execute("SELECT outcome, count(*) FROM touched GROUP BY outcome ORDER BY outcome").fetchall()
    return {KINDS[Outcome(outcome)]: int(count) for outcome, count in found}


def _place(platform: Platform, judged: Judged) -> tuple[Place | None, str]:
    if judged.instant is None or not count_rows(judged.con, "touched"):
        return None, ""
    try:
        accepted = platform.accepted(judged.subject.source_name, judged.subject.table.id)
        return place_of(judged.subject, accepted, judged.instant), ""
    except ReconciliationError as error:
        return None, f"{error.what} → {error.mend}"


def _seen(judged: Judged, base: Table, place: Place | None, no_place: str) -> Seen:
    live = live_files(base, judged.subject.view.snapshot_id)
    return Seen(
        keys=count_rows(judged.con, "touched"),
        deletes=count_rows(judged.con, f"touched WHERE op = 'D' AND outcome <> {Outcome.SPELLED:d}"),
        compared=judged.compared,
        # other writers leave deletes of files that are gone in a snapshot's totals
        base_rows=live_row_count(live, base.io),
        source_rows=judged.source_rows,
        unverified=judged.tally.unverified,
        incomplete=judged.incomplete,
        is_whole=judged.run is not None,
        place=place.position if place is not None else None,
        no_place=no_place,
        highest=_highest(judged) if place is not None else None,
    )


def _highest(judged: Judged) -> Position | None:
    query = """SELECT place.g, place.p FROM (
        SELECT max({g: generation, p: position}) AS place FROM touched WHERE generation IS NOT NULL)"""
    row = judged.con.execute(query).fetchone()
    floor = judged.subject.record.tombstone_floor
    found = [Position(int(row[0]), int(row[1]))] if row and row[0] is not None else []
    return max([*found, *([floor] if floor else [])], default=None)


def preview(con: duckdb.DuckDBPyConnection, columns: ImageColumns) -> Iterator[dict[str, Any]]:
    """Yield some of the rows to touch, of every kind: key, and the columns that change before and after."""
    shown = f"""SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY outcome ORDER BY key_id) AS place
                FROM touched) ORDER BY place, outcome LIMIT {PREVIEW_ROWS}"""
    found = con.sql(shown)
    names = [_shown(*pair) for pair in zip(found.columns, found.types, strict=True)]
    for row in found.project(", ".join(names)).to_arrow_table().to_pylist():
        pairs = [(name, row[f"before_{i}"], row[f"after_{i}"]) for i, name in enumerate(columns.names)]
        both = row["op"] != "D" and row["has_before"]
        yield {
            "kind": KINDS[Outcome(row["outcome"])],
            "op": row["op"],
            "key": {name: json_value(row[f"key_{i}"]) for i, name in enumerate(columns.key)},
            "before": _side(pairs, 1, both) if row["has_before"] else None,
            "after": _side(pairs, 2, both) if row["op"] != "D" else None,
        }


def _side(pairs: Sequence[tuple[str, Any, Any]], side: int, both: bool) -> dict[str, Any]:
    return {pair[0]: json_value(pair[side]) for pair in pairs if not both or pair[1] != pair[2]}


def _shown(name: str, type_: object) -> str:
    """Return the SQL that shows a value: dates and times beyond Python's years only exist as text."""
    temporal = str(type_).startswith(("TIMESTAMP", "DATE"))
    return f"CAST({quoted(name)} AS VARCHAR) AS {quoted(name)}" if temporal else quoted(name)


def _touched_files(draft: Draft) -> tuple[dict[str, int], int]:
    """Return the rows of base to replace or delete by partition, and how many data files hold them."""
    live = live_files(draft.base, draft.subject.view.snapshot_id)
    keys = [quoted(name) for name in draft.columns.key]
    same = " AND ".join(f"r.{name} = t.key_{i}" for i, name in enumerate(keys))
    located = live.sql(list(draft.columns.key), with_place=True)
    rows = draft.con.execute(
        f"SELECT r.{FILE}, count(*) FROM {located} r JOIN touched t ON {same} GROUP BY ALL"
    ).fetchall()
    spec, names = draft.base.spec(), dict[str, int]()
    for index, count in rows:
        partition = live.files[index].data.partition
        values = [f"{field.name}={partition[at]}" for at, field in enumerate(spec.fields)]
        name = "/".join(values) or "the whole table"
        names[name] = names.get(name, 0) + int(count)
    return dict(sorted(names.items(), key=lambda pair: -pair[1])[:PREVIEW_ROWS]), len(rows)


def keep_rows(con: duckdb.DuckDBPyConnection, query: str, objects: ObjectStore, key: str) -> str:
    """Store the rows of a relation as Parquet and return the object's key."""
    sink = io.BytesIO()
    reader = con.execute(f"SELECT * FROM {query} ORDER BY key_id").to_arrow_reader(10_000)
    with pq.ParquetWriter(sink, reader.schema, compression="zstd") as writer:
        for batch in reader:
            writer.write_batch(batch)
    objects.put(key, sink.getvalue())
    return key


def count_rows(con: duckdb.DuckDBPyConnection, relation: str) -> int:
    """Return how many rows a relation has."""
    row = con.execute(f"SELECT count(*) FROM {relation}").fetchone()
    return int(row[0]) if row else 0
