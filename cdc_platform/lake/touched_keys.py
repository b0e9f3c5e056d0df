"""The keys a batch touches, as arrays, to be compared with what data files are known to hold."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from cdc_platform.lake.base_files import BaseFile
from cdc_platform.lake.fold import Fold
from cdc_platform.lake.packing import Numbers, sorted_keys
from cdc_platform.naming import quoted

#: The lowest and highest value a file has of a column, None where unknown.
Limits = Callable[[BaseFile, str], tuple[Any, Any]]

_WHOLE = ("INTEGER", "BIGINT")

#: Keys that are read at once, instead of being asked about column by column.
HELD_KEYS = 10_000
_SAMPLE = 10_000


class TouchedKeys:
    """The keys in table ``touched`` of one workspace; their columns are read when first asked for.

    ``fold`` has them too where they are words; then ``touched`` has the number of each key besides.
    """

    def __init__(
        self, con: duckdb.DuckDBPyConnection, key: Sequence[str], limits: Limits, fold: Fold | None = None
    ) -> None:
        self._con = con
        self.fold = fold
        self._limits = limits
        self.key = tuple(key)
        self.count = len(fold.rows) if fold is not None else _count(con)
        keys = ", ".join(map(quoted, key))
        limit = self.count if self.count <= HELD_KEYS else 0
        result = con.execute(f"SELECT {keys} FROM touched LIMIT {limit}") if key else None
        #: The key's columns, with the engine's names of their types.
        self.types = {name: str(kind) for name, kind, *_ in result.description} if result else {}
        #: All keys, where they are few.
        self._held: Any = result.to_arrow_table() if result and limit else None
        self._spans: dict[str, tuple[int, int]] = {}
        #: The columns that are whole numbers.
        self.whole = tuple(name for name, kind in self.types.items() if kind in _WHOLE)

    @cached_property
    def _numbers(self) -> Mapping[str, Numbers]:
        if self.fold is not None:
            return {name: self.fold.numbers(self.key.index(name)) for name in self.whole}
        return self.arrays({name: quoted(name) for name in self.whole})

    @cached_property
    def ascending(self) -> tuple[Numbers, ...] | None:
        """The columns of the keys, in the order of the keys, where all are whole numbers; else None."""
        if not self.key or self.whole != self.key:
            return None
        if self.fold is not None:
            return self.fold.words
        return sorted_keys([self._numbers[name] for name in self.key])

    def arrays(self, columns: Mapping[str, str]) -> dict[str, Numbers]:
        """Return SQL expressions over ``touched``, in one order of its rows; they must not be NULL."""
        if not columns:
            return {}
        if self._held is not None and all(quoted(name) == value for name, value in columns.items()):
            return {name: self._held.column(name).to_numpy() for name in columns}
        selected = ", ".join(f"{value} AS {quoted(name)}" for name, value in columns.items())
        table: Any = self._con.execute(f"SELECT {selected} FROM touched").to_arrow_table()
        return {name: table.column(name).to_numpy() for name in columns}

    def values(self, column: str, most: int) -> set[Any]:
        """Return what the keys have in a column where that is at most ``most`` values, else nothing."""
        if self.fold is not None and len(self.key) == 1 and self.count > most:
            return set()
        if self._held is not None:
            values = set(self._held.column(column).unique().to_pylist())
        elif self.fold is not None and column in self.whole:
            numbers = self._numbers[column]
            # a few of them mostly tell that there are too many
            some = np.unique(numbers[:: len(numbers) // _SAMPLE + 1])
            values = set((np.unique(numbers) if len(some) <= most else some).tolist())
        else:
            name = quoted(column)
            about = self._con.execute(f"SELECT approx_count_distinct({name}) FROM touched").fetchone() or (0,)
            if about[0] > most // 2:
                return set()
            values = {v for (v,) in self._con.execute(f"SELECT DISTINCT {name} FROM touched").fetchall()}
        return values if len(values) <= most else set()

    def extremes(self, column: str) -> tuple[Any, Any]:
        """Return the lowest and highest value the keys have in a column."""
        if self.fold is not None and column in self.whole:
            return self._span(column)
        if self.fold is not None and column == self.key[0]:
            return self.fold.first_value(0), self.fold.first_value(self.count - 1)
        query = f"SELECT min({quoted(column)}), max({quoted(column)}) FROM touched"
        low, high = self._con.execute(query).fetchone() or (None, None)
        return low, high

    def _span(self, column: str) -> tuple[int, int]:
        """Return the lowest and highest of whole numbers."""
        if column not in self._spans:
            numbers = self._numbers[column]
            self._spans[column] = (int(numbers.min()), int(numbers.max())) if len(numbers) else (0, 0)
        return self._spans[column]

    def in_range(self, file: BaseFile) -> int:
        """Return how many keys can be in a file by its bounds of their whole-number columns, at most."""
        if self.ascending is not None and len(self.ascending) == 1:
            low, high = self._limits(file, self.key[0])
            if low is None or high is None:
                return self.count
            first, after = (
                np.searchsorted(self.ascending[0], low),
                np.searchsorted(self.ascending[0], high, "right"),
            )
            return int(after - first)
        return int(np.count_nonzero(self.mask(file, self._numbers))) if self.whole else self.count

    def may_be_in(self, file: BaseFile) -> bool:
        """Whether a key of the fold can be in a file by its bounds of the key's first column."""
        assert self.fold is not None
        low, high = self._limits(file, self.key[0])
        if low is None or high is None or low <= self._middle <= high:
            return True
        at = bisect.bisect_left(range(self.count), low, key=self.fold.first_value)
        return at < self.count and bool(self.fold.first_value(at) <= high)

    @cached_property
    def _middle(self) -> Any:
        """The first column of a key that mostly tells that some key can be in a file."""
        assert self.fold is not None
        return self.fold.first_value(self.count // 2)

    def mask(self, file: BaseFile, numbers: Mapping[str, Numbers]) -> npt.NDArray[np.bool_]:
        """Return which keys, of which ``numbers`` are columns, can be in a file by its bounds of them."""
        kept = np.ones(self.count, dtype=bool)
        for column, values in numbers.items():
            low, high = self._limits(file, column)
            if low is None or high is None:
                continue
            least, most = self._span(column)
            if low > least or high < most:
                kept &= (values >= low) & (values <= high)
        return kept


def _count(con: duckdb.DuckDBPyConnection) -> int:
    row = con.execute("SELECT count(*) FROM touched").fetchone()
    return int(row[0]) if row else 0
