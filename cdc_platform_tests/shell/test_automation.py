"""What the daemon asks for when something moved, by the conditions of the real definitions."""

import dagster as dg
import pytest

from cdc_platform.assets.checks import window_check_spec
from cdc_platform.assets.conditions import when_all_dependencies_exist, when_verdict_allows
from cdc_platform.assets.keys import window_partitions
from cdc_platform.assets.reconciliation import GATE
from cdc_platform_tests.shell.conftest import Shop, day

RAW, BASE = dg.AssetKey(["raw", "shop", "orders"]), dg.AssetKey(["base", "shop", "orders"])
RECONCILIATION = dg.AssetKey(["reconciliation", "shop", "orders"])


class Daemon:
    """Evaluates conditions tick after tick, as the daemon does, without launching what it asks for."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions, self.instance, self.cursor = definitions, instance, None

    def tick(self) -> dict[dg.AssetKey | dg.AssetCheckKey, set[str]]:
        """Return what is asked for: windows by asset or check ({''} for what has no windows)."""
        with pytest.warns(dg.BetaWarning, match="include_sources"):
            result = dg.evaluate_automation_conditions(self.definitions, self.instance, cursor=self.cursor)
        self.cursor = result.cursor
        return {
            one.key: set(one.true_subset.expensively_compute_partition_keys())
            if one.true_subset.is_partitioned
            else {""}
            for one in result.results
            if not one.true_subset.is_empty
        }

    def report(self, key: dg.AssetKey, window: str) -> None:
        self.instance.report_runless_asset_event(dg.AssetMaterialization(key, partition=window))


@pytest.fixture
def daemon(shop: Shop, instance: dg.DagsterInstance) -> Daemon:
    daemon = Daemon(shop.definitions(), instance)
    daemon.tick()
    return daemon


def test_a_reported_window_is_merged_and_reconciled_in_one_go(daemon: Daemon) -> None:
    daemon.report(RAW, "2024-05-03")

    wanted = {BASE, RECONCILIATION}
    assert {key: {"2024-05-03"} for key in wanted} == daemon.tick()


def test_a_window_is_asked_for_once(daemon: Daemon) -> None:
    daemon.report(RAW, "2024-05-03")
    daemon.tick()

    assert {} == daemon.tick()


def test_an_old_window_is_asked_for_as_well_as_the_running_one(daemon: Daemon) -> None:
    daemon.report(RAW, "2024-05-01")

    assert {"2024-05-01"} == daemon.tick()[BASE]


def test_a_file_that_comes_while_its_window_is_merged_is_not_forgotten(daemon: Daemon) -> None:
    daemon.report(RAW, "2024-05-03")
    daemon.tick()
    run = start_run(daemon, BASE, "2024-05-03")
    daemon.report(RAW, "2024-05-03")
    during = daemon.tick()
    daemon.instance.report_run_canceled(run)

    after = daemon.tick()

    assert (set(), {"2024-05-03"}) == (during.get(BASE, set()), after.get(BASE, set()))


def test_a_window_of_raw_made_by_a_run_is_merged(shop: Shop, daemon: Daemon) -> None:
    shop.change("orders", day(3), {"id": 1})
    shop.materialize(daemon.instance, RAW.path, window="2024-05-03")

    assert {BASE, RECONCILIATION} == set(daemon.tick())


def test_a_run_of_the_whole_chain_is_not_merged_again(shop: Shop, daemon: Daemon) -> None:
    shop.change("orders", day(3), {"id": 1})
    shop.materialize(daemon.instance, RAW.path, BASE.path, RECONCILIATION.path, window="2024-05-03")

    assert {} == daemon.tick()


def start_run(daemon: Daemon, key: dg.AssetKey, window: str) -> dg.DagsterRun:
    """Record a run of one asset that has started and not ended."""
    job = daemon.definitions.resolve_implicit_global_asset_job_def().get_subset(asset_selection={key})
    run = daemon.instance.create_run_for_job(
        job,
        tags={"dagster/partition": window},
        asset_selection=frozenset({key}),
        status=dg.DagsterRunStatus.STARTED,
    )
    return run


def prepared_chain(verdicts: dict[str, bool], windows: dg.PartitionsDefinition) -> dg.Definitions:
    """Return a reconciliation whose gate says ``verdicts`` by window, a view gated on it, a model on that."""
    spec = window_check_spec(GATE, RECONCILIATION, windows, "gate", blocking=True)

    @dg.asset(key=RECONCILIATION, partitions_def=windows, check_specs=[spec])
    def reconciliation(context: dg.AssetExecutionContext) -> dg.MaterializeResult:  # type: ignore[type-arg]
        passed = verdicts[context.partition_key]
        return dg.MaterializeResult(check_results=[dg.AssetCheckResult(check_name=GATE, passed=passed)])

    @dg.asset(deps=[reconciliation], automation_condition=when_verdict_allows([RECONCILIATION]))
    def view() -> None: ...

    @dg.asset(deps=[view], automation_condition=when_all_dependencies_exist())
    def model() -> None: ...

    return dg.Definitions(assets=[reconciliation, view, model])


def reconcile(daemon: Daemon, window: str) -> None:
    job = daemon.definitions.resolve_implicit_global_asset_job_def()
    job.execute_in_process(
        instance=daemon.instance,
        asset_selection=[RECONCILIATION],
        partition_key=window,
        raise_on_error=False,
    )


@pytest.fixture
def verdicts() -> dict[str, bool]:
    return {"2024-05-01": True, "2024-05-02": True}


@pytest.fixture
def gated(shop: Shop, verdicts: dict[str, bool], instance: dg.DagsterInstance) -> Daemon:
    windows = window_partitions(shop.platform().source("shop"))
    daemon = Daemon(prepared_chain(verdicts, windows), instance)
    daemon.tick()
    return daemon


def test_prepared_models_follow_a_verdict_that_allows(gated: Daemon) -> None:
    reconcile(gated, "2024-05-01")

    assert {dg.AssetKey("view"): {""}, dg.AssetKey("model"): {""}} == gated.tick()


def test_prepared_models_do_not_follow_a_refusing_verdict(gated: Daemon, verdicts: dict[str, bool]) -> None:
    verdicts["2024-05-01"] = False

    reconcile(gated, "2024-05-01")

    assert {} == gated.tick()


def test_one_refused_window_holds_prepared_models_back(gated: Daemon, verdicts: dict[str, bool]) -> None:
    verdicts["2024-05-01"] = False
    reconcile(gated, "2024-05-01")

    reconcile(gated, "2024-05-02")

    assert {} == gated.tick()


def test_prepared_models_go_on_when_the_refused_window_is_mended(
    gated: Daemon, verdicts: dict[str, bool]
) -> None:
    verdicts["2024-05-01"] = False
    reconcile(gated, "2024-05-01")
    gated.tick()
    verdicts["2024-05-01"] = True

    reconcile(gated, "2024-05-01")

    assert {dg.AssetKey("view"), dg.AssetKey("model")} == set(gated.tick())
