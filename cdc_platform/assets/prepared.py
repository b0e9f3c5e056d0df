"""The prepared layer in Dagster: each dbt model an asset ``prepared/<model>``, each dbt test an asset check.

A model that reads base tables also depends on their reconciliation, and is built again when a window of
theirs was newly reconciled and no window of theirs stands refused. A staging view is bound to the snapshot it
was built on, so what is built on it does not move to a snapshot whose verdict refuses it.

dagster-dbt takes seconds to import, so a code location without ``prepared`` in its ``cdc.yaml`` never does.
"""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from cdc_platform.assets.conditions import when_all_dependencies_exist, when_verdict_allows
from cdc_platform.assets.keys import active_tables, base_key, reconciliation_key
from cdc_platform.assets.outcome import dagster_outcome
from cdc_platform.config.model import PlatformConfig
from cdc_platform.errors import ConfigError
from cdc_platform.resources import PlatformResource

if TYPE_CHECKING:
    from dagster_dbt import DagsterDbtTranslator

POOL = "dbt/prepared"
GROUP = "prepared"


def manifest_of(config: PlatformConfig) -> Path:
    """Return the manifest of the dbt project; under ``dagster dev`` it is made when missing or out of date.

    Raises ConfigError when the project or its manifest is not there.
    """
    from cdc_platform.prepared import build_manifest, project_folder

    folder = project_folder(config)
    manifest = folder / "target" / "manifest.json"
    developing = bool(os.environ.get("DAGSTER_IS_DEV_CLI"))
    if developing and _older(manifest, folder):
        return build_manifest(config)
    if not manifest.exists():
        mend = "make it once, at deployment: `cdc prepare-manifest`; `dagster dev` makes it by itself"
        raise ConfigError("cdc.yaml", [("prepared.project", f"{manifest} does not exist", mend)])
    return manifest


def _older(manifest: Path, folder: Path) -> bool:
    """Return whether any file the manifest is made from is newer than it."""
    if not manifest.exists():
        return True
    made = manifest.stat().st_mtime
    kept = (path for path in folder.rglob("*") if path.suffix in (".sql", ".yml", ".csv"))
    return any(path.stat().st_mtime > made for path in kept if "target" not in path.parts)


def read_tables(config: PlatformConfig) -> dict[dg.AssetKey, dg.AssetKey]:
    """Return base asset key → reconciliation asset key of every table that is an asset."""
    return {
        base_key(source, table.id): reconciliation_key(source, table.id)
        for source, settings in config.sources.items()
        for table in active_tables(settings)
    }


def gated(spec: dg.AssetSpec, reconciliations: Mapping[dg.AssetKey, dg.AssetKey]) -> dg.AssetSpec:
    """Return ``spec`` with the dependencies and the condition that hold it back until verdicts allow it."""
    watched = [reconciliations[dep.asset_key] for dep in spec.deps if dep.asset_key in reconciliations]
    if not watched:
        return spec.replace_attributes(automation_condition=when_all_dependencies_exist())
    deps = [*spec.deps, *(dg.AssetDep(key) for key in watched)]
    return spec.replace_attributes(deps=deps, automation_condition=when_verdict_allows(watched))


def build_translator(config: PlatformConfig) -> "DagsterDbtTranslator":
    """Return what turns dbt's nodes into asset specifications of the prepared layer."""
    from dagster_dbt import DagsterDbtTranslator, DbtProject

    reconciliations = read_tables(config)

    class PreparedTranslator(DagsterDbtTranslator):
        def get_asset_key(self, dbt_resource_props: Mapping[str, Any]) -> dg.AssetKey:
            key = super().get_asset_key(dbt_resource_props)
            return key if dbt_resource_props["resource_type"] == "source" else key.with_prefix(GROUP)

        def get_group_name(self, dbt_resource_props: Mapping[str, Any]) -> str:
            return GROUP

        def get_asset_spec(
            self, manifest: Mapping[str, Any], unique_id: str, project: DbtProject | None
        ) -> dg.AssetSpec:
            spec = super().get_asset_spec(manifest, unique_id, project)
            return spec if unique_id.startswith("source.") else gated(spec, reconciliations)

    return PreparedTranslator()


def build_prepared_assets(config: PlatformConfig) -> dg.AssetsDefinition:
    """Return the dbt models as assets. Raises ConfigError when the project or dagster-dbt is missing."""
    try:
        from dagster_dbt import dbt_assets
    except ImportError as error:
        mend = "install the extra: `pip install cdc-platform[dbt]`, or remove `prepared`"
        raise ConfigError("cdc.yaml", [("prepared", "dagster-dbt is not installed", mend)]) from error

    manifest = manifest_of(config)

    @dbt_assets(manifest=manifest, name=GROUP, pool=POOL, dagster_dbt_translator=build_translator(config))
    def prepared(context: dg.AssetExecutionContext, platform: PlatformResource) -> Iterator[Any]:
        from cdc_platform.prepared import dbt_environment, prepared_vars

        with dagster_outcome(context):
            opened = platform.open()
            variables = json.dumps(prepared_vars(opened.lake))
            settings = dbt_environment(opened.config)
        with environment(settings):
            yield from run_dbt(context, opened.config, ["build", "--vars", variables])

    return prepared


def run_dbt(
    context: dg.AssetExecutionContext, config: PlatformConfig, arguments: Sequence[str]
) -> Iterator[Any]:
    """Run dbt for the models selected in this run and yield their materializations and check results."""
    from dagster_dbt import DbtCliResource

    from cdc_platform.prepared import project_folder

    folder = str(project_folder(config))
    executable = Path(sys.executable).with_name("dbt")
    dbt = DbtCliResource(project_dir=folder, profiles_dir=folder, dbt_executable=str(executable))
    # dagster-dbt would make another folder in the project for every run; the pool lets one run in at a time
    target = Path(os.environ["CDC_PREPARED_DATABASE"]).parent / "dbt-target"
    target.mkdir(exist_ok=True)
    yield from dbt.cli(list(arguments), context=context, target_path=target).stream().fetch_row_counts()


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the dbt process that starts inside, and put back what was there."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
