"""Errors of this package as Dagster shows and retries them."""

import dagster as dg
import pytest

from cdc_platform.assets.outcome import MAX_RETRIES, as_dagster, dagster_outcome
from cdc_platform.errors import CdcError, ConfigError, MissingMergeKey, SourceUnavailable, StaleCommit


def run_raising(error: Exception, *, times: int = 100) -> tuple[dg.ExecuteInProcessResult, int]:
    """Run an asset that raises ``error`` ``times`` times; return the result and how often it ran."""
    ran = []

    @dg.asset
    def failing(context: dg.AssetExecutionContext) -> None:
        ran.append(1)
        with dagster_outcome(context):
            if len(ran) <= times:
                raise error

    with dg.DagsterInstance.ephemeral() as instance:
        return dg.materialize([failing], instance=instance, raise_on_error=False), len(ran)


@pytest.mark.parametrize("error", [StaleCommit("lost the race"), SourceUnavailable("no route")])
def test_a_retryable_error_asks_for_another_try(error: CdcError) -> None:
    wanted = as_dagster(error)

    assert isinstance(wanted, dg.RetryRequested)
    assert MAX_RETRIES == wanted.max_retries


def test_a_retryable_error_that_goes_away_ends_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cdc_platform.assets.outcome.RETRY_SECONDS", 0.0)

    result, ran = run_raising(StaleCommit("lost the race"), times=2)

    assert (True, 3) == (result.success, ran)


def test_a_terminal_error_fails_at_once_with_what_where_and_mend() -> None:
    result, ran = run_raising(
        MissingMergeKey("no column id", where="shop/orders f.parquet", mend="set merge_key")
    )

    failure = result.failure_data_for_node("failing")
    assert failure is not None
    assert failure.user_failure_data is not None
    assert 1 == ran
    assert "shop/orders f.parquet: no column id → set merge_key" == failure.user_failure_data.description
    told = {name: value.value for name, value in failure.user_failure_data.metadata.items()}
    assert {"error": "MissingMergeKey", "where": "shop/orders f.parquet", "mend": "set merge_key"} == told


def test_a_configuration_error_lists_every_mistake() -> None:
    failure = as_dagster(ConfigError("cdc.yaml", [("a", "wrong", "mend a"), ("b", "worse", "mend b")]))

    assert isinstance(failure, dg.Failure)
    assert "cdc.yaml has 2 mistakes:\n  a: wrong → mend a\n  b: worse → mend b" == failure.description


def test_any_other_exception_is_left_alone() -> None:
    result, ran = run_raising(ZeroDivisionError("a mistake of ours"))

    failure = result.failure_data_for_node("failing")
    assert failure is not None
    assert failure.error is not None
    assert 1 == ran
    assert "ZeroDivisionError" in failure.error.to_string()
