"""``cdc discover`` and ``cdc replicate``: what comes from a source, and the DMS task that brings it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    DryRunOption,
    JsonOption,
    SourceOption,
    plain,
    print_json,
    print_table,
    progress,
    stdout,
)
from cdc_platform.cli.selection import open_platform
from cdc_platform.words import counted

if TYPE_CHECKING:
    from cdc_platform.discovery import Discovery
    from cdc_platform.pipeline import Platform


#: A full load may take days; a watcher that gives up says so and harms nothing.
LOAD_SECONDS = 7 * 24 * 3600.0


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    app.command("discover", rich_help_panel="Configuration")(discover)
    app.command("replicate", rich_help_panel="Main job")(replicate)


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
    from cdc_platform.config.stanzas import write_stanzas
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
        print_json({name: _plain(one) for name, one in found.items()})
    else:
        _print_found(found, dry_run)


def _plain(found: Discovery) -> dict[str, Any]:
    from cdc_platform.config.stanzas import stanza

    return {"tables": [stanza(table) for table in found.tables], "remarks": found.remarks}


def _print_found(found: dict[str, Discovery], dry_run: bool) -> None:
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
    stdout().print(f"{counted(len(rows), 'table')} {verb}", highlight=False)


def replicate(
    config: ConfigOption = DEFAULT_CONFIG,
    source: SourceOption = None,
    reload: Annotated[
        bool, typer.Option("--reload", help="Load every table again: a new generation.")
    ] = False,
    stop: Annotated[bool, typer.Option("--stop", help="Stop the task instead; it can be resumed.")] = False,
    until_loaded: Annotated[
        bool, typer.Option("--until-loaded", help="Wait until the full load is done.")
    ] = False,
    dry_run: DryRunOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make the DMS objects cdc.yaml asks for, and start or resume their task.

    Instance, endpoints and task are made, changed or left as they are; both connections are tested. On a
    laptop the same calls go to the local DMS endpoint.

    [bold]Examples[/bold]

      cdc replicate --dry-run            print the objects as DMS would get them

      cdc replicate --until-loaded       start, and wait for the full load

      cdc replicate --stop
    """
    if reload and stop:
        raise typer.BadParameter("give one of --reload and --stop")
    platform = open_platform(config)
    if source is not None:
        platform.source(source)
    for name in [source] if source is not None else list(platform.config.sources):
        done = _replicate(platform, name, reload, stop, until_loaded, dry_run)
        if as_json:
            print_json(done)
        elif not dry_run:
            state = done["task"]
            stdout().print(f"{name}: task {state['identifier']} {state['status']}", highlight=False)


def _replicate(
    platform: Platform, source: str, reload: bool, stop: bool, until_loaded: bool, dry_run: bool
) -> dict[str, Any]:
    """Bring one source's DMS objects and task to what is asked; return them as plain data."""
    from cdc_platform import replication

    client = replication.dms_client(platform.config, source)
    root = replication.raw_root_of(platform.config, client)
    plan = replication.plan_replication(platform.config, source, raw_root=root)
    if dry_run:
        print(plan.as_json())
        return {}
    with progress(f"replicating {source}", None) as bar:
        if stop:
            state = replication.stop(client, plan.task.identifier, progress=bar.begin)
            return {"source": source, "task": plain(state)}
        objects = replication.apply_replication(client, plan, progress=bar.begin)
        state = replication.start(client, plan.task.identifier, reload=reload, progress=bar.begin)
    if until_loaded:
        state = _wait_until_loaded(client, plan.task.identifier)
    return {"source": source, "objects": dict(objects.done), "task": plain(state)}


def _wait_until_loaded(client: Any, task: str) -> Any:
    from cdc_platform.replication import wait_until

    with progress("loading", 100) as bar:
        shown = 0

        def is_loaded(state: Any) -> bool:
            nonlocal shown
            bar.done(state.full_load_percent - shown)
            shown = state.full_load_percent
            if state.migration_type == "cdc":
                return True
            return not (state.tables_queued or state.tables_loading) and state.full_load_percent == 100

        return wait_until(client, task, is_loaded, timeout_seconds=LOAD_SECONDS, progress=bar.begin)
