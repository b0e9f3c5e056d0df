"""Writing the fleet's pages into a folder or beside the lake: all tables, each one, reports to drill into."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from urllib.parse import quote

from cdc_platform.config.model import TableConfig
from cdc_platform.fleet.figures import TableFigures
from cdc_platform.fleet.gathering import gather
from cdc_platform.fleet.pages import HOME, Fleet, render_fleet, render_table, table_path, window_path
from cdc_platform.fleet.table_history import histories
from cdc_platform.lake.catalog import OBJECTS_FOLDER, Lake
from cdc_platform.raw.objects import ObjectStore, open_object_store
from cdc_platform.reconcile.report import report_key
from cdc_platform.reconcile.verdict import Verdict

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

Put = Callable[[str, bytes], None]
Tell = Callable[[str], None]

#: Reports of so many of the newest windows are put beside a table's page, and of so many that do not match.
NEWEST_REPORTS, OPEN_REPORTS = 14, 40
#: How far back runs are read.
DAYS = 90


def fleet_objects(lake: Lake) -> ObjectStore:
    """Return the store beside the lake where Dagster keeps the pages."""
    return open_object_store(f"{lake.warehouse}/{OBJECTS_FOLDER}/_fleet")


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: the fleet, and how many files and bytes."""

    fleet: Fleet
    files: int
    size: int


def fleet_of(
    platform: Platform, tables: Iterable[tuple[str, TableConfig]], tell: Tell = lambda _: None
) -> Fleet:
    """Gather the figures of ``tables``. Neither the source nor a row of base is read."""
    chosen = list(tables)
    captured = {
        source: position
        for source in dict.fromkeys(source for source, _ in chosen)
        if (position := platform.captured_position(source))
    }
    return Fleet(gather(platform, chosen, tell), datetime.now(UTC), captured)


def write_reports(
    platform: Platform,
    tables: Iterable[tuple[str, TableConfig]],
    put: Put,
    *,
    days: float = DAYS,
    tell: Tell = lambda _: None,
) -> Written:
    """Write ``index.html``, ``<source>/<table>.html`` and, beside that, the newest reports of windows."""
    fleet = fleet_of(platform, tables, tell)
    sizes: list[int] = []

    def write(path: str, data: bytes) -> None:
        put(path, data)
        sizes.append(len(data))

    found = histories(platform, fleet.tables, fleet.made_at - timedelta(days=days))
    for one in fleet.tables:
        if one.error is None:
            links = _copy_reports(platform, one, write)
            hourly = platform.source(one.source).window.every == "hourly"
            page = render_table(fleet, one, found[one.source, one.table_id], links, hourly=hourly)
            write(table_path(one.source, one.table_id), page.encode())
    write(HOME, render_fleet(fleet).encode())
    return Written(fleet, len(sizes), sum(sizes))


def _copy_reports(platform: Platform, table: TableFigures, write: Put) -> Mapping[str, str]:
    """Put reports beside the table's page; return links to them by window."""
    objects, links = platform.objects(table.source, table.table_id), {}
    windows = list(table.compared_windows)
    open_ = [one for one in windows if one.verdict != Verdict.MATCH][-OPEN_REPORTS:]
    chosen = {one.window for one in (*windows[-NEWEST_REPORTS:], *open_)}
    for window in [*sorted(chosen), *(one.window for one in (table.whole, table.export) if one)]:
        page = objects.get(report_key(window, "latest"))
        if page is not None:
            path = window_path(table.table_id, window)
            write(f"{table.source}/{path}", page)
            links[window] = quote(path)
    return links
