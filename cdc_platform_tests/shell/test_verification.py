"""The check that every row was compared with the source recently, in Dagster."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from dagster._core.loader import LoadingContextForTest

from cdc_platform.assets.verification import CRON
from cdc_platform.reconcile.proofs import PROOFS, read_proofs, write_proofs
from cdc_platform_tests.shell.conftest import Shop, day

BASE, RECONCILIATION = ["base", "shop", "orders"], ["reconciliation", "shop", "orders"]
WINDOWS = ["2024-05-01", "2024-05-02"]
CHECK = "every_row_verified_recently"
AGES = "verification_ages"


@pytest.fixture
def dated(shop: Shop, postgres_database: str, monkeypatch: pytest.MonkeyPatch) -> Shop:
    """A shop whose orders are to be compared within a week: a load, then a change the day after."""
    monkeypatch.setenv("CDC_SHOP_DSN", postgres_database)
    text = shop.config_path.read_text()
    text = text.replace("    tables:\n", "    connection: {dsn: '${CDC_SHOP_DSN}'}\n    tables:\n")
    shop.config_path.write_text(with_limit(text))
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id bigint PRIMARY KEY, note text)")
        connection.execute("INSERT INTO orders VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    shop.load("orders", day(1), [{"id": 1, "note": "a"}, {"id": 2, "note": "b"}])
    shop.change("orders", day(2), {"id": 3, "note": "c"})
    from cdc_platform.pipeline import take_in

    take_in(shop.platform(), "shop")
    return shop


def with_limit(text: str) -> str:
    orders = "{name: public.orders, merge_key: [id]"
    return text.replace(orders, f"{orders}, verify_within_days: 7")


def reconcile_window(shop: Shop, instance: dg.DagsterInstance, window: str) -> dg.ExecuteInProcessResult:
    return shop.materialize(instance, BASE, RECONCILIATION, window=window, raise_on_error=False)


def run_job(
    shop: Shop, instance: dg.DagsterInstance, job: str, **ops: dict[str, object]
) -> dg.ExecuteInProcessResult:
    config = {"ops": {name: {"config": config} for name, config in ops.items()}}
    made = shop.definitions().resolve_job_def(job)
    return made.execute_in_process(instance=instance, run_config=config, raise_on_error=False)


def run_incrementally(shop: Shop, instance: dg.DagsterInstance) -> dg.ExecuteInProcessResult:
    config: dict[str, object] = {"source": "shop", "table": "orders", "incremental": True}
    return run_job(shop, instance, "reconcile_whole", compare_whole_table=config)


def let_proofs_age(shop: Shop, days: int) -> None:
    objects = shop.platform().objects("shop", "orders")
    proofs = read_proofs(objects)
    assert proofs is not None
    older = {
        number: replace(one, verified_at=one.verified_at - timedelta(days=days))
        for number, one in proofs.segments.items()
    }
    write_proofs(objects, replace(proofs, segments=older))


def shown(instance: dg.DagsterInstance) -> str | None:
    """Return the status of the check as the asset's page shows it; None where it shows none."""
    key = dg.AssetCheckKey(dg.AssetKey(RECONCILIATION), CHECK)
    record = instance.get_latest_asset_check_evaluation_record(key)
    if record is None:
        return None
    is_current = asyncio.run(record.targets_latest_materialization(LoadingContextForTest(instance)))
    return record.status.value if is_current else None


def evaluations(run: dg.ExecuteInProcessResult) -> list[dg.AssetCheckEvaluation]:
    return [one for one in run.get_asset_check_evaluations() if one.check_name == CHECK]


@pytest.mark.postgres
def test_the_step_of_a_window_evaluates_the_check_of_the_table(
    dated: Shop, stored_instance: dg.DagsterInstance
) -> None:
    (never,) = evaluations(reconcile_window(dated, stored_instance, WINDOWS[0]))
    run_incrementally(dated, stored_instance)
    (proven,) = evaluations(reconcile_window(dated, stored_instance, WINDOWS[1]))

    assert (False, dg.AssetCheckSeverity.WARN, None) == (never.passed, never.severity, never.partition)
    assert (True, None) == (proven.passed, proven.partition)
    assert "SUCCEEDED" == shown(stored_instance)


