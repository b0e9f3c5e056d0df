"""``cdc discover`` and ``cdc replicate``: what comes from a source, and the DMS task that brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    SourceOption,
    print_json,
    print_table,
    progress,
    stdout,
)
from cdc_platform.cli.selection import open_platform

if TYPE_CHECKING:
    from cdc_platform.discovery import Discovery


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("discover", rich_help_panel="Configuration")(discover)


def discover(
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Find tables in the raw folder that cdc.yaml lacks, and add them to it, inactive.

    Merge keys, and the columns of CSV without a header, come from the source's catalog when it can be
    reached. Comments and order of cdc.yaml stay as they are.

    [bold]Examples[/bold]

      cdc discover --dry-run      only show what would be added

      cdc discover -s retail      then look at the merge keys and set active: true
    """
    from cdc_platform.config.stanzas import stanza, write_stanzas
    from cdc_platform.discovery import discover as find

    platform = open_platform(config)
    if source is not None:
        platform.source(source)
    chosen = [source] if source is not None else list(platform.config.sources)
    found: dict[str, Discovery] = {}
    with progress("looking", len(chosen)) as bar:
        for name in chosen:
            bar.begin(f"looking into {name}")
            found[name] = find(platform, name)
            bar.done()
    if not dry_run:
        for name, discovery in found.items():
            write_stanzas(config, name, discovery.tables)
    if as_json:
        print_json(
            {
                name: {"tables": [stanza(table) for table in one.tables], "remarks": one.remarks}
                for name, one in found.items()
            }
        )
        return
    rows = [
        (
            name,
            table.name,
            ", ".join(table.merge_key) or None,
            len(table.columns) or None,
            one.remarks.get(table.name),
        )
        for name, one in found.items()
        for table in one.tables
    ]
    if not rows:
        stdout().print("every table in the raw folder is configured")
        return
    print_table("", ["source", "table", "merge key", "columns", "remark"], rows)
    verb = "would be added" if dry_run else "added, inactive: check the merge keys and set `active: true`"
    stdout().print(f"{len(rows)} tables {verb}", highlight=False)
