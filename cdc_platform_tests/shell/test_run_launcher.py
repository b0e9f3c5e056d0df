"""Runs whose process is gone are noticed, and those nobody can tell about are left alone."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
from dagster._core.launcher.base import WorkerStatus
from dagster._daemon.monitoring.run_monitoring import monitor_started_run

from cdc_platform.run_launcher import WatchfulRunLauncher

LAUNCHER = {"run_launcher": {"module": "cdc_platform.run_launcher", "class": "WatchfulRunLauncher"}}


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance that names the launcher, as dagster.yaml does."""
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=LAUNCHER) as made:
        yield made


def started_run(instance: dg.DagsterInstance, address: dict[str, object] | None) -> dg.DagsterRun:
    """Record a running run that a code server at ``address`` started."""
    tags = {} if address is None else {".dagster/grpc_info": json.dumps(address)}

    @dg.job
    def anything() -> None: ...

    return instance.create_run_for_job(anything, status=dg.DagsterRunStatus.STARTED, tags=tags)


def test_a_run_whose_code_server_is_gone_is_ended(watched: dg.DagsterInstance, tmp_path: Path) -> None:
    run = started_run(watched, {"host": "localhost", "socket": str(tmp_path / "gone.sock")})
    (record,) = watched.get_run_records(dg.RunsFilter(run_ids=[run.run_id]))

    monitor_started_run(watched, None, record, logging.getLogger("test"))  # type: ignore[arg-type]

    now = watched.get_run_by_id(run.run_id)
    assert now is not None
    assert dg.DagsterRunStatus.FAILURE == now.status


def test_a_run_nobody_can_tell_about_is_left_alone(watched: dg.DagsterInstance) -> None:
    launcher = watched.run_launcher
    assert isinstance(launcher, WatchfulRunLauncher)

    assert WorkerStatus.RUNNING == launcher.check_run_worker_health(started_run(watched, None)).status
