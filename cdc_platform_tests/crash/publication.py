"""Publications to be killed: main is moved to a state that waited, and what main shows by rounds."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace

from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.publishing import publish_up_to
from cdc_platform_tests.crash.boundaries import Points, wrap
from cdc_platform_tests.crash.children import check_after
from cdc_platform_tests.crash.inspection import SOURCE, content_at, pending, state_of
from cdc_platform_tests.crash.rounds import NOTHING, Content, Round

#: The kind of kill.
PUBLICATION = "publication"


@dataclass
class Main:
    """What main of one table shows, and the states that wait behind it, oldest first."""

    shown: Content = NOTHING
    waiting: list[Content] = field(default_factory=list)

    def merged(self, step: Round) -> None:
        """A round was merged."""
        # a round that delivers nothing leaves nothing to publish
        new = [step.after.content] if step.after.content != step.before.content else []
        self.waiting = [*self.waiting, *new] if step.is_held else []
        self.shown = step.main

    def published(self, target: Content) -> None:
        """Main was moved to a state that waited."""
        self.waiting = self.waiting[self.waiting.index(target) + 1 :]
        self.shown = target

    def rolled_back(self, step: Round) -> None:
        """A round was taken back and merged again; main went along if it showed the round."""
        if step.is_held and self.shown == step.after.content:
            self.shown, self.waiting = step.before.content, [step.after.content]


def published_until(lake: Lake, step: Round, target: Content, point: int, told: int) -> None:
    """Publish up to a state, and die at a point."""
    _publish(lake, step, target, Points(point, told))


def published_after(lake: Lake, step: Round, target: Content, where: str) -> list[str]:
    """Look, publish once more, look again; return the points that the publication passed."""
    found = state_of(lake, step.config)
    assert found.main in (step.main, target), f"{where}: main shows neither, but {found.main}"
    check_after(found, replace(step, held_at=found.main), where)
    points = Points(None, sys.stderr.fileno())
    _publish(lake, step, target, points)
    check_after(state_of(lake, step.config), replace(step, held_at=target), where)
    return points.passed


def _publish(lake: Lake, step: Round, target: Content, points: Points) -> None:
    """Move main to the first snapshot that shows a state, or from there to what a compaction made of it."""
    table = lake.load(SOURCE, step.config.id)
    assert table is not None
    found = [one for one in pending(table) if content_at(lake, step.config, table, one) == target]
    if found:
        wrap(points)
        publish_up_to(table, found[-1])
