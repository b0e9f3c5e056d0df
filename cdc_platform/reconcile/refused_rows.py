"""Rows that wait in quarantine, or were given up there, and are no events: which keys their own text names.

No reader could type them, so no event tells what they change. An update of a key to NULL names the old key
by its before image alone; a row that names no key at all may be of any.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cdc_platform.events import OP
from cdc_platform.lake.named_keys import named_keys, safe_texts
from cdc_platform.lake.quarantine import WAITING, QuarantineItem, QuarantineState
from cdc_platform.reconcile.faults import RawImage


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was refused, by its file's key and its number there."""

    file: str
    row: int
    reason: str
    is_discarded: bool = False
    generation: int = 0

    @property
    def where(self) -> str:
        """Return file and row for a person."""
        return f"{self.file} row {self.row}"


class RefusedRows:
    """Takes refused rows, and keeps those that name one of ``keys`` (columns ``names``), by its number.

    ``prefix`` is that of before images in the files.
    """

    def __init__(self, keys: Iterable[Mapping[str, Any]], names: Sequence[str], prefix: str | None) -> None:
        self._names, self._prefix = tuple(names), prefix
        self._wanted: dict[tuple[Any, ...], int] = {
            tuple(str(key.get(name)) for name in names): number for number, key in enumerate(keys)
        }
        self._found: dict[int, list[RefusedRow]] = defaultdict(list)
        #: Why raw may have an event of any key that nobody can tell; empty where it has none.
        self.doubt = ""

    def add(self, row: RefusedRow, values: Mapping[str, Any]) -> None:
        """Take one row, with the values its file has in it."""
        texts = safe_texts(values)
        named = named_keys(texts, self._names, self._prefix)
        for key in named & self._wanted.keys():
            self._found[self._wanted[key]].append(row)
        if not named and not row.is_discarded and not _is_new(row, texts):
            self.doubt = self.doubt or f"{row.where} waits in quarantine and names no key: {row.reason}"

    def add_items(self, items: Iterable[QuarantineItem], completed: int) -> None:
        """Take the rows that were set aside one by one, of the load ``completed`` or later."""
        for item in items:
            is_discarded = item.state is QuarantineState.DISCARDED
            if (
                item.row is not None
                and item.generation >= completed
                and (item.state in WAITING or is_discarded)
            ):
                row = RefusedRow(item.key, item.row, item.reason, is_discarded, item.generation)
                self.add(row, item.values)

    def of(self, number: int, read: Collection[tuple[str, int]], newest: RawImage | None) -> list[RefusedRow]:
        """Return the rows of a key that are no event that was ``read``, nor from before ``newest``."""
        return [
            one
            for one in self._found[number]
            if (one.file, one.row) not in read and not (newest is not None and _is_earlier(one, newest))
        ]


def _is_new(row: RefusedRow, texts: Mapping[str, Any]) -> bool:
    """Whether the row brings a key that was not there before, and so is of no other."""
    return not _base_name(row.file)[:1].isdigit() or texts.get("op", texts.get(OP)) == "I"


def _is_earlier(row: RefusedRow, other: RawImage) -> bool:
    """Whether a row is of an earlier time than an event, as generations, names of files and numbers say.

    Rows of a full load come before the changes of its generation. Of a repair's file nothing is known.
    """
    if row.generation != other.generation:
        return row.generation < other.generation
    one, two = _base_name(row.file), _base_name(other.file)
    if not two[:1].isdigit():
        return False
    return not one[:1].isdigit() or (one, row.row) < (two, other.row)


def _base_name(key: str) -> str:
    return key.rpartition("/")[2]
