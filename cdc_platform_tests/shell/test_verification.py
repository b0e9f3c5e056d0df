"""The check that every row was compared with the source recently, in Dagster."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import dagster as dg
import psycopg
import pytest

from cdc_platform.reconcile.proofs import read_proofs, write_proofs
from cdc_platform_tests.shell.conftest import Shop, day

BASE, RECONCILIATION = ["base", "shop", "orders"], ["reconciliation", "shop", "orders"]
WINDOW = "2024-05-01"
CHECK = "every_row_verified_recently"


def checked(shop: Shop, instance: dg.DagsterInstance) -> dg.AssetCheckEvaluation:
    run = shop.materialize(instance, RECONCILIATION, window=WINDOW, raise_on_error=False)
    (check,) = [one for one in run.get_asset_check_evaluations() if one.check_name == CHECK]
    return check


@pytest.mark.postgres
def test_the_check_follows_the_oldest_proof_and_an_incremental_run_renews_it(
    shop: Shop, instance: dg.DagsterInstance, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CDC_SHOP_DSN", postgres_database)
    text = shop.config_path.read_text()
    text = text.replace("    tables:\n", "    connection: {dsn: '${CDC_SHOP_DSN}'}\n    tables:\n")
    orders = "{name: public.orders, merge_key: [id]"
    shop.config_path.write_text(text.replace(orders, f"{orders}, verify_within_days: 7"))
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        connection.execute("INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    shop.load("orders", day(1), [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    from cdc_platform.pipeline import take_in

    take_in(shop.platform(), "shop")
    shop.materialize(instance, BASE, window=WINDOW)
    never = checked(shop, instance)
    assert (False, dg.AssetCheckSeverity.WARN) == (never.passed, never.severity)

    run_incrementally(shop, instance)
    assert checked(shop, instance).passed

    objects = shop.platform().objects("shop", "orders")
    proofs = read_proofs(objects)
    assert proofs is not None
    older = {
        number: replace(one, verified_at=one.verified_at - timedelta(days=8))
        for number, one in proofs.segments.items()
    }
    write_proofs(objects, replace(proofs, segments=older))
    late = checked(shop, instance)
    assert (False, 8) == (late.passed, int(late.metadata["oldest_age_days"].value))  # type: ignore[arg-type]

    run_incrementally(shop, instance)
    assert checked(shop, instance).passed


def run_incrementally(shop: Shop, instance: dg.DagsterInstance) -> None:
    config = {"source": "shop", "table": "orders", "incremental": True}
    shop.definitions().resolve_job_def("reconcile_whole").execute_in_process(
        instance=instance, run_config={"ops": {"compare_whole_table": {"config": config}}}
    )


def test_a_table_without_the_option_has_no_such_check(shop: Shop) -> None:
    graph = shop.definitions().resolve_asset_graph()

    names = {key.name for key in graph.get_check_keys_for_assets({dg.AssetKey(RECONCILIATION)})}
    assert CHECK not in names
