"""Where main of a table must be, by what was done: merges that hold it back or not, publications, upkeep."""

from __future__ import annotations

from cdc_platform.config.model import Publish, TableConfig
from cdc_platform.lake.catalog import Lake
from cdc_platform_tests.histories.afterwards import PUBLISH, SOURCE
from cdc_platform_tests.histories.comparison import Mismatch


class MainBranch:
    """Main of one table; it is looked at without the code that moves it."""

    def __init__(self, lake: Lake, table: TableConfig) -> None:
        self._lake = lake
        self._id = table.id
        self._is_held = False
        self._main: int | None = None
        #: What main has not, oldest first.
        self._pending: list[int] = []

    def merged(self, table: TableConfig) -> None:
        """Take in a merge, which first holds main back or lets it go, as ``table`` says."""
        was_new, self._is_held = self._main is None, table.publish is Publish.ON_MATCH
        history = self._history()
        if history and (was_new or not self._is_held):
            # readers of a new table that holds back see a snapshot without rows
            self._main = history[-1] if self._is_held else history[0]
        self._check(history)

    def turned(self, what: str, target: int | None) -> None:
        """Take in what came after a merge; a rollback to ``target`` takes main along where it must."""
        history = self._history()
        if history and not self._is_held:
            self._main = history[0]
        elif what == PUBLISH and self._pending:
            self._main = self._pending[len(self._pending) // 2]
        elif target is not None and self._main not in history:
            self._main = target
        self._check(history)

    def _history(self) -> list[int]:
        """Return the snapshots of the branch that merges write, newest first, as far as they are there."""
        table = self._lake.load(SOURCE, self._id)
        at = table.metadata.current_snapshot_id if table is not None else None
        found = []
        while table is not None and at is not None and (snapshot := table.snapshot_by_id(at)) is not None:
            found.append(at)
            at = snapshot.parent_snapshot_id
        return found

    def _check(self, history: list[int]) -> None:
        """Raise Mismatch unless main is where it must be, and can be moved forward from there."""
        if not history:
            return
        table = self._lake.catalog.load_table(self._lake.identifier(SOURCE, self._id))
        ends = {name: reference.snapshot_id for name, reference in table.metadata.refs.items()}
        wanted = {"main": self._main} | ({"cdc_pending": history[0]} if self._is_held else {})
        if ends != wanted:
            raise Mismatch(f"the branches end at {ends}, not {wanted}")
        if self._main not in history:
            raise Mismatch(f"main, at {self._main}, does not lead to {history[0]}")
        self._pending = history[: history.index(self._main)][::-1]
