"""``cdc reconcile --settle``: the keys that earlier runs left in flight, looked at again."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.numbers import finite
from cdc_platform.cli.output import stderr, stdout
from cdc_platform.errors import ConfigError
from cdc_platform.reconcile.scopes import LONGEST_AGE, SETTLING
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.pipeline import Platform
    from cdc_platform.reconcile.verdict import Reconciliation

SettleOption = Annotated[
    bool,
    typer.Option("--settle", help="Only keys that earlier runs left in flight, or found different in them."),
]
MinAgeOption = Annotated[
    float | None,
    typer.Option(
        "--min-age",
        min=0,
        max=LONGEST_AGE,
        callback=finite,
        metavar="SECONDS",
        help="With --settle: only keys open for so long.",
    ),
]
MaxAgeOption = Annotated[
    float | None,
    typer.Option(
        "--max-age",
        min=0,
        max=LONGEST_AGE,
        callback=finite,
        metavar="SECONDS",
        help="With --settle: a key open for longer is unverified.  [default: 3600]",
    ),
]


@dataclass(frozen=True, slots=True)
class Settling:
    """What the options about keys in flight say."""

    is_wanted: bool
    min_age: float | None
    max_age: float | None

    def check(self, *, windows: bool, whole: bool) -> None:
        """Raise ConfigError for options that do not go together."""
        if self.is_wanted and (windows or whole):
            self._refuse("--settle compares neither windows nor whole tables", "leave the others out")
        if not self.is_wanted and (self.min_age is not None or self.max_age is not None):
            self._refuse("--min-age and --max-age are of keys in flight", "add --settle")

    def _refuse(self, what: str, mend: str) -> None:
        raise ConfigError("cdc", [("reconcile", what, mend)])

    def chosen(
        self, platform: Platform, tables: Collection[tuple[str, TableConfig]]
    ) -> list[tuple[str, str, str]]:
        """Return what is settled: tables with keys in flight, or with any in their queue when asked for."""
        from cdc_platform.reconcile.settling import read_queue

        queues = ((name, one.id, read_queue(platform.objects(name, one.id))) for name, one in tables)
        return [
            (name, table_id, SETTLING)
            for name, table_id, queue in queues
            if queue.in_flight or (self.is_wanted and queue.entries)
        ]

    def runner(
        self,
        platform: Platform,
        others: Callable[[tuple[str, str, str]], Reconciliation],
    ) -> Callable[[tuple[str, str, str]], Reconciliation | None]:
        """Return what settles, or does ``others``, by what stands in the place of the window."""
        from cdc_platform.reconcile.settle import SettleOptions, settle

        given = {"min_age_seconds": self.min_age, "max_age_seconds": self.max_age}
        options = SettleOptions.of_seconds(**{n: age for n, age in given.items() if age is not None})

        def run(one: tuple[str, str, str]) -> Reconciliation | None:
            return settle(platform, one[0], one[1], options) if one[2] == SETTLING else others(one)

        return run


def print_settling(results: Collection[Reconciliation]) -> None:
    """Print how much is left in flight, and for how long."""
    for result in results:
        told = result.certificate.get("settling")
        if told is None:
            continue
        oldest = told["oldest_age_seconds"]
        age = f", the oldest for {timedelta(seconds=int(oldest))}" if oldest is not None else ""
        left = f"{told['left_out']:,} more had no room in the queue" if told["left_out"] else ""
        text = f"{result.source}/{result.table_id}: {counted(told['queued'], 'key')} left in flight{age}"
        stdout().print("; ".join(filter(None, (text, left))), highlight=False, markup=False)


def say_nothing_is_open() -> None:
    """Say that there was nothing to look at."""
    stderr().print("no key is in flight", highlight=False, markup=False)
