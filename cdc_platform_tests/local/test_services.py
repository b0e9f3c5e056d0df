"""PostgreSQL and the DMS endpoint as background services of one folder."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.faults import armed_faults, endpoint_health
from cdc_platform.local.processes import ServiceProcess
from cdc_platform.local.service_folder import ServiceFolder
from cdc_platform.local.services import (
    DSN_VARIABLE,
    ENDPOINT_VARIABLE,
    LocalServices,
    down,
    export_lines,
    status,
    up,
)

pytestmark = pytest.mark.postgres


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A folder outside pytest's own, which PostgreSQL's user cannot enter when the tests run as root."""
    made = Path(tempfile.mkdtemp(prefix="cdc-services-"))
    try:
        yield made / "local"
    finally:
        down(made / "local")
        shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
def services(folder: Path) -> LocalServices:
    """The services, up; a test that stops them leaves them to the next."""
    return up(folder)


def _runs(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def test_up_waits_until_both_answer(services: LocalServices) -> None:
    with psycopg.connect(services.dsn) as connection:
        level = connection.execute("show wal_level").fetchone()

    assert level == ("logical",)
    assert endpoint_health(services.endpoint_url)["raw_root"] == str(services.raw_folder)


def test_up_again_finds_the_same_processes(services: LocalServices, folder: Path) -> None:
    assert up(folder) == services


def test_status_tells_what_runs(services: LocalServices, folder: Path) -> None:
    found = status(folder)

    assert (found.is_up, found.endpoint_url, found.problem) == (True, services.endpoint_url, None)


def test_the_folder_keeps_its_secrets_to_its_owner(services: LocalServices, folder: Path) -> None:
    places = ServiceFolder(folder)
    private = [places.process_file, places.log, places.dsn_file("source"), places.dms / "dms.sqlite"]

    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in private}

    assert dict.fromkeys(modes, 0o600) == modes
    assert places.dsn_file("source").read_text().strip() == services.dsn
    assert services.dsn not in repr(services)


def test_exports_let_plain_boto3_reach_the_endpoint(services: LocalServices) -> None:
    lines = export_lines(services, {})
    program = (
        "import boto3; print(boto3.client('dms').describe_replication_instances()['ReplicationInstances'])"
    )

    quiet = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    shell = "\n".join([*lines, f'"{sys.executable}" -c "{program}"'])
    done = subprocess.run(["/bin/sh", "-c", shell], env=quiet, capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_exports_leave_credentials_and_region_that_are_set(services: LocalServices) -> None:
    lines = export_lines(services, {"AWS_PROFILE": "work", "AWS_REGION": "eu-west-1"})

    names = {line.removeprefix("export ").partition("=")[0] for line in lines}
    assert names == {ENDPOINT_VARIABLE, DSN_VARIABLE, "CDC_RAW_FOLDER"}


def test_up_on_another_port_than_the_running_one_is_refused(services: LocalServices, folder: Path) -> None:
    with pytest.raises(LocalServiceError, match=r"runs already, at .*, not on port 1"):
        up(folder, port=1)


def test_a_second_endpoint_in_the_foreground_is_refused(services: LocalServices, folder: Path) -> None:
    with pytest.raises(LocalServiceError, match="runs in the background already"):
        up(folder, foreground=True)


def test_a_killed_endpoint_is_told_and_started_again_on_its_port(
    services: LocalServices, folder: Path
) -> None:
    process = psutil.Process(services.pids["dms"])
    process.send_signal(signal.SIGKILL)
    psutil.wait_procs([process], timeout=10)

    half = status(folder)
    again = up(folder)

    assert (half.is_up, half.is_endpoint_running) == (False, False)
    assert "ended without saying so" in str(half.problem)
    assert again.endpoint_url == services.endpoint_url
    assert again.pids["dms"] != services.pids["dms"]


def test_postgresql_alone_is_half_started_and_completed_by_up(services: LocalServices, folder: Path) -> None:
    ServiceProcess(**json.loads(ServiceFolder(folder).process_file.read_text())).end(30)

    half = status(folder)
    up(folder)

    assert half.problem == "PostgreSQL runs without the endpoint → cdc local up"
    assert status(folder).is_up


def test_a_stranger_under_a_stale_pid_is_left_alone(services: LocalServices, folder: Path) -> None:
    places = ServiceFolder(folder)
    down(folder)
    stranger = subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE)
    told = {"pid": stranger.pid, "started_at": 1.0, "url": "http://127.0.0.1:1"}
    places.process_file.write_text(json.dumps(told))

    down(folder)
    is_alive = stranger.poll() is None
    stranger.communicate()

    assert is_alive
    assert not places.process_file.exists()


def test_a_busy_port_is_named_with_the_mend(folder: Path) -> None:
    down(folder)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]

        with pytest.raises(LocalServiceError, match=f"port {port} cannot be used.*choose another port"):
            up(folder, port=port)


def test_down_stops_both_and_says_whether_anything_ran(services: LocalServices, folder: Path) -> None:
    assert down(folder)

    assert not any(_runs(pid) for pid in services.pids.values())
    assert not down(folder)
    with pytest.raises(LocalServiceError, match=r"the local DMS does not answer.*cdc local up"):
        armed_faults(services.endpoint_url)


def test_the_services_run_without_dagster() -> None:
    program = (
        "import sys, cdc_platform.local.services, cdc_platform.local.serve, cdc_platform.local.endpoint;"
        "heavy = {'dagster', 'pyspark', 'moto', 'boto3'};"
        "print(sorted(heavy & {name.split('.')[0] for name in sys.modules}))"
    )

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)

    assert (done.stdout.strip(), done.returncode) == ("[]", 0), done.stderr


def test_down_of_a_folder_that_never_was_does_nothing(tmp_path: Path) -> None:
    assert not down(tmp_path / "nothing")
    assert not (tmp_path / "nothing").exists()


def test_a_foreground_endpoint_ends_in_good_order_when_interrupted(folder: Path) -> None:
    down(folder)
    program = (
        "from pathlib import Path; from cdc_platform.local.services import up;"
        f"up(Path({str(folder)!r}), foreground=True, on_ready=lambda s: print(s.endpoint_url, flush=True))"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        url = child.stdout.readline().strip()
        healthy = endpoint_health(url)["status"]
        child.send_signal(signal.SIGINT)
        code = child.wait(60)

    assert (healthy, code) == ("ok", 0)
    assert (status(folder).is_postgres_running, status(folder).is_endpoint_running) == (False, False)
