"""What is written into the launchpad by mistake fails the run in the command line's words."""

from __future__ import annotations

from typing import Any

import dagster as dg
import pytest

from cdc_platform_tests.shell.conftest import Shop

OPS = {
    "settle_in_flight": "settle_keys_in_flight",
    "reconcile_whole": "compare_whole_table",
    "repair": "repair_rows",
}
ORDERS = {"source": "shop", "table": "orders"}


def failure(shop: Shop, instance: dg.DagsterInstance, job: str, config: dict[str, Any]) -> str:
    """Run a job with fields as a person gives them; return its failure's type and text."""
    run = (
        shop.definitions()
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance, run_config={"ops": {OPS[job]: {"config": config}}}, raise_on_error=False
        )
    )
    failures = [one.step_failure_data for one in run.all_events if one.is_step_failure]
    return " ".join(
        f"{one.error.cls_name}: {one.user_failure_data.description if one.user_failure_data else ''}"
        for one in failures
        if one.error
    )


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"source": "nope"}, "there is no source 'nope' → sources: shop"),
        ({"table": "nope"}, "table: there is no active table 'nope' → active: customers, orders"),
        ({"source": "shop", "table": "nope"}, "table: there is no active table 'nope'"),
        ({"source": "nope", "table": "orders"}, "there is no source 'nope'"),
        ({"min_age_seconds": -1.0}, "min_age_seconds: -1.0 is no age of a key → give seconds from 0 to"),
        ({"max_age_seconds": 1e10}, "max_age_seconds: 10000000000.0 is no age of a key"),
        ({"max_age_seconds": float("nan")}, "max_age_seconds: nan is no age of a key"),
    ],
)
def test_settling_refuses_tables_that_are_not_there_and_what_is_no_age(
    shop: Shop, instance: dg.DagsterInstance, config: dict[str, Any], says: str
) -> None:
    told = failure(shop, instance, "settle_in_flight", config)

    assert told.startswith("Failure: ")
    assert says in told


def test_settling_takes_a_table_by_its_id_or_with_its_source(
    shop: Shop, instance: dg.DagsterInstance
) -> None:
    chosen = [{"table": "orders"}, {"table": "shop/orders"}, {"source": "shop"}, {}]

    assert ["", "", "", ""] == [failure(shop, instance, "settle_in_flight", one) for one in chosen]


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"source": "nope"}, "there is no source 'nope' → sources: shop"),
        ({"table": "nope"}, "table: there is no active table 'nope' → active: customers, orders"),
        ({"position": "0/1"}, "position is of an export → name the export by against"),
        ({"against": "x", "position": "zz"}, "'zz' is not a log position → give position as"),
        ({"version_column": "at"}, "version_column is compared by itself → add keys_and_versions"),
        ({"keys_and_versions": True, "resume": True}, "another comparison than full → leave out full and"),
        ({"incremental": True, "against": "x"}, "an incremental run goes on from full ones"),
        ({"incremental": True, "keys_and_versions": True}, "an incremental run goes on from full ones"),
        ({"queries_per_second": 0.0}, "queries_per_second: 0.0 is too few → give at least 0.001"),
        ({"queries_per_second": 0.0005}, "queries_per_second: 0.0005 is too few"),
        ({"max_rows": -1}, "max_rows: -1 bounds nothing"),
        ({"max_seconds": float("nan")}, "max_seconds: nan bounds nothing"),
    ],
)
def test_a_whole_comparison_refuses_what_the_command_line_refuses(
    shop: Shop, instance: dg.DagsterInstance, config: dict[str, Any], says: str
) -> None:
    told = failure(shop, instance, "reconcile_whole", {**ORDERS, **config})

    assert told.startswith("Failure: ")
    assert says in told


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ({"source": "nope"}, "there is no source 'nope'"),
        ({"table": "nope"}, "there is no table 'nope' → tables: orders, customers"),
        ({"plan": "nope"}, "there is no repair 'nope'"),
        ({"window": "2024-05-01", "full": True}, "a run names what it compared"),
        ({"window": "2024-05-01", "max_share": 0.0}, "--max-share above 0 and at most 1"),
    ],
)
def test_a_repair_refuses_what_the_command_line_refuses(
    shop: Shop, instance: dg.DagsterInstance, config: dict[str, Any], says: str
) -> None:
    told = failure(shop, instance, "repair", {**ORDERS, **config})

    assert told.startswith("Failure: ")
    assert says in told