@pytest.mark.postgres
def test_a_run_of_the_whole_table_turns_the_check_green_for_all_windows_at_once(
    dated: Shop, stored_instance: dg.DagsterInstance
) -> None:
    for window in WINDOWS:
        reconcile_window(dated, stored_instance, window)
    before = shown(stored_instance)

    run = run_incrementally(dated, stored_instance)

    assert run.success
    assert ("FAILED", "SUCCEEDED") == (before, shown(stored_instance))


@pytest.mark.postgres
def test_a_run_of_the_whole_table_that_fails_evaluates_the_check_as_well(
    dated: Shop, stored_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile_window(dated, stored_instance, WINDOWS[0])
    run_incrementally(dated, stored_instance)
    let_proofs_age(dated, days=8)
    before = shown(stored_instance)
    monkeypatch.setenv("CDC_SHOP_DSN", "postgresql://nobody@127.0.0.1:1/nothing")

    run = run_incrementally(dated, stored_instance)

    assert not run.success
    assert ("SUCCEEDED", "FAILED") == (before, shown(stored_instance))


@pytest.mark.postgres
def test_the_check_turns_red_when_proofs_age_and_no_window_moves(
    dated: Shop, stored_instance: dg.DagsterInstance
) -> None:
    for window in WINDOWS:
        reconcile_window(dated, stored_instance, window)
    run_incrementally(dated, stored_instance)
    let_proofs_age(dated, days=8)
    before = shown(stored_instance)

    run = run_job(dated, stored_instance, AGES)

    (late,) = evaluations(run)
    assert run.success
    assert ("SUCCEEDED", "FAILED") == (before, shown(stored_instance))
    assert (8, dg.AssetCheckSeverity.WARN) == (
        int(late.metadata["oldest_age_days"].value),  # type: ignore[arg-type]
        late.severity,
    )
    run_incrementally(dated, stored_instance)
    assert "SUCCEEDED" == shown(stored_instance)


@pytest.mark.postgres
def test_ages_are_evaluated_without_asking_the_source(
    dated: Shop, stored_instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    reconcile_window(dated, stored_instance, WINDOWS[0])
    run_incrementally(dated, stored_instance)
    monkeypatch.setenv("CDC_SHOP_DSN", "postgresql://nobody@127.0.0.1:1/nothing")

    run = run_job(dated, stored_instance, AGES)

    assert (True, [True]) == (run.success, [one.passed for one in evaluations(run)])


def test_ages_that_cannot_be_read_are_a_red_check_and_keep_no_other_table_from_its_own(
    shop: Shop, stored_instance: dg.DagsterInstance
) -> None:
    text = with_limit(shop.config_path.read_text())
    customers = "{name: public.customers, merge_key: [id]"
    shop.config_path.write_text(text.replace(customers, f"{customers}, verify_within_days: 1"))
    Path(shop.platform().objects("shop", "orders").url(PROOFS)).mkdir(parents=True)

    run = run_job(shop, stored_instance, AGES)

    found = {one.asset_key.path[-1]: (one.passed, one.severity) for one in evaluations(run)}
    unread, overdue = (False, dg.AssetCheckSeverity.ERROR), (False, dg.AssetCheckSeverity.WARN)
    assert not run.success
    assert {"orders": unread, "customers": overdue} == found


def test_ages_are_evaluated_every_hour_from_the_start(shop: Shop) -> None:
    shop.config_path.write_text(with_limit(shop.config_path.read_text()))

    schedule = shop.definitions().resolve_schedule_def("verification_ages_hourly")

    assert (CRON, dg.DefaultScheduleStatus.RUNNING) == (schedule.cron_schedule, schedule.default_status)


def test_without_the_option_there_is_neither_the_check_nor_the_job(shop: Shop) -> None:
    repository = shop.definitions().get_repository_def()

    keys = repository.asset_graph.get_check_keys_for_assets({dg.AssetKey(RECONCILIATION)})
    assert CHECK not in {key.name for key in keys}
    assert AGES not in repository.job_names
