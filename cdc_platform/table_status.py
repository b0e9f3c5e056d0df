"""Where every table stands: what was taken in, what is in base, what the last verdict was."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cdc_platform.config.model import Publish, TableConfig
from cdc_platform.errors import CdcError
from cdc_platform.lake.branch import held_back
from cdc_platform.lake.health import table_health
from cdc_platform.lake.outages import outages
from cdc_platform.lake.quarantine import QuarantineState, items_in

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform


@dataclass(frozen=True, slots=True)
class TableStatus:
    """One table. ``lag_seconds`` is how old the newest change in base is; None before the first change.

    ``verdict`` is that of the newest window that was reconciled, ``verdict_window`` which one that is;
    ``windows_different`` are the older ones whose last verdict is DIFFERENT.
    """

    source: str
    table_id: str
    rows: int | None
    snapshot_id: str | None
    last_window: str | None
    pending_files: int
    watermark: datetime | None
    lag_seconds: float | None
    quarantined_files: int
    quarantined_rows: int
    verdict: str | None
    verdict_window: str | None
    windows_different: tuple[str, ...] = ()
    #: Snapshots that wait for a verdict before main, of which rows and snapshot_id are told, shows them.
    unpublished: int = 0
    #: Why nothing can be told of the table; then nothing else is.
    error: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return a form that goes into JSON."""
        moment = self.watermark.isoformat() if self.watermark else None
        return {**asdict(self), "watermark": moment}


def status(platform: Platform, sources: Collection[str] | None = None) -> Iterator[TableStatus]:
    """Yield the status of every active table, sources in the order of ``cdc.yaml``; or why it has none."""
    from cdc_platform.reconcile.results import latest_verdicts

    verdicts = latest_verdicts(platform.lake)
    for source, table in platform.tables(sources):
        windows = verdicts.get((source, table.id), {})
        newest = max(windows, default=None)
        verdict = windows[newest] if newest else None
        older = tuple(one for one in sorted(windows) if one != newest and windows[one] == "DIFFERENT")
        try:
            with outages(f"{source}/{table.id}"):
                found = _status(platform, source, table, newest, verdict)
        except CdcError as error:
            found = TableStatus(
                source, table.id, None, None, None, 0, None, None, 0, 0, verdict, newest, error=str(error)
            )
        yield replace(found, windows_different=older)


def _status(
    platform: Platform, source: str, table: TableConfig, verdict_window: str | None, verdict: str | None
) -> TableStatus:
    applied = platform.applied(source, table.id)
    accepted = platform.accepted(source, table.id)
    pending = sum(not applied.holds(one) for one in accepted.readable)
    items = items_in(platform.objects(source, table.id), QuarantineState.OPEN)
    files = sum(item.row is None for item in items)
    health = table_health(platform.lake, source, table, published=True)
    waits = table.publish is Publish.ON_MATCH
    base = platform.lake.load(source, table.id) if waits else None
    lag = (datetime.now(UTC) - applied.watermark).total_seconds() if applied.watermark else None
    return TableStatus(
        source=source,
        table_id=table.id,
        rows=health.rows if health is not None else None,
        snapshot_id=str(health.snapshot_id) if health is not None and health.snapshot_id else None,
        last_window=accepted.manifests[-1].window if accepted.manifests else None,
        pending_files=pending,
        watermark=applied.watermark,
        lag_seconds=lag,
        quarantined_files=files,
        quarantined_rows=len(items) - files,
        verdict=verdict,
        verdict_window=verdict_window,
        unpublished=sum(1 for _ in held_back(base)) if base is not None else 0,
    )
