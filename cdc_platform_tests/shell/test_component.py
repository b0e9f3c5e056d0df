"""The component that brings a cdc.yaml into somebody's dg project."""

from pathlib import Path

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from cdc_platform.components import CdcTables
from cdc_platform.errors import ConfigError
from cdc_platform_tests.shell.conftest import CONFIG

pytestmark = [
    # what dagster itself does on its way to a component
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
    pytest.mark.filterwarnings("ignore:.*currently in beta:dagster.BetaWarning"),
]


def load(cdc_yaml: str) -> dg.Definitions:
    """Return the definitions of a dg project with one component beside its cdc.yaml."""
    with create_defs_folder_sandbox() as sandbox:
        folder = sandbox.scaffold_component(
            component_cls=CdcTables,
            defs_path="shop",
            defs_yaml_contents={
                "type": "cdc_platform.components.CdcTables",
                "attributes": {"config_file": "cdc.yaml"},
            },
        )
        (Path(folder) / "cdc.yaml").write_text(cdc_yaml)
        with sandbox.load_component_and_build_defs(defs_path=folder) as (_, definitions):
            return definitions


def test_a_component_makes_the_assets_of_its_cdc_yaml() -> None:
    keys = load(CONFIG).resolve_asset_graph().get_all_asset_keys()

    assert {"base/shop/orders", "raw/shop/orders", "reconciliation/shop/orders"} <= {
        key.to_user_string() for key in keys
    }


def test_a_component_tells_the_mistakes_of_its_cdc_yaml() -> None:
    with pytest.raises(Exception, match="shop") as caught:
        load(CONFIG.replace("threads: 1", "threads: 0"))

    chain = [caught.value]
    while chain[-1].__cause__ is not None:
        chain.append(chain[-1].__cause__)
    assert isinstance(chain[-1] if isinstance(chain[-1], ConfigError) else chain[-2], ConfigError)
