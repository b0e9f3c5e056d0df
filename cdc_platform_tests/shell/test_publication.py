"""A table whose main waits, in Dagster: its check, its metadata, and what readers of main see."""

from __future__ import annotations

from typing import Any

import dagster as dg
import psycopg
import pytest

from cdc_platform_tests.shell.conftest import Shop, day

BASE, RECONCILIATION = ["base", "shop", "orders"], ["reconciliation", "shop", "orders"]
WINDOW = "2024-05-01"
CHECK = "main_shows_what_was_merged"


@pytest.fixture
def held(shop: Shop, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop with two orders, in the source and merged by the first run."""
    monkeypatch.setenv("CDC_SHOP_DSN", postgres_database)
    text = shop.config_path.read_text()
    text = text.replace("    tables:\n", "    connection: {dsn: '${CDC_SHOP_DSN}'}\n    tables:\n")
    orders = "{name: public.orders, merge_key: [id]"
    shop.config_path.write_text(text.replace(orders, f"{orders}, publish: on_match"))
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        connection.execute("INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    shop.load("orders", day(1), [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    return shop


def reconciled(shop: Shop, instance: dg.DagsterInstance) -> tuple[dg.AssetCheckEvaluation, dict[str, Any]]:
    """Materialize base and reconciliation; return the check and the reconciliation's metadata."""
    from cdc_platform.pipeline import take_in

    take_in(shop.platform(), "shop")
    run = shop.materialize(instance, BASE, RECONCILIATION, window=WINDOW, raise_on_error=False)
    (check,) = [one for one in run.get_asset_check_evaluations() if one.check_name == CHECK]
    events = run.asset_materializations_for_node("__".join(RECONCILIATION))
    return check, dict(events[-1].metadata)


def published(shop: Shop) -> list[int]:
    lake = shop.platform().lake
    table = lake.catalog.load_table(lake.identifier("shop", "orders"))
    return sorted(table.scan(selected_fields=("id",)).to_arrow()["id"].to_pylist())


@pytest.mark.postgres
def test_match_moves_main_and_the_check_is_green(held: Shop, instance: dg.DagsterInstance) -> None:
    check, metadata = reconciled(held, instance)

    assert (True, [1, 2]) == (check.passed, published(held))
    assert metadata["published_snapshot"].value == metadata["newest_snapshot"].value
    assert (1, 0) == (metadata["snapshots_published"].value, metadata["snapshots_pending"].value)


@pytest.mark.postgres
def test_an_error_keeps_main_and_the_check_says_why(
    held: Shop, instance: dg.DagsterInstance, postgres_database: str
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("DROP TABLE orders")

    check, metadata = reconciled(held, instance)

    assert (False, dg.AssetCheckSeverity.ERROR, []) == (check.passed, check.severity, published(held))
    assert f"{WINDOW}: it is ERROR" in str(check.description)
    (row,) = metadata["held_by"].records
    assert {"window": WINDOW, "verdict": "ERROR", "reason": "it is ERROR"} == dict(row.data)


@pytest.mark.postgres
def test_a_whole_comparison_from_the_launchpad_moves_main(held: Shop, instance: dg.DagsterInstance) -> None:
    from cdc_platform.pipeline import take_in

    take_in(held.platform(), "shop")
    held.materialize(instance, BASE, window=WINDOW)
    assert [] == published(held)

    run = (
        held.definitions()
        .resolve_job_def("reconcile_whole")
        .execute_in_process(
            instance=instance,
            run_config={"ops": {"compare_whole_table": {"config": {"source": "shop", "table": "orders"}}}},
        )
    )

    (observed,) = run.get_asset_observation_events()
    metadata = observed.asset_observation_data.asset_observation.metadata
    assert (run.success, 0, [1, 2]) == (True, metadata["snapshots_pending"].value, published(held))


def test_a_table_without_the_option_has_no_such_check(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()

    names = {key.name for key in graph.get_check_keys_for_assets({dg.AssetKey(RECONCILIATION)})}
    assert CHECK not in names
