"""``cdc up``: the whole platform on this machine, in the foreground, until Ctrl-C.

PostgreSQL with the retail sample, the local DMS endpoint with its task running, a gentle workload, and
Dagster's UI and daemon. Everything keeps its state, so the next start goes on where this one stopped.
"""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from cdc_platform.config.load import load_config
from cdc_platform.config.model import PlatformConfig
from cdc_platform.errors import CdcError, ConfigError, LocalServiceError, redact
from cdc_platform.local import services
from cdc_platform.local.sample import create_sample, run_gently

SOURCE = "retail"
_END_SECONDS = 40.0
_LOOK_SECONDS = 0.5

Say = Callable[[str], None]


def run_stack(config_path: Path, folder: Path, *, ui_port: int | None, rate: float, say: Say) -> None:
    """Start everything, stay until SIGINT or SIGTERM, stop everything.

    ``ui_port`` None leaves Dagster out. Raises LocalServiceError when a part does not start, or ends by
    itself; the other parts are stopped then as well.
    """
    config = load_config(config_path)
    ended = threading.Event()
    with _signals_set(ended), running_services(config, folder, say):
        config = load_config(config_path)  # again: the database's dsn is known only now
        start_replication(config, say)
        with _workload(config, rate, ended, say) as workload:
            if ui_port is None:
                say("ready; Ctrl-C stops everything")
                ended.wait()
            else:
                _run_dagster(config_path, ui_port, ended, say)
        if workload.fault is not None:
            raise workload.fault
    say("stopped; `cdc up` resumes")


def write_dsn_file(folder: Path, database: str, dsn: str) -> Path:
    """Write the DSN where ``dsn_file`` of cdc.yaml finds it, readable by its owner only; return the path."""
    path = folder.resolve() / f"{database}.dsn"
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(dsn + "\n")
    return path


@contextmanager
def running_services(config: PlatformConfig, folder: Path, say: Say) -> Iterator[services.LocalServices]:
    """Run PostgreSQL with the sample and the DMS endpoint at cdc.yaml's port; stop them at the end."""
    if SOURCE not in config.sources:
        mend = "start from the cdc.yaml of this project"
        raise ConfigError("cdc.yaml", [("sources", f"there is no source {SOURCE!r} for the sample", mend)])
    url = config.sources[SOURCE].dms.endpoint_url
    port = urlsplit(url).port if url else None
    say("starting PostgreSQL and the local DMS endpoint")
    running = services.up(folder, port=port or 0, database=SOURCE)
    try:
        write_dsn_file(folder, SOURCE, running.dsn)
        _fill(running.dsn, say)
        yield running
    finally:
        say("stopping the DMS endpoint and PostgreSQL")
        services.down(folder)


def _fill(dsn: str, say: Say) -> None:
    if create_sample(dsn):
        say("made the retail sample: 1,000 products, 100 stores, 50,000 orders")


def start_replication(config: PlatformConfig, say: Say) -> None:
    """Make the DMS objects of the sample where they are missing, and start or resume the task."""
    from cdc_platform import replication

    client = replication.dms_client(config, SOURCE)
    plan = replication.plan_replication(config, SOURCE, raw_root=replication.raw_root_of(config, client))
    replication.apply_replication(client, plan, progress=say)
    replication.start(client, plan.task.identifier, progress=say)


class _Workload:
    """The workload's thread. ``fault`` is what ended it before its time."""

    def __init__(self, dsn: str, rate: float, ended: threading.Event) -> None:
        self.fault: LocalServiceError | None = None
        self.stopped = threading.Event()
        self._dsn, self._rate, self._ended = dsn, rate, ended
        # another one each time, so that a resumed workload goes on instead of repeating itself
        self._seed = secrets.randbits(32)
        self.thread = threading.Thread(target=self._run, name="workload", daemon=True)

    def _run(self) -> None:
        import psycopg

        try:
            run_gently(self._dsn, stopping=self.stopped, changes_per_second=self._rate, seed=self._seed)
        except (CdcError, psycopg.Error) as error:
            if not self.stopped.is_set():
                what = redact(f"the workload lost its database: {error}")
                self.fault = LocalServiceError(what, where="workload", mend="start again: cdc up")
                self._ended.set()


@contextmanager
def _workload(config: PlatformConfig, rate: float, ended: threading.Event, say: Say) -> Iterator[_Workload]:
    connection = config.sources[SOURCE].connection
    dsn = connection.dsn.get_secret_value() if connection and connection.dsn else ""
    workload = _Workload(dsn, rate, ended)
    if rate > 0:
        say(f"changing the sample about {rate:g} times a second")
        workload.thread.start()
    try:
        yield workload
    finally:
        workload.stopped.set()
        if workload.thread.is_alive():
            workload.thread.join(_END_SECONDS)


def _run_dagster(config_path: Path, ui_port: int, ended: threading.Event, say: Say) -> None:
    """Run Dagster's UI and daemon until ``ended``. Raises LocalServiceError when it ends before."""
    project = config_path.resolve().parent
    home = dagster_home(project)
    command = [sys.executable, "-m", "dagster", "dev", "--host", "127.0.0.1", "--port", str(ui_port)]
    if (project / "workspace.yaml").exists():
        command += ["--workspace", "workspace.yaml"]
    else:
        command += ["--module-name", "cdc_platform.definitions"]
    environment = os.environ | {"DAGSTER_HOME": str(home), "CDC_CONFIG": str(config_path.resolve())}
    url, log_file = f"http://127.0.0.1:{ui_port}", home / "dagster-dev.log"
    say(f"starting Dagster, which takes a while; its log is {log_file}")
    with log_file.open("ab") as log:
        child = subprocess.Popen(
            command, cwd=project, env=environment, stdout=log, stderr=log, start_new_session=True
        )
    is_ready = False
    try:
        while not ended.wait(_LOOK_SECONDS):
            if child.poll() is not None:
                what = f"Dagster ended by itself with code {child.returncode}"
                raise LocalServiceError(what, where=str(log_file), mend="read that log")
            if not is_ready and answers(f"{url}/server_info"):
                is_ready = True
                say(f"ready: {url}   Ctrl-C stops everything")
    finally:
        say("stopping Dagster")
        end_group(child, _END_SECONDS)


def answers(url: str) -> bool:
    """Return whether an HTTP server answers at ``url``."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def dagster_home(project: Path) -> Path:
    """Return the folder of Dagster's history, with the project's own ``dagster.yaml`` in it."""
    home = project / ".dagster"
    home.mkdir(exist_ok=True)
    if (project / "dagster.yaml").exists():
        shutil.copyfile(project / "dagster.yaml", home / "dagster.yaml")
    return home


def end_group(child: subprocess.Popen[bytes], seconds: float) -> None:
    """End a child and all it started: politely, then firmly. It must lead a process group of its own."""
    for step in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if child.poll() is None:
            _signal_group(child.pid, step)
        try:
            child.wait(seconds)
            break
        except subprocess.TimeoutExpired:
            continue
    # what the child left behind is in its group still
    _signal_group(child.pid, signal.SIGKILL)


def _signal_group(group: int, which: signal.Signals) -> None:
    try:
        os.killpg(group, which)
    except ProcessLookupError:
        return


@contextmanager
def _signals_set(ended: threading.Event) -> Iterator[None]:
    """Let SIGINT and SIGTERM set ``ended`` instead of breaking off whatever runs."""
    before = {each: signal.signal(each, lambda *_: ended.set()) for each in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
