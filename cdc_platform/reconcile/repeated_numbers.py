"""Which of any number of 64-bit numbers occur more than once, in bounded memory.

Numbers are sorted, so many at once as memory is given; where there are more, each sorted run goes to disk and
ranges of all runs are looked at together.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

Numbers = npt.NDArray[np.uint64]

_BYTES = np.dtype(np.uint64).itemsize


class RepeatedNumbers:
    """Takes numbers, of which ``expected`` may come, and tells which came more than once.

    ``at_once`` of them are held in memory; the others lie in a file below ``folder`` that nobody else sees.
    """

    def __init__(self, folder: Path, *, at_once: int, expected: int) -> None:
        self._buffer: Numbers = np.empty(max(1, min(at_once, expected)), np.uint64)
        self._held = 0
        # closed with this object
        self._file = tempfile.TemporaryFile(dir=folder if folder.is_dir() else None)  # noqa: SIM115
        # random numbers lie evenly: of each part of their range come half as many as are held at once
        parts = max(1, -(-2 * expected // len(self._buffer)))
        self._bounds = np.array([part * 2**64 // parts for part in range(1, parts)], np.uint64)
        #: Of each run on disk where it begins, and where in it the parts of the range end.
        self._runs: list[tuple[int, list[int]]] = []

    def __enter__(self) -> RepeatedNumbers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, numbers: Numbers) -> None:
        """Take more numbers."""
        while len(numbers):
            if self._held == len(self._buffer):
                self._write_run()
            taken = numbers[: len(self._buffer) - self._held]
            self._buffer[self._held : self._held + len(taken)] = taken
            self._held += len(taken)
            numbers = numbers[len(taken) :]

    def found(self) -> Iterator[Numbers]:
        """Yield the repeated numbers, each once and ascending; call it when all have come."""
        if not self._runs:
            yield _repeated(self._sorted())
            return
        self._write_run()
        # its room is that of the parts now
        self._buffer = np.empty(0, np.uint64)
        for part in range(len(self._bounds) + 1):
            together = np.concatenate([self._piece(start, cuts, part) for start, cuts in self._runs])
            together.sort()
            yield _repeated(together)

    def _sorted(self) -> Numbers:
        numbers = self._buffer[: self._held]
        numbers.sort()
        return numbers

    def _write_run(self) -> None:
        """Move what is held to disk, of each number two at most: a third tells nothing, and takes room."""
        numbers = self._sorted()
        is_third = numbers[2:] == numbers[:-2]
        if is_third.any():
            numbers = np.concatenate([numbers[:2], numbers[2:][~is_third]])
        start = self._file.seek(0, os.SEEK_END)
        numbers.tofile(self._file)
        self._runs.append((start, [*np.searchsorted(numbers, self._bounds).tolist(), len(numbers)]))
        self._held = 0

    def _piece(self, start: int, cuts: list[int], part: int) -> Numbers:
        """Read what of a run lies in a part of the range; a mapped file would count as memory of ours."""
        first = cuts[part - 1] if part else 0
        self._file.seek(start + first * _BYTES)
        return np.fromfile(self._file, np.uint64, cuts[part] - first)


def _repeated(ascending: Numbers) -> Numbers:
    is_second = ascending[1:] == ascending[:-1]
    return np.unique(ascending[1:][is_second])
