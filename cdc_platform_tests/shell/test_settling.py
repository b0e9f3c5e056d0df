"""The job that looks again at keys in flight, from the launchpad."""

from __future__ import annotations

from typing import Any

import dagster as dg
import psycopg
import pytest

from cdc_platform.pipeline import Platform, take_in
from cdc_platform.reconcile.settling import read_queue
from cdc_platform_tests.reconcile.shop import log_position
from cdc_platform_tests.shell.conftest import Shop, day

BASE, RECONCILIATION = ["base", "shop", "orders"], ["reconciliation", "shop", "orders"]
WINDOW = "2024-05-01"


@pytest.fixture
def in_flight(
    shop: Shop, instance: dg.DagsterInstance, postgres_database: str, monkeypatch: pytest.MonkeyPatch
) -> Shop:
    """A shop of two orders; a change of the first reached raw, not base, when the window was compared."""
    monkeypatch.setenv("CDC_SHOP_DSN", postgres_database)
    monkeypatch.setattr(Platform, "captured_position", lambda *_: log_position(postgres_database))
    text = shop.config_path.read_text()
    text = text.replace("    tables:\n", "    connection: {dsn: '${CDC_SHOP_DSN}'}\n    tables:\n")
    shop.config_path.write_text(text)
    sql(postgres_database, "CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
    sql(postgres_database, "INSERT INTO orders VALUES (1, 'a'), (2, 'b')")
    shop.load("orders", day(1), [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    take_in(shop.platform(), "shop")
    shop.materialize(instance, BASE, window=WINDOW)
    sql(postgres_database, "UPDATE orders SET note = 'a2' WHERE id = 1")
    shop.change("orders", day(1, 13), {"Op": "U", "id": 1, "note": "a2"})
    take_in(shop.platform(), "shop")
    shop.materialize(instance, RECONCILIATION, window=WINDOW, raise_on_error=False)
    return shop


def sql(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)  # type: ignore[arg-type]


def queued(shop: Shop) -> list[str]:
    return [
        entry.key["id"] for entry in read_queue(shop.platform().objects("shop", "orders")).entries.values()
    ]


def settled(
    shop: Shop, instance: dg.DagsterInstance, *, raise_on_error: bool = True, **config: Any
) -> dg.ExecuteInProcessResult:
    job = shop.definitions().resolve_job_def("settle_in_flight")
    run_config = {"ops": {"settle_keys_in_flight": {"config": config}}}
    return job.execute_in_process(instance=instance, run_config=run_config, raise_on_error=raise_on_error)


def observed(run: dg.ExecuteInProcessResult) -> dict[str, Any]:
    """Return the metadata of the one observation of a run."""
    (event,) = [one for one in run.all_events if one.is_asset_observation]
    assert [
        "reconciliation",
        "shop",
        "orders",
    ] == event.asset_observation_data.asset_observation.asset_key.path
    metadata = event.asset_observation_data.asset_observation.metadata
    return {name: value.value for name, value in metadata.items()}


@pytest.mark.postgres
def test_a_key_stays_in_flight_until_its_change_is_merged(
    in_flight: Shop, instance: dg.DagsterInstance
) -> None:
    waiting = observed(settled(in_flight, instance))
    assert ((1, 0), ["1"]) == ((waiting["queued"], waiting["settled_equal"]), queued(in_flight))

    in_flight.materialize(instance, BASE, window=WINDOW)
    done = observed(settled(in_flight, instance, source="shop", table="orders"))

    assert ((0, 1), []) == ((done["queued"], done["settled_equal"]), queued(in_flight))


@pytest.mark.postgres
def test_keys_younger_than_asked_for_and_other_tables_are_left_alone(
    in_flight: Shop, instance: dg.DagsterInstance
) -> None:
    in_flight.materialize(instance, BASE, window=WINDOW)

    young = settled(in_flight, instance, min_age_seconds=3600.0)
    others = settled(in_flight, instance, table="customers")

    assert ["1"] == queued(in_flight)
    assert [[], []] == [
        [one for one in run.all_events if one.is_asset_observation] for run in (young, others)
    ]


@pytest.mark.postgres
def test_a_difference_fails_the_run_and_is_told(
    in_flight: Shop, instance: dg.DagsterInstance, postgres_database: str
) -> None:
    in_flight.materialize(instance, BASE, window=WINDOW)
    sql(postgres_database, "UPDATE orders SET note = 'never captured' WHERE id = 1")

    run = settled(in_flight, instance, raise_on_error=False)

    assert (False, 1) == (run.success, observed(run)["reported"])
    (failure,) = [one for one in run.all_events if one.is_step_failure]
    assert "shop/orders: source_matches_base: DIFFERENT" in str(failure.step_failure_data.user_failure_data)


@pytest.mark.postgres
def test_a_table_that_is_not_configured_is_an_error(in_flight: Shop, instance: dg.DagsterInstance) -> None:
    run = settled(in_flight, instance, source="shop", table="nope", raise_on_error=False)

    assert not run.success
    assert ["1"] == queued(in_flight)


def test_the_schedule_is_off_until_somebody_turns_it_on(shop: Shop) -> None:
    schedule = shop.definitions().resolve_schedule_def("settle_in_flight_schedule")

    assert dg.DefaultScheduleStatus.STOPPED is schedule.default_status
