"""A round in the life of a table: what is delivered, and what the table and its main must show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cdc_platform.config.model import Publish, TableConfig
from cdc_platform.lake.merge import MergeInput
from cdc_platform_tests.crash.shapes import HOLD_BACK, LET_GO

#: The rows a reader sees, and the files that are recorded as applied.
Content = tuple[tuple[tuple[Any, ...], ...], frozenset[str]]
NOTHING: Content = ((), frozenset())


@dataclass(frozen=True)
class State:
    """A table as merges left it, with its record and its quarantine."""

    rows: tuple[tuple[Any, ...], ...] = ()
    files: frozenset[str] = frozenset()
    #: (file, row or None for all of it) → state of its quarantine item.
    quarantine: Mapping[tuple[str, int | None], str] = field(default_factory=dict)

    @property
    def content(self) -> Content:
        return self.rows, self.files


@dataclass(frozen=True)
class Found(State):
    """A table as it was found, with what readers of main see."""

    main: Content = NOTHING
    #: Whether main is held back; None before there is a table.
    is_held: bool | None = None


@dataclass(frozen=True)
class Round:
    """Files to merge in one go, and the table before and after."""

    config: TableConfig
    inputs: tuple[MergeInput, ...]
    completed: int | None
    #: Quarantine items to release first.
    releases: tuple[tuple[str, int | None], ...]
    columns: tuple[str, ...]
    before: State
    after: State
    #: Whether the table held main back before it.
    was_held: bool = False
    #: What main shows while it is held back.
    held_at: Content = NOTHING

    @property
    def is_held(self) -> bool:
        """Whether main is held back after the merge."""
        return self.config.publish is Publish.ON_MATCH

    @property
    def main(self) -> Content:
        """What main shows after the merge."""
        return self.held_at if self.is_held else self.after.content

    @property
    def between(self) -> tuple[tuple[Content, Content], ...]:
        """What the table and its main may show until the merge has gone through."""
        before, after = self.before.content, self.after.content
        if self.is_held:
            return (before, self.held_at), (after, self.held_at)
        # main is let go before anything is merged
        return (before, self.held_at if self.was_held else before), (before, before), (after, after)

    def may_pass(self, point: str) -> bool:
        """Whether the merge may come past one of the points that are rare."""
        has_news = self.before.quarantine.keys() != self.after.quarantine.keys()
        needed = {
            "quarantine object": has_news,
            HOLD_BACK: self.is_held and not self.was_held,
            LET_GO: self.was_held and not self.is_held,
        }
        return all(is_there for what, is_there in needed.items() if what in point)
