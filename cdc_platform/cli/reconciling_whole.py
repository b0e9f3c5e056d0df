"""``cdc reconcile --full``, ``--incremental`` and ``--against``: whole tables, with progress on stderr."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.numbers import finite
from cdc_platform.cli.output import print_json, print_table, stderr
from cdc_platform.errors import ConfigError
from cdc_platform.reconcile.budget import SLOWEST_RATE, Budget
from cdc_platform.reconcile.contradictions import refuse_contradictions
from cdc_platform.reconcile.scopes import EXPORT, FULL, INCREMENTAL, KEYS

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.pipeline import Platform
    from cdc_platform.reconcile.proofs import Ages
    from cdc_platform.reconcile.verdict import Reconciliation

FullOption = Annotated[
    bool, typer.Option("--full", help="Every row of the table, not only what a window changed.")
]
IncrementalOption = Annotated[
    bool,
    typer.Option(
        "--incremental",
        help="The whole table, by what changed since its last comparison and what was compared longest ago.",
    ),
]
AgesOption = Annotated[
    bool, typer.Option("--ages", help="Only show how long ago each table was compared whole.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(
        "--against",
        metavar="PATH",
        help="Every row of this Parquet export (folder, file or pattern) instead of the source database.",
    ),
]
KeysOption = Annotated[
    bool,
    typer.Option("--keys-and-versions", help="Every key of the table, and --version-column, but no values."),
]
VersionOption = Annotated[
    str | None,
    typer.Option("--version-column", help="Column that changes with every change of a row (updated_at)."),
]
PositionOption = Annotated[
    str | None,
    typer.Option(
        "--position",
        metavar="LSN",
        help="The source's log position --against was exported at: keys unchanged since are judged.",
    ),
]
ResumeOption = Annotated[
    bool, typer.Option("--resume", help="Go on with the segments an earlier full run left over.")
]
SecondsOption = Annotated[
    float | None, typer.Option("--max-seconds", min=0, callback=finite, help="Stop a full run after so long.")
]
RowsOption = Annotated[
    int | None, typer.Option("--max-rows", min=0, help="Stop a full run after so many source rows.")
]
CpuOption = Annotated[
    float | None,
    typer.Option(
        "--max-cpu-seconds",
        min=0,
        callback=finite,
        help="Stop a full run after so much processor time of its own.",
    ),
]
RateOption = Annotated[
    float | None,
    typer.Option(
        "--queries-per-second", min=SLOWEST_RATE, callback=finite, help="Ask the source no more often."
    ),
]


@dataclass(frozen=True, slots=True)
class WholeTable:
    """What the options of a full comparison say."""

    full: bool
    against: str | None
    position: str | None
    resume: bool
    budget: Budget
    keys_only: bool = False
    version_column: str | None = None
    incremental: bool = False

    @property
    def is_wanted(self) -> bool:
        return self.full or self.keys_only or self.incremental or self.against is not None

    def check(self, windows: list[str] | None, all_windows: bool, tables: int) -> None:
        """Raise ConfigError for options that do not go together."""
        if not self.is_wanted and (self.resume or self.budget != Budget()):
            self._refuse("--resume and budgets are of full runs", "add --full")
        if self.is_wanted and (windows or all_windows):
            self._refuse("a full run compares no windows", "leave out --window and --all")
        refuse_contradictions(
            against=self.against,
            position=self.position,
            full=self.full,
            resume=self.resume,
            keys_only=self.keys_only,
            version_column=self.version_column,
            incremental=self.incremental,
        )
        if self.against is not None and tables != 1:
            self._refuse("--against is an export of one table", "name the table by --table")

    def check_ages(self, others: bool) -> None:
        """Raise ConfigError when ``--ages``, which compares nothing, stands beside what asks for a run."""
        if others or self.is_wanted:
            self._refuse("--ages compares nothing", "give it alone, or leave it out")

    def _refuse(self, what: str, mend: str) -> None:
        raise ConfigError("cdc", [("reconcile", what, mend)])

    @property
    def windows(self) -> list[str]:
        """What stands in the place of windows: nothing when windows are asked for."""
        if not self.is_wanted:
            return []
        if self.keys_only:
            return [KEYS]
        return [EXPORT if self.against is not None else INCREMENTAL if self.incremental else FULL]

    def runner(self, platform: Platform) -> Callable[[tuple[str, str, str]], Reconciliation] | None:
        """Return what reconciles one (source, table id, anything); None when windows are asked for."""
        return partial(self._run, platform) if self.is_wanted else None

    def _run(self, platform: Platform, one: tuple[str, str, str]) -> Reconciliation:
        from cdc_platform.reconcile.full import reconcile_full, whole_options

        source, table_id, _ = one
        console = stderr()

        def tell(text: str) -> None:
            console.print(f"{source}/{table_id}: {text}", highlight=False, markup=False)

        options = whole_options(
            platform.lake,
            self.against,
            self.position,
            budget=self.budget,
            resume=self.resume,
            keys_only=self.keys_only,
            version_column=self.version_column,
            incremental=self.incremental,
            tell=tell,
        )
        return reconcile_full(platform, source, table_id, options)


def print_ages(platform: Platform, tables: list[tuple[str, TableConfig]], as_json: bool) -> bool:
    """Print how long ago the tables were compared whole; return whether all are young enough."""
    from cdc_platform.reconcile.full import verification_ages

    found = {
        (name, one.id): verification_ages(platform, name, one.id) for name, one in tables if one.merge_key
    }
    if as_json:
        print_json({"verification": [_ages_json(*key, ages) for key, ages in found.items()]})
    else:
        rows = [
            (f"{name}/{table_id}", ages.segments, ages.unproven, ages.oldest, ages.last_run, ages.sentence)
            for (name, table_id), ages in found.items()
        ]
        print_table("", ["table", "segments", "not proven", "oldest proof", "last run", "so"], rows)
    return all(ages.is_kept for ages in found.values())


def _ages_json(source: str, table_id: str, ages: Ages) -> dict[str, object]:
    age = ages.oldest_age
    return {
        "source": source,
        "table": table_id,
        "segments": ages.segments,
        "segments_not_proven": ages.unproven,
        "oldest_proof": ages.oldest,
        "oldest_age_seconds": age.total_seconds() if age is not None else None,
        "within_days": ages.within / timedelta(days=1),
        "last_run": ages.last_run,
        "is_kept": ages.is_kept,
    }
