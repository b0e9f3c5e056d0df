"""What the children of the harness do to a table, and what they look at before and after."""

from __future__ import annotations

import sys
import time
from typing import Any

from cdc_platform.config.model import TableConfig
from cdc_platform.lake import quarantine
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.merge import merge
from cdc_platform_tests.crash.boundaries import Points, wrap
from cdc_platform_tests.crash.inspection import SOURCE, orphans, rows_of, state_of
from cdc_platform_tests.crash.rounds import Found, Round
from cdc_platform_tests.crash.upkeep import (
    DEEDS,
    Past,
    check_cleaned,
    check_expired,
    check_indexes,
    check_past,
    clean_up,
    grow_old,
)


def merged(lake: Lake, step: Round) -> None:
    """Merge what a round delivers."""
    merge(lake, SOURCE, step.config, step.inputs, completed_generation=step.completed)


def restarted(lake: Lake, step: Round, where: str) -> tuple[float, list[str]]:
    """Look, merge, look again; return how long the merge took and the points it passed."""
    check_between(state_of(lake, step.config), step, where)
    points = Points(None, sys.stderr.fileno())
    wrap(points)
    started = time.monotonic()
    merged(lake, step)
    seconds = time.monotonic() - started
    check_after(state_of(lake, step.config), step, where)
    return seconds, points.passed


def merged_until(lake: Lake, step: Round, point: int | str, told: int) -> None:
    """Merge, and die at a point."""
    wrap(Points(point, told))
    merged(lake, step)


def done_until(lake: Lake, step: Round, deed: str, point: int, told: int) -> None:
    """Maintain, and die at a point."""
    wrap(Points(point, told))
    DEEDS[deed](lake, step.config)


def done_after(lake: Lake, step: Round, deed: str, past: Past, where: str) -> tuple[list[str], Past]:
    """Look, do it, look again; return the points it passed and what the snapshots show."""
    check_after(state_of(lake, step.config), step, where)
    before = check_past(lake, step.config, past, where)
    young = grow_old(lake, step.config) if deed == "clean-up" else None
    points = Points(None, sys.stderr.fileno())
    wrap(points)
    DEEDS[deed](lake, step.config)
    check_after(state_of(lake, step.config), step, where)
    after = check_past(lake, step.config, before, where)
    if deed == "expiry":
        check_expired(lake, step.config, where)
    if deed == "clean-up":
        check_cleaned(lake, step.config, young, where)
    return points.passed, after


def release(step: Round, lake: Lake, _: int) -> None:
    """Release what is to be replayed."""
    for item in quarantine.list_items(lake, SOURCE, step.config.id):
        if (item.key, item.row) in step.releases:
            quarantine.release(lake, SOURCE, step.config.id, item.id)


def check_between(found: Found, step: Round, where: str) -> None:
    """Readers see before or after; what was set aside is there, and nothing that will not be."""
    assert (found.content, found.main) in step.between, (
        f"{where}: neither the table before nor after, but {found}, not {step.before} or {step.after}"
    )
    assert step.before.quarantine.keys() <= found.quarantine.keys() <= step.after.quarantine.keys(), where


def check_after(found: Found, step: Round, where: str) -> None:
    """The table, its record, its quarantine and its main are those of after the round."""
    assert step.after.rows == found.rows, f"{where}: {set(step.after.rows) ^ set(found.rows)}"
    assert step.after.files == found.files, f"{where}: {step.after.files ^ found.files}"
    assert step.after.quarantine == found.quarantine, f"{where}: {step.after.quarantine}, {found.quarantine}"
    assert step.main == found.main, f"{where}: main shows {found.main}, not {step.main}"
    assert found.is_held in (None, step.is_held), f"{where}: main is held back: {found.is_held}"


def cleaned(
    config: TableConfig, states: set[tuple[Any, ...]], past: Past, lake: Lake, _: int
) -> tuple[int, int]:
    """Clean up when everything is old, and read every snapshot; return how many orphans and snapshots."""
    removed = len(orphans(lake, config))
    young = grow_old(lake, config)
    clean_up(lake, config)
    check_cleaned(lake, config, young, config.id)
    check_past(lake, config, past, config.id)
    check_indexes(lake)
    table = lake.load(SOURCE, config.id)
    if table is None:
        return removed, 0
    for snapshot in table.metadata.snapshots:
        rows = rows_of(table, snapshot.snapshot_id)
        assert rows in states, f"{config.id}: snapshot {snapshot.snapshot_id} shows rows that never were"
    return removed, len(table.metadata.snapshots)
