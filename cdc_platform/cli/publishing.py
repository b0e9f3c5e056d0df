"""``cdc publish``: main of tables that show only what reconciles."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.chosen_tables import chosen_tables
from cdc_platform.cli.failures import done_for_each, exit_if_found, exit_with_failures, texts
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    SourceOption,
    plain,
    print_json,
    stdout,
)
from cdc_platform.cli.selection import one_table, open_platform

if TYPE_CHECKING:
    from cdc_platform.config.model import TableConfig
    from cdc_platform.errors import CdcError
    from cdc_platform.pipeline import Platform
    from cdc_platform.publication import Publication


def register(app: typer.Typer) -> None:
    """Add the command to ``app``."""
    app.command("publish", rich_help_panel="Main job")(publish)


def publish(
    tables: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TABLE]...", help="id or source/id; default: every table that holds back."),
    ] = None,
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Move main of tables with [bold]publish: on_match[/bold] to what the newest verdicts prove.

    [bold]cdc reconcile[/bold] and the reconciliation assets do it after every verdict; this is for what they
    could not do. A table whose option was taken away is published whole.

    Exit code 1 when something stays pending, 3 when main of a table cannot be moved.

    [bold]Examples[/bold]

      cdc publish --dry-run            what is pending, and why

      cdc publish productorder
    """
    platform = open_platform(config)
    named = [one_table(platform, one) for one in tables or ()]
    chosen = named or holding_back(platform, chosen_tables(platform, source, None))
    results, failures = publications(platform, chosen, dry_run=dry_run)
    if as_json:
        told = [publication_json(one) for one in results]
        print_json({"dry_run": dry_run, "tables": told, "failures": texts(failures)})
    elif not results and not failures:
        stdout().print("no table holds main back: nothing to publish")
    else:
        print_publications(results)
    exit_with_failures(failures)
    exit_if_found(any(one.pending for one in results))


def holding_back(
    platform: Platform, tables: Iterable[tuple[str, TableConfig]]
) -> list[tuple[str, TableConfig]]:
    """Return those of ``tables`` that wait for verdicts, or still do though ``cdc.yaml`` does not say so."""
    from cdc_platform.config.model import Publish
    from cdc_platform.lake.branch import holds_back

    found = []
    for source, table in tables:
        base = platform.lake.load(source, table.id) if table.publish is Publish.ALWAYS else None
        if table.publish is Publish.ON_MATCH or (base is not None and holds_back(base)):
            found.append((source, table))
    return found


def publications(
    platform: Platform, tables: list[tuple[str, TableConfig]], *, dry_run: bool = False
) -> tuple[list[Publication], dict[str, CdcError]]:
    """Publish each table; one that fails does not hold up the others."""
    from cdc_platform.publication import publish as publish_table

    results, failures = done_for_each(
        tables,
        "publishing",
        lambda one: f"{one[0]}/{one[1].id}",
        lambda one: publish_table(platform, one[0], one[1].id, dry_run=dry_run),
    )
    return list(results.values()), failures


def print_publications(results: Collection[Publication]) -> None:
    """Print a sentence a table."""
    for one in results:
        stdout().print(f"{one.source}/{one.table_id}: {one.sentence}", highlight=False, markup=False)


def publication_json(one: Publication) -> dict[str, Any]:
    """Return a form that goes into JSON; snapshot ids as text, which every reader keeps whole."""
    ids = {"before": one.before, "published": one.published, "newest": one.newest}
    as_text = {name: None if at is None else str(at) for name, at in ids.items()}
    return {**plain(one), **as_text, "sentence": one.sentence}
