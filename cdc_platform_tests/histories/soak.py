"""Runs the cases of many seeds; a failure is shrunk and told as a case to read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack

from cdc_platform_tests.histories.case import Case, random_case
from cdc_platform_tests.histories.lakes import quick_lake, quick_reader
from cdc_platform_tests.histories.run import Run
from cdc_platform_tests.histories.show import shown
from cdc_platform_tests.histories.shrink import shrink

#: Tables of one lake before a new one is made: its catalog and folders grow.
CASES_PER_LAKE = 100


class Bench:
    """Lakes to run cases in, made anew every so often."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._left = 0

    def run(self, case: Case) -> Exception | None:
        """Run a case and return what went wrong."""
        if not self._left:
            self.close()
            self._lake = self._stack.enter_context(quick_lake())
            self._read = self._stack.enter_context(quick_reader(self._lake))
            self._left = CASES_PER_LAKE
        self._left -= 1
        try:
            Run(self._lake, case, self._read).go()
        except Exception as e:
            return e
        return None

    def close(self) -> None:
        """Let go of the lake."""
        self._stack.close()
        self._stack, self._left = ExitStack(), 0


def failures(
    seeds: Iterable[int], *, make: Callable[[int], Case] = random_case, done: Callable[[], object] = int
) -> Iterator[str]:
    """Run the case of each seed, calling ``done`` after it; yield each failure, shrunk, as text."""
    bench = Bench()
    try:
        for seed in seeds:
            case = make(seed)
            error = bench.run(case)
            if error is not None:
                yield _told(bench, case, error)
            done()
    finally:
        bench.close()


def _told(bench: Bench, case: Case, error: Exception) -> str:
    """Return the smallest case that fails in the same way, with what it fails with."""
    found = {"error": error}

    def fails(smaller: Case) -> bool:
        another = bench.run(smaller)
        if another is None or type(another) is not type(error):
            return False
        found["error"] = another
        return True

    small = shrink(case, fails)
    return f"{shown(small)}\n{type(error).__name__}: {found['error']}"
