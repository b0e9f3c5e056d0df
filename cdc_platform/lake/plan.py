"""What a merge will do to a base table, decided in a workspace of its own; the table is only read.

The order of things: select the files that are new, stage their events, drop what an older generation left
behind, find the rows and tombstones of the keys touched, and let the rule decide the fate of each key.
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from pyiceberg.table import Table

from cdc_platform.config.model import TableConfig, bytes_of
from cdc_platform.events import GENERATION, POSITION, Op, Position
from cdc_platform.lake.applied import AppliedRecord
from cdc_platform.lake.base_rows import BaseRows
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.declared import check_declared
from cdc_platform.lake.inputs import MergeInput
from cdc_platform.lake.intake import Intake, Reader
from cdc_platform.lake.merge_plan import MergePlan, Reach
from cdc_platform.lake.quarantine import QuarantineItem
from cdc_platform.lake.result import MergeCounts
from cdc_platform.lake.rules import (
    Decision,
    check_declaration,
    decide,
    identity,
    identity_types,
    keeps_events,
)
from cdc_platform.lake.schema import TargetSchema, new_table
from cdc_platform.lake.selection import Selection, honoured, select_inputs
from cdc_platform.lake.setting_aside import PlanWithout, items_set_aside
from cdc_platform.lake.staging import AT
from cdc_platform.lake.standing import Standing, read_standing
from cdc_platform.lake.tombstones import Tombstones
from cdc_platform.lake.workspaces import lend_workspace, take_back

#: What part of the engine's memory events may take up as they came, beside the engine's own.
_SHARE_OF_EVENTS = 6

#: The lowest and highest position of the events of a generation, and their latest time.
_Span = tuple[Position, Position, datetime]


def plan_merge(
    lake: Lake,
    source: str,
    table: TableConfig,
    inputs: Sequence[MergeInput],
    *,
    completed_generation: int | None,
    standing: Standing | None = None,
    selection: Selection | None = None,
) -> MergePlan:
    """Decide what merging ``inputs`` does to the base table as it stands now.

    ``completed_generation`` says that the load set of that generation is complete and all its files are in
    ``inputs`` or applied; it is honoured when none of them failed. ``standing`` is the table as it was read
    a moment ago, ``selection`` what of the inputs is new to it; they are found out now without.
    Raises SchemaError when the table's declaration contradicts itself, MergeError when another key made its
    rows.
    """
    check_declaration(table, source)
    standing = standing if standing is not None else read_standing(lake, source, table.id)
    check_declared(standing.base, table, ".".join(lake.identifier(source, table.id)))
    refused: dict[tuple[str, str], QuarantineItem] = {}
    while True:
        planner = _Planner(lake, source, table, inputs, completed_generation, standing, selection, refused)
        try:
            return planner.plan()
        except PlanWithout as e:
            planner.discard()
            selection = None
            refused |= e.items
        except BaseException:
            planner.discard()
            raise


class _Planner:
    """One attempt at a plan."""

    def __init__(
        self,
        lake: Lake,
        source: str,
        table: TableConfig,
        inputs: Sequence[MergeInput],
        completed: int | None,
        standing: Standing,
        selection: Selection | None,
        refused: Mapping[tuple[str, str], QuarantineItem],
    ) -> None:
        self._lake = lake
        self._source = source
        self._config = table
        self._inputs = [each for each in inputs if each.identity not in refused]
        self._refused_inputs = [each for each in inputs if each.identity in refused]
        self._refused = refused
        self._standing = standing
        self._selection = selection
        self._wish = completed
        self._where = ".".join(lake.identifier(source, table.id))
        self._seconds: dict[str, float] = {}
        self._started = time.perf_counter()
        self._reader: Reader | None = None
        self._created: Table | None = None
        self.con = lend_workspace(lake)

    def plan(self) -> MergePlan:
        """Return the plan."""
        base, record = self._standing.base, self._standing.record
        objects = self._lake.objects(self._source, self._config.id)
        target = TargetSchema(base, self._config, where=self._where)
        selection = self._selection or self._select()
        reader = self._reader = self._new_reader(target, record)
        intake = reader.read(selection)
        read = self._lap("read", self._started)
        completed = self._honoured(selection, intake)
        superseded = self._drop_superseded(max(completed or 0, record.generation_complete), intake, selection)
        rows = BaseRows(self.con, base, identity(self._config), self._lake.index_folder())
        tombstones = Tombstones(self.con, objects, record, identity_types(target))
        decision, reach = self._decided(target, reader, selection, intake, rows, tombstones)
        quarantined = (*self._refused.values(), *intake.quarantined, *items_set_aside(self.con, intake))
        counts = self._counts(intake, decision, superseded, self._unload(rows, completed), quarantined)
        self._lap("decide", read)
        return MergePlan(
            lake=self._lake,
            source=self._source,
            config=self._config,
            base=base,
            record=record,
            objects=objects,
            con=self.con,
            target=target,
            rows=rows,
            tombstones=tombstones,
            batch_id=str(uuid.uuid4()),
            selection=selection,
            intake=intake,
            counts=counts,
            quarantined=quarantined,
            decision=decision,
            completed=completed,
            direct=reader.direct,
            created=self._created,
            kept=reader.kept,
            reach=reach,
            seconds=self._seconds,
        )

    def _decided(
        self,
        target: TargetSchema,
        reader: Reader,
        selection: Selection,
        intake: Intake,
        rows: BaseRows,
        tombstones: Tombstones,
    ) -> tuple[Decision, Reach]:
        """Return what becomes of the staged events, and how far those reach that were not set aside."""
        spans = self._spans()
        lowest = [low for low, _, _ in spans]
        if reader.direct is not None and reader.direct.indexes:
            # rows of it may become events after all
            lowest.append(reader.direct.position)
        oldest = min(lowest, default=None)
        known = (selection, intake, rows, tombstones)
        decision = decide(self.con, self._config, target, reader, *known, oldest)
        if reader.direct is not None or not keeps_events(self._config):
            spans = self._spans()
        return decision, self._reach(spans)

    def discard(self) -> None:
        """Free what the attempt holds, and remove what it wrote."""
        if self._reader is not None and self._reader.direct is not None:
            self._reader.direct.discard()
        take_back(self.con, self._lake)

    def _new_reader(self, target: TargetSchema, record: AppliedRecord) -> Reader:
        return Reader(
            self.con,
            self._config,
            target,
            record,
            where=self._where,
            threads=self._lake.config.engine.threads,
            memory=bytes_of(self._lake.config.engine.memory_limit) // _SHARE_OF_EVENTS,
            newest=max(self._wish or 0, record.generation_complete),
            table=lambda: self._table_to_load(target),
        )

    def _table_to_load(self, target: TargetSchema) -> Table | None:
        """Return the table to write data files of ahead of the commit, None when its schema must change."""
        base = self._standing.base
        if base is None:
            self._created = new_table(self._lake, self._source, self._config, target, where=self._where)
            return self._created
        return None if target.is_changed else base

    def _lap(self, phase: str, since: float) -> float:
        now = time.perf_counter()
        self._seconds[phase] = now - since
        return now

    def _select(self, failed: Sequence[MergeInput] = ()) -> Selection:
        """Return what is to be read when ``failed``, and what was refused before, is not to be had."""
        return select_inputs(
            [each for each in self._inputs if each not in failed],
            self._standing.record,
            self._standing.items,
            failed=(*self._refused_inputs, *failed),
            completed=self._wish,
            is_keyed=bool(self._config.merge_key),
        )

    def _honoured(self, selection: Selection, intake: Intake) -> int | None:
        """Return the generation to complete. Raises PlanWithout when what failed holds other files back."""
        failed = {each.identity for each in intake.failed}
        if failed and {each.identity for each in selection.whole} - failed != {
            each.identity for each in self._select(intake.failed).whole
        }:
            raise PlanWithout([item for item in intake.quarantined if item.row is None])
        missing = (*selection.waiting, *intake.failed, *self._refused_inputs)
        return honoured(self._wish, self._standing.record, missing)

    def _drop_superseded(self, generation: int, intake: Intake, selection: Selection) -> int:
        dropped = 0
        if any(staged.input.accepted.generation < generation for staged in intake.staged):
            dropped = self._count("events", f"{GENERATION} < {generation}")
            self.con.execute(f"DELETE FROM events WHERE {GENERATION} < {generation}")
        return dropped + sum(source.accepted.rows or 0 for source in selection.superseded)

    def _unload(self, rows: BaseRows, completed: int | None) -> int:
        """Add the rows the completed load does not contain to ``gone``; return how many they are."""
        if completed is None:
            return 0
        before = self._count("gone")
        rows.before_generation(completed)
        self.con.execute("CREATE OR REPLACE TABLE gone AS SELECT DISTINCT file, pos FROM gone")
        return self._count("gone") - before

    def _count(self, table: str, where: str = "true") -> int:
        row = self.con.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
        return int(row[0]) if row else 0

    def _spans(self) -> list[_Span]:
        """Return the lowest and highest position of each generation staged, and its latest time."""
        generations = self.con.execute(
            f"SELECT {GENERATION}, min({POSITION}), max({POSITION}), max({AT}) FROM events GROUP BY ALL"
        ).fetchall()
        return [
            (Position(int(generation), int(low)), Position(int(generation), int(high)), latest)
            for generation, low, high, latest in generations
        ]

    def _reach(self, spans: Sequence[_Span]) -> Reach:
        """Return the lowest and highest position staged, and the watermark the table has with them."""
        reached = [position for low, high, _ in spans for position in (low, high)]
        moments = [self._standing.record.watermark, *(latest.astimezone(UTC) for *_, latest in spans)]
        direct = self._reader.direct if self._reader is not None else None
        if direct is not None and direct.indexes:
            reached.append(direct.position)
            moments.append(direct.latest)
        return Reach(
            low=min(reached, default=None),
            high=max(reached, default=None),
            watermark=max(filter(None, moments), default=None),
        )

    def _counts(
        self,
        intake: Intake,
        decision: Decision,
        superseded: int,
        unloaded: int,
        quarantined: Sequence[QuarantineItem],
    ) -> MergeCounts:
        ops: Counter[str] = Counter()
        for staged in intake.staged:
            ops.update(staged.ops)
        return replace(
            decision.counts,
            loads=ops[Op.LOAD],
            inserts=ops[Op.INSERT],
            updates=ops[Op.UPDATE],
            deletes=ops[Op.DELETE],
            superseded=superseded,
            rows_unloaded=unloaded,
            rows_quarantined=sum(item.row is not None for item in quarantined),
        )
