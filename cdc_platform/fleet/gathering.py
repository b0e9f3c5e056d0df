"""Gathering the figures of tables: objects beside each table, the metadata of base, the table of repairs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pyiceberg.table import Table

from cdc_platform.config.model import Publish, TableConfig
from cdc_platform.errors import CdcError
from cdc_platform.fleet.figures import Repaired, Standing, TableFigures
from cdc_platform.lake.applied import read_applied
from cdc_platform.lake.branch import published_id
from cdc_platform.lake.outages import outages
from cdc_platform.lake.quarantine import QuarantineState, items_in
from cdc_platform.lake.summary import row_count
from cdc_platform.publication import publish
from cdc_platform.reconcile.recent_runs import RunFigures, recent_runs
from cdc_platform.reconcile.results import repairs
from cdc_platform.reconcile.verdict_index import read_index

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

_COUNTS = ("compared", "matched", "different", "in_flight")


def gather(
    platform: Platform,
    tables: Iterable[tuple[str, TableConfig]],
    tell: Callable[[str], None] = lambda _: None,
) -> list[TableFigures]:
    """Return the figures of ``tables``, the worst first. A table that cannot be told of says why."""
    repaired = _last_repairs(platform)
    found = []
    for source, table in tables:
        where = f"{source}/{table.id}"
        try:
            with outages(where):
                one = _table(platform, source, table, repaired.get((source, table.id)))
        except CdcError as error:
            one = TableFigures(source, table.id, table.name, error=str(error))
        found.append(one)
        tell(where)
    return sorted(found, key=lambda one: one.badness)


def _table(platform: Platform, source: str, table: TableConfig, repaired: Repaired | None) -> TableFigures:
    objects = platform.objects(source, table.id)
    index = read_index(objects)
    verdicts = {window: _verdict(window, entry) for window, entry in index.items()}
    accepted = platform.accepted(source, table.id)
    base = platform.lake.load(source, table.id)
    applied = read_applied(base, objects)
    items = items_in(objects, QuarantineState.OPEN)
    files = sum(item.row is None for item in items)
    waits = table.publish is Publish.ON_MATCH
    publication = publish(platform, source, table.id, dry_run=True) if waits and base is not None else None
    standing = Standing(
        rows=row_count(base) if base is not None else None,
        snapshot_id=str(base.metadata.current_snapshot_id) if base and base.current_snapshot() else None,
        watermark=applied.watermark,
        pending_files=sum(not applied.holds(one) for one in accepted.readable),
        quarantined_files=files,
        quarantined_rows=len(items) - files,
        publication=publication if publication and publication.holds_back else None,
        held_seconds=_held_seconds(base) if publication and publication.pending and base else None,
    )
    return TableFigures(
        source=source,
        table_id=table.id,
        name=table.name,
        standing=standing,
        windows=tuple(one.window for one in accepted.manifests),
        verdicts=verdicts,
        # none where the runs were recorded before their figures were kept
        runs=recent_runs(objects)
        or tuple(sorted(verdicts.values(), key=lambda one: (one.started_at, one.run_id))),
        repaired=repaired,
    )


def _verdict(window: str, entry: Mapping[str, Any]) -> RunFigures:
    counts: dict[str, Any] = {name: int(entry.get(name, 0)) for name in _COUNTS}
    started_at = datetime.fromisoformat(entry["started_at"])
    return RunFigures(entry["run_id"], window, entry["verdict"], started_at, **counts)


def _held_seconds(base: Table) -> float | None:
    newest, shown = base.current_snapshot(), published_id(base)
    published = base.snapshot_by_id(shown) if shown is not None else None
    if newest is None or published is None:
        return None
    return (newest.timestamp_ms - published.timestamp_ms) / 1000


def _last_repairs(platform: Platform) -> dict[tuple[str, str], Repaired]:
    """Return the newest step of a repair by table; without any where the table of repairs cannot be read."""
    found: dict[tuple[str, str], Repaired] = {}
    for row in repairs(platform.lake):
        step = Repaired(row["started_at"], row["action"], row["keys"] or 0, row["verdict"])
        known = found.get((row["source"], row["table_id"]))
        if known is None or known.at < step.at:
            found[row["source"], row["table_id"]] = step
    return found
