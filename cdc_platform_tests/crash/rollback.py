"""Rollbacks to be killed: a round is taken back, and merged again."""

from __future__ import annotations

import sys
from dataclasses import replace

from pyiceberg.table import Table

from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.lineage import SnapshotInfo, snapshot_history
from cdc_platform.lake.rollback import commit_rollback, plan_rollback
from cdc_platform.lake.summary import BATCH_MANIFEST
from cdc_platform_tests.crash.boundaries import Points, wrap
from cdc_platform_tests.crash.children import check_after, merged
from cdc_platform_tests.crash.inspection import SOURCE, content_at, state_of
from cdc_platform_tests.crash.rounds import Content, Round

#: The kind of kill.
ROLLBACK = "rollback"


def rolled_back_until(lake: Lake, step: Round, point: int, told: int) -> None:
    """Take a round back, and die at a point; nothing where no snapshot of before it is left."""
    _roll_back(lake, step, Points(point, told))


def rolled_back_after(lake: Lake, step: Round, where: str, *, again: bool) -> tuple[list[str], bool]:
    """Look, take the round back once more if ``again``, merge it in any case, look again.

    Returns the points that the rollback passed, and whether the round was taken back.
    """
    is_back = _check(lake, step, where)
    points = Points(None, sys.stderr.fileno())
    if again and _roll_back(lake, step, points):
        is_back = _check(lake, step, where, is_back=True)
    passed = list(points.passed)
    merged(lake, step)
    main = _main_of_before(step) if is_back else step.main
    check_after(state_of(lake, step.config), replace(step, held_at=main), f"{where}, merged again")
    return passed, is_back


def _main_of_before(step: Round) -> Content:
    """Return what main shows once the round is taken back: it goes along where it showed the round."""
    return step.before.content if step.main == step.after.content else step.main


def _roll_back(lake: Lake, step: Round, points: Points) -> bool:
    """Set the table back to before the round; return whether it was not, and could be."""
    table = lake.load(SOURCE, step.config.id)
    target = _before(lake, step, table) if table is not None else None
    if table is None or target is None:
        return False
    wrap(points)
    commit_rollback(plan_rollback(lake, SOURCE, step.config.id, target, table))
    return True


def _before(lake: Lake, step: Round, table: Table) -> SnapshotInfo | None:
    """Return the newest snapshot that shows the table as it was before the round; None if it still is so."""
    for age, one in enumerate(snapshot_history(table)):
        if step.before.content == content_at(lake, step.config, table, one.snapshot_id):
            # an older one may show the same, where a replayed row was stale: that would be another round's
            return one if age else None
    return None


def _check(lake: Lake, step: Round, where: str, *, is_back: bool = False) -> bool:
    """The table is as before or after the round, with its record; what was replayed is so, or is released.

    Returns whether it is as before.
    """
    found, after = state_of(lake, step.config), step.after.content
    allowed = [(step.before.content, _main_of_before(step))] + ([] if is_back else [(after, step.main)])
    assert (found.content, found.main) in allowed, f"{where}: neither before nor after, but {found}"
    replayed = dict.fromkeys(step.releases, "released")
    states = [{**step.after.quarantine, **replayed}]
    if not is_back and found.content == after:
        states.append(dict(step.after.quarantine))
    assert found.quarantine in states, f"{where}: {found.quarantine}, not {states}"
    table = lake.load(SOURCE, step.config.id)
    snapshot = table.current_snapshot() if table is not None else None
    if table is not None and snapshot is not None and snapshot.summary is not None:
        own = snapshot.summary.additional_properties.get(BATCH_MANIFEST)
        assert table.properties.get(BATCH_MANIFEST) == own, f"{where}: the property leads to another record"
    return found.content != after
