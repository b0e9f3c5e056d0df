"""The prepared layer, built by the real dbt over real Iceberg tables."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.prepared import PreparedBuild, build_manifest, build_prepared, prepared_vars, project_folder
from cdc_platform_tests.dbt.retail_base import PRODUCT, retail_config, write_base_tables, write_rows


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lake]:
    with open_lake(retail_config(tmp_path_factory.mktemp("prepared"))) as lake:
        write_base_tables(lake)
        yield lake


@pytest.fixture(scope="module")
def build(lake: Lake) -> PreparedBuild:
    return build_prepared(lake.config, lake)


def rows(lake: Lake, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(lake.config.base_folder / "prepared.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def test_every_model_and_test_of_the_sample_is_built(build: PreparedBuild) -> None:
    assert () == build.failed
    assert (6, 22) == (build.count("model"), build.count("test"))


def test_sales_add_up_by_day_and_store_without_cancelled_and_deleted_orders(
    lake: Lake, build: PreparedBuild
) -> None:
    assert [
        (date(2026, 3, 1), 1, "North", 2, 6, Decimal("13.00")),
        (date(2026, 3, 2), 2, "South", 1, 1, Decimal("2.50")),
        (date(2026, 3, 3), 2, "South", 1, 1, Decimal("7.00")),
    ] == rows(
        lake,
        "SELECT day, store_id, store_name, orders, units, revenue FROM sales_by_day_and_store"
        " ORDER BY day, store_id",
    )


def test_top_products_are_ranked_by_revenue(lake: Lake, build: PreparedBuild) -> None:
    assert [(1, "ink", Decimal("12.50")), (2, None, Decimal("7.00")), (3, "pen", Decimal("3.00"))] == rows(
        lake, "SELECT sales_rank, product_name, revenue FROM top_products ORDER BY sales_rank"
    )


def test_an_order_whose_product_is_gone_stays_and_is_warned_of(lake: Lake, build: PreparedBuild) -> None:
    assert [(5, None, "South")] == rows(
        lake, "SELECT order_id, product_name, store_name FROM current_orders WHERE order_id = 5"
    )
    assert ["warn"] == [
        node.status for node in build.nodes if node.name == "not_null_current_orders_product_name"
    ]


def test_consumers_see_no_control_column(lake: Lake, build: PreparedBuild) -> None:
    assert [] == rows(
        lake,
        "SELECT table_name, column_name FROM information_schema.columns"
        " WHERE starts_with(column_name, '_cdc_')",
    )


def test_a_table_that_was_never_merged_is_told_with_what_to_do(tmp_path: Path) -> None:
    with open_lake(retail_config(tmp_path)) as empty:
        assert {"base_tables": {}} == prepared_vars(empty)
        build = build_prepared(empty.config, empty, select=["stg_product"])

    assert "base table retail.product has no snapshot to read: merge it first" in build.failed[0].message


def test_a_key_that_is_twice_in_base_fails_the_build_by_name(tmp_path: Path) -> None:
    with open_lake(retail_config(tmp_path)) as broken:
        write_base_tables(broken)
        write_rows(broken, "product", [(*PRODUCT[0][:4], "true")])

        build = build_prepared(broken.config, broken)

    assert "unique_stg_product_product_id" in {node.name for node in build.failed if node.status == "fail"}


def test_a_build_reads_what_is_in_base_now(tmp_path: Path) -> None:
    with open_lake(retail_config(tmp_path)) as moving:
        write_base_tables(moving)
        before = prepared_vars(moving)["base_tables"]
        write_rows(moving, "product", [(3, "paper", "office", Decimal("9.00"), "true")])
        after = prepared_vars(moving)["base_tables"]

    assert {"retail.product"} == {name for name in after if after[name] != before[name]}


def test_the_manifest_names_the_base_assets_it_depends_on(lake: Lake) -> None:
    manifest = json.loads(build_manifest(lake.config).read_text())

    assert [
        ["base", "retail", "product"],
        ["base", "retail", "productorder"],
        ["base", "retail", "store"],
    ] == sorted(source["meta"]["dagster"]["asset_key"] for source in manifest["sources"].values())


def test_a_folder_without_a_dbt_project_is_a_mistake_of_the_configuration(tmp_path: Path) -> None:
    config = retail_config(tmp_path)
    assert config.prepared is not None
    elsewhere = config.model_copy(
        update={"prepared": config.prepared.model_copy(update={"project": str(tmp_path)})}
    )

    with pytest.raises(ConfigError, match=r"prepared\.project: .* is no dbt project"):
        project_folder(elsewhere)
