"""What came of taking the rows of one file in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cdc_platform.errors import UnreadableRawFile
from cdc_platform.lake.inputs import MergeInput
from cdc_platform.lake.quarantine import MAX_REJECTED_ROWS, MAX_REJECTED_SHARE, QuarantineItem, item_of
from cdc_platform.words import counted


@dataclass(slots=True)
class StagedFile:
    """What came of staging one file."""

    index: int
    input: MergeInput
    ops: dict[str, int] = field(default_factory=dict)
    #: Rejected rows by row number.
    rejected: dict[int, QuarantineItem] = field(default_factory=dict)
    #: Whether only released rows of it were staged: then the file itself was found good before.
    is_part: bool = False

    @property
    def rows(self) -> int:
        """How many of its rows are events."""
        return sum(self.ops.values())

    def reject(self, item: QuarantineItem) -> None:
        """Set a row aside. Raises UnreadableRawFile when that makes too many for one file."""
        assert item.row is not None
        self.rejected.setdefault(item.row, item)
        if len(self.rejected) > MAX_REJECTED_ROWS:
            raise self.hopeless()

    def reject_row(
        self, row: int, column: str | None, reason: str, mend: str, values: Mapping[str, object]
    ) -> None:
        """Set aside the row of this number. Raises UnreadableRawFile when that makes too many."""
        self.reject(item_of(self.input.accepted, row, reason=reason, mend=mend, column=column, values=values))

    def check(self) -> None:
        """Raise UnreadableRawFile when most rows were rejected: then the file, not its rows, is at fault."""
        bad = len(self.rejected)
        if not self.is_part and bad > MAX_REJECTED_SHARE * (bad + self.rows):
            raise self.hopeless()

    def hopeless(self) -> UnreadableRawFile:
        """Return the error that sets the whole file aside."""
        first = next(iter(self.rejected.values()))
        column = f", column {first.column}" if first.column else ""
        return UnreadableRawFile(
            f"{counted(len(self.rejected), 'row')} cannot be applied, "
            f"the first of them row {first.row}{column}: {first.reason}",
            where=self.input.accepted.file.key,
            mend=first.mend,
        )
