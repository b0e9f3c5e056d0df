"""The prepared layer as Dagster builds it, with the real dbt over real Iceberg tables."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import pytest

from cdc_platform.definitions import build_definitions
from cdc_platform.errors import ConfigError
from cdc_platform.lake.catalog import open_lake
from cdc_platform.prepared import build_manifest
from cdc_platform_tests.dbt.retail_base import CONFIG, retail_config, write_base_tables

# what dagster-dbt and what it imports do
pytestmark = [
    pytest.mark.filterwarnings("ignore:sqlglotrs is deprecated"),
    pytest.mark.filterwarnings("ignore:AssetExecutionContext.op is deprecated"),
]


@dataclass(frozen=True)
class Built:
    definitions: dg.Definitions
    result: dg.ExecuteInProcessResult


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Built]:
    """The models, built once over the sample's base tables."""
    folder = tmp_path_factory.mktemp("prepared")
    (folder / "cdc.yaml").write_text(CONFIG)
    with open_lake(retail_config(folder)) as lake:
        write_base_tables(lake)
        build_manifest(lake.config)
    definitions = build_definitions(folder / "cdc.yaml")
    with dg.DagsterInstance.ephemeral() as instance:
        yield Built(
            definitions,
            definitions.resolve_implicit_global_asset_job_def().execute_in_process(
                instance=instance, asset_selection=models(definitions), raise_on_error=False
            ),
        )


def models(definitions: dg.Definitions) -> list[dg.AssetKey]:
    return [
        key for key in definitions.resolve_asset_graph().get_all_asset_keys() if key.path[0] == "prepared"
    ]


def test_every_model_is_an_asset_that_was_built(built: Built) -> None:
    made = {event.asset_key for event in built.result.get_asset_materialization_events()}

    assert built.result.success
    assert (6, set(models(built.definitions))) == (len(made), made)


def test_every_dbt_test_is_a_check_that_ran(built: Built) -> None:
    graph = built.definitions.resolve_asset_graph()
    declared = {key.name for key in graph.get_check_keys_for_assets(set(models(built.definitions)))}

    assert declared == {one.check_name for one in built.result.get_asset_check_evaluations()}


def test_a_staging_model_depends_on_base_and_its_reconciliation(built: Built) -> None:
    node = built.definitions.resolve_asset_graph().get(dg.AssetKey(["prepared", "stg_store"]))

    parents = {key.to_user_string() for key in node.parent_keys}
    assert {"base/retail/store", "reconciliation/retail/store"} == parents
    assert node.automation_condition is not None
    assert "verdict_allows" == node.automation_condition.get_label()


def test_rows_of_the_models_are_counted(built: Built) -> None:
    key = dg.AssetKey(["prepared", "current_orders"])
    (event,) = [one for one in built.result.get_asset_materialization_events() if one.asset_key == key]

    assert 5 == event.materialization.metadata["dagster/row_count"].value


def test_a_location_without_a_manifest_says_how_to_make_it(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "dbt_project.yml").write_text("name: empty")
    (tmp_path / "cdc.yaml").write_text("version: 1\nprepared: {project: project}\n")

    with pytest.raises(ConfigError, match=r"manifest\.json does not exist → .*cdc prepare-manifest"):
        build_definitions(tmp_path / "cdc.yaml")
