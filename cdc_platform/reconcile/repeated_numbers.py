"""Which of any number of 64-bit numbers occur more than once, in bounded memory.

Numbers are sorted, so many at once as memory is given; where there are more, each sorted run goes to disk and
ranges of all runs are looked at together.
"""

from __future__ import annotations

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
        self._runs: list[int] = []

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
        self._file.flush()
        runs = self._on_disk()
        # random numbers lie evenly: so many parts of their range fill half of the memory each
        parts = -(-2 * sum(self._runs) // len(self._buffer))
        bounds = [part * 2**64 // parts for part in range(1, parts)]
        cuts = [[0, *np.searchsorted(run, np.array(bounds, np.uint64)).tolist(), len(run)] for run in runs]
        for part in range(parts):
            pieces = [run[cut[part] : cut[part + 1]] for run, cut in zip(runs, cuts, strict=True)]
            together = np.concatenate(pieces)
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
        numbers.tofile(self._file)
        self._runs.append(len(numbers))
        self._held = 0

    def _on_disk(self) -> list[Numbers]:
        runs, start = [], 0
        for length in self._runs:
            offset = start * _BYTES
            runs.append(np.memmap(self._file, np.uint64, mode="r", offset=offset, shape=(length,)))
            start += length
        return [run for run in runs if len(run)]


def _repeated(ascending: Numbers) -> Numbers:
    is_second = ascending[1:] == ascending[:-1]
    return np.unique(ascending[1:][is_second])
