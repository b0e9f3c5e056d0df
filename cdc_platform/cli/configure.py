"""``cdc check-config`` and ``cdc schema``: is cdc.yaml right; what may stand in it and in a certificate."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cdc_platform.cli.exits import ExitCode
from cdc_platform.cli.failures import exit_with_failures, texts
from cdc_platform.cli.output import (
    DEFAULT_CONFIG,
    ConfigOption,
    JsonOption,
    print_json,
    print_table,
    stderr,
    stdout,
)
from cdc_platform.errors import CdcError, ConfigError

if TYPE_CHECKING:
    from cdc_platform.config.model import PlatformConfig
    from cdc_platform.pipeline import Platform


def register(app: typer.Typer) -> None:
    """Add the commands to ``app``."""
    panel = "Configuration"
    app.command("check-config", rich_help_panel=panel)(check_config)
    app.command("schema", rich_help_panel=panel)(schema)
    app.command("prepare-manifest", rich_help_panel=panel)(prepare_manifest)


def check_config(
    config: ConfigOption = DEFAULT_CONFIG,
    reach: Annotated[
        bool,
        typer.Option("--reach", help="Also reach raw locations, catalog, tables and sources."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check cdc.yaml: every mistake at once, with its path, value and mend.

    Exit code 2 when there is a mistake; with --reach 3 when something configured does not answer.

    [bold]Examples[/bold]

      cdc check-config

      cdc check-config -c production.yaml --reach
    """
    from cdc_platform.config.load import load_config

    try:
        loaded = load_config(config, is_whole=True)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"file": str(config), "mistakes": _named(error)})
        raise typer.Exit(ExitCode.USAGE) from error
    tables = [
        (name, table.name, table.id, ", ".join(table.merge_key) or table.no_key, table.active)
        for name, source in loaded.sources.items()
        for table in source.tables
    ]
    faults, remarks = _reached(config) if reach else ({}, [])
    remarks = [*_remarks(loaded), *remarks]
    if as_json:
        found = {"mistakes": [], "tables": len(tables), "faults": texts(faults), "remarks": remarks}
        print_json({"file": str(config), **found})
    else:
        stdout().print(f"{config} is right", style="green", highlight=False)
        print_table("", ["source", "table", "id", "merge key", "active"], tables)
    for remark in remarks:
        stderr().print(remark, style="yellow", highlight=False, markup=False)
    exit_with_failures(faults)


def _remarks(loaded: PlatformConfig) -> list[str]:
    """Return what is no mistake, and yet most likely not meant."""
    from cdc_platform.config.maintenance import SHORTEST_ORPHAN_AGE_HOURS

    policies = {"maintenance": loaded.maintenance}
    for name, source in loaded.sources.items():
        for table in source.tables:
            if table.maintenance is not None:
                policies[f"sources.{name}.tables.{table.id}.maintenance"] = table.maintenance
    return [
        f"{path}.orphans.min_age_hours: {policy.orphans.min_age_hours:g} is below "
        f"{SHORTEST_ORPHAN_AGE_HOURS:g}: `cdc maintain` removes no orphans so young without --force"
        for path, policy in policies.items()
        if policy.orphans.min_age_hours < SHORTEST_ORPHAN_AGE_HOURS
    ]


def schema(
    certificate: Annotated[
        bool,
        typer.Option("--certificate", help="That of the certificates reconciliation makes, instead."),
    ] = False,
) -> None:
    """Print the JSON Schema of cdc.yaml, for editors, or of certificates, for whatever checks them.

    [bold]Examples[/bold]

      cdc schema > cdc.schema.json     and in cdc.yaml:  # yaml-language-server: $schema=cdc.schema.json

      cdc schema --certificate > certificate.schema.json
    """
    from cdc_platform.config.load import config_schema
    from cdc_platform.reconcile.certificate_schema import certificate_schema

    print_json(certificate_schema() if certificate else config_schema())


def prepare_manifest(config: ConfigOption = DEFAULT_CONFIG) -> None:
    """Make the manifest of the dbt project, which Dagster loads; needed once at deployment.

    [bold]Example[/bold]

      cdc prepare-manifest
    """
    from cdc_platform.config.load import load_config
    from cdc_platform.prepared import build_manifest

    stdout().print(str(build_manifest(load_config(config))), highlight=False)


def _named(error: ConfigError) -> list[dict[str, str]]:
    return [{"path": path, "what": what, "mend": mend} for path, what, mend in error.mistakes]


def _reached(config: Path) -> tuple[dict[str, CdcError], list[str]]:
    """Return what does not answer, and what the tables that are there do not do as cdc.yaml says."""
    from cdc_platform.cli.selection import open_platform
    from cdc_platform.lake.configured import not_taken_over

    platform = open_platform(config)
    faults = _faults(platform)
    try:
        platform.lake.catalog.list_namespaces()
    except CdcError as error:
        return {"lake": error, **faults}, []
    remarks: list[str] = []
    for source, table in platform.tables():
        try:
            remarks += not_taken_over(platform.lake.load(source, table.id), table)
        except CdcError as error:
            faults[f"{source}/{table.id}"] = error
    return faults, remarks


def _faults(platform: Platform) -> dict[str, CdcError]:
    """Return what does not answer of the raw locations and the source databases."""
    from cdc_platform.reconcile.postgres_session import connect

    faults: dict[str, CdcError] = {}
    for name, source in platform.config.sources.items():
        try:
            platform.raw_store(name).children()
        except CdcError as error:
            faults[f"{name}: raw"] = error
        if source.connection is None or source.engine != "postgresql":
            continue
        try:
            connect(source.connection).close()
        except CdcError as error:
            faults[f"{name}: connection"] = error
    return faults
