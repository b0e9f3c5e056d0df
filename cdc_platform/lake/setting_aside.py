"""What the merge rule set aside, as quarantine items; a file that is mostly so is set aside whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb

from cdc_platform.errors import UnreadableRawFile
from cdc_platform.events import BEFORE_PREFIX, ROW, before_name
from cdc_platform.lake.intake import Intake
from cdc_platform.lake.quarantine import MAX_REJECTED_ROWS, MAX_REJECTED_SHARE, QuarantineItem, item_of
from cdc_platform.lake.rules import DECIDED_ONE_BY_ONE, REASONS
from cdc_platform.lake.staged_file import StagedFile
from cdc_platform.lake.staging import AT, EVENT, FILE
from cdc_platform.lake.workspace import source_column, table_column

_INTERNAL = {"cause", EVENT, FILE, AT}


class PlanWithout(Exception):
    """Some files turn out to be of no use, and others depend on them: plan again without them."""

    def __init__(self, items: Sequence[QuarantineItem]) -> None:
        self.items = {(item.key, item.etag): item for item in items}


def _hopeless(staged: StagedFile) -> PlanWithout:
    """Return what is raised when the rule set most of a file's rows aside."""
    error = staged.hopeless()
    return PlanWithout([item_of(staged.input.accepted, None, reason=error.what, mend=error.mend)])


def items_set_aside(con: duckdb.DuckDBPyConnection, intake: Intake) -> list[QuarantineItem]:
    """Turn what the rule set aside into items. Raises PlanWithout where it is most of a file."""
    found: dict[int, StagedFile] = {}
    by_index = {staged.index: staged for staged in intake.staged}
    items = []
    reader = con.execute(f"FROM set_aside ORDER BY {EVENT}").to_arrow_reader(MAX_REJECTED_ROWS)
    for batch in reader:
        for values in batch.to_pylist():
            staged = by_index[values[FILE]]
            item = _item(staged, values)
            items.append(item)
            if values["cause"] not in DECIDED_ONE_BY_ONE:
                found[values[FILE]] = staged
            try:
                staged.reject(item)
            except UnreadableRawFile as e:
                if not staged.is_part:
                    raise _hopeless(staged) from e
    for staged in found.values():
        most = MAX_REJECTED_SHARE * max(staged.rows, 1)
        if len(staged.rejected) > most and staged.rows > 1 and not staged.is_part:
            raise _hopeless(staged)
    return items


def _shown(name: str) -> str:
    """Return what a person knows a workspace's column by."""
    before = source_column(name.removeprefix(BEFORE_PREFIX)) if name.startswith(BEFORE_PREFIX) else None
    return before_name(before) if before is not None else table_column(name)


def _item(staged: StagedFile, values: Mapping[str, Any]) -> QuarantineItem:
    reason, mend = REASONS[values["cause"]]
    shown = {_shown(name): value for name, value in values.items() if name not in _INTERNAL}
    return item_of(staged.input.accepted, values[ROW], reason=reason, mend=mend, values=shown)
