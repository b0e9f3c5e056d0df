"""Sensors: one that looks for raw files per source, and the ones that let the daemon act on what moved.

A file sensor takes in what is new and reports, without a run, a materialization of each raw window that
moved. Base assets follow by their automation condition. A tick is bounded in time and in events; the next one
goes on where it stopped.

What was reported is compared with what the manifests hold, window by window and a few tables per tick. So a
window is reported also when a tick died half-way, or when someone else took the files in (`cdc apply`). The
cursor only says where to go on; losing it costs nothing.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import dagster as dg

from cdc_platform.assets.keys import active_tables, raw_key
from cdc_platform.assets.metadata import FINGERPRINT, fingerprint, raw_metadata
from cdc_platform.config.model import SourceConfig
from cdc_platform.errors import CdcError
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

#: Bounds of one tick; the daemon gives it 60 seconds.
TICK_SECONDS = 30.0
SWEEP_SECONDS = 5.0
MAX_EVENTS = 200


class Moved(NamedTuple):
    """A window of a table that the UI and the conditions have to hear of."""

    table_id: str
    window: str


@dataclass(slots=True)
class Findings:
    """What one look at a source found."""

    moved: list[Moved] = field(default_factory=list)
    files: int = 0
    refused: list[str] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    #: The table the next tick begins with; None when there are no tables.
    next_table: str | None = None
    looked_at: int = 0

    @property
    def sentence(self) -> str:
        """What the tick history says."""
        tables = len({one.table_id for one in self.moved})
        told = f"{self.files} new files; reported {len(self.moved)} windows of {tables} tables"
        parts = [told if self.moved else f"nothing new in {self.looked_at} tables"]
        parts += [f"{len(self.refused)} files refused, first: {self.refused[0]}"] if self.refused else []
        parts += [f"{table} failed: {text}" for table, text in self.failures.items()]
        return "; ".join(parts)


def build_file_sensor(*, source: str, config: SourceConfig) -> dg.SensorDefinition:
    """Return the sensor ``<source>_files``, which runs from the start."""
    local = "://" not in config.raw.location
    table_ids = [table.id for table in active_tables(config)]

    @dg.sensor(
        name=f"{source}_files",
        minimum_interval_seconds=10 if local else 30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks for new raw files of {source} and reports the windows they belong to.",
    )
    def files(context: dg.SensorEvaluationContext, platform: PlatformResource) -> dg.SensorResult:
        try:
            opened = platform.open()
        except CdcError as error:
            raise dg.Failure(description=str(error)) from error
        found = look(opened, source, table_ids, context.instance, start=read_cursor(context.cursor))
        events = [report(opened, source, one) for one in found.moved]
        for refused in found.refused:
            context.log.warning(refused)
        if found.failures:
            # A tick that fails keeps no events, and one table in trouble must not hold back the others.
            for event in events:
                context.instance.report_runless_asset_event(event)
            raise dg.Failure(description=found.sentence)
        return dg.SensorResult(
            asset_events=events, skip_reason=found.sentence, cursor=write_cursor(found.next_table)
        )

    return files


def look(
    platform: "Platform",
    source: str,
    table_ids: list[str],
    instance: dg.DagsterInstance,
    *,
    start: str | None = None,
) -> Findings:
    """Take in what is new, table by table from ``start``, and return the windows to report.

    A table that fails is noted and does not stop the others.
    """
    from cdc_platform.pipeline import take_in

    found = Findings()
    begun = time.monotonic()
    first = table_ids.index(start) if start in table_ids else 0
    order = table_ids[first:] + table_ids[:first]
    swept = 0
    for table_id in order:
        elapsed = time.monotonic() - begun
        if found.looked_at and (elapsed > TICK_SECONDS or len(found.moved) >= MAX_EVENTS):
            break
        sweep = swept == found.looked_at and (not swept or elapsed < SWEEP_SECONDS)
        try:
            taken = take_in(platform, source, tables=[table_id], full=sweep)
            found.files += taken.files
            found.refused += [str(one.error) for one in taken.refused]
            moved = dict.fromkeys(Moved(*pair) for pair in taken.windows())
            moved |= dict.fromkeys(untold(platform, source, table_id, instance) if sweep else ())
            found.moved += moved
        except CdcError as error:
            found.failures[table_id] = str(error)
        found.looked_at += 1
        swept += sweep
    del found.moved[MAX_EVENTS:]  # what is cut off stays untold, and is found by a later sweep
    passed = swept if found.looked_at == len(order) else found.looked_at
    found.next_table = order[passed % len(order)] if order else None
    return found


def untold(platform: "Platform", source: str, table_id: str, instance: dg.DagsterInstance) -> Iterator[Moved]:
    """Yield the table's windows whose manifest is not what Dagster was last told."""
    key = raw_key(source, table_id)
    for window in platform.windows(source, table_id):
        known = dg.AssetRecordsFilter(asset_key=key, asset_partitions=[window])
        records = instance.fetch_materializations(known, limit=1).records
        event = records[0].asset_materialization if records else None
        told = event.metadata.get(FINGERPRINT) if event else None
        if told is None or told.value != fingerprint(platform.manifest(source, table_id, window)):
            yield Moved(table_id, window)


def report(platform: "Platform", source: str, moved: Moved) -> dg.AssetMaterialization:
    """Return the event that tells Dagster what the window's manifest holds now."""
    manifest = platform.manifest(source, moved.table_id, moved.window)
    return dg.AssetMaterialization(
        raw_key(source, moved.table_id), partition=moved.window, metadata=raw_metadata(manifest)
    )


def read_cursor(text: str | None) -> str | None:
    """Return the table to begin with; None for a cursor of another version or none at all."""
    try:
        cursor = json.loads(text) if text else {}
    except ValueError:
        return None
    return cursor.get("next") if isinstance(cursor, dict) and cursor.get("v") == 1 else None


def write_cursor(next_table: str | None) -> str:
    """Return the cursor that makes the next tick begin with ``next_table``."""
    return json.dumps({"v": 1, "next": next_table})


def build_automation_sensor(
    name: str, selection: dg.AssetSelection, description: str, *, tables: int = 0
) -> dg.AutomationConditionSensorDefinition:
    """Return a sensor that evaluates the conditions of ``selection``; Dagster's own starts switched off.

    Every half minute: asked for more often, a window with steady traffic would always have a run under way
    and never a result to look at. An evaluation takes some 20 ms a table, so many tables are looked at less
    often still.
    """
    return dg.AutomationConditionSensorDefinition(
        name,
        target=selection,
        description=description,
        default_status=dg.DefaultSensorStatus.RUNNING,
        # As backfills, the checks of raw windows would each become a run of their own; as runs, everything a
        # window needs goes into one.
        emit_backfills=False,
        minimum_interval_seconds=max(30, tables // 20),
    )
