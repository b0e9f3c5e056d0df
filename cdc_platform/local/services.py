"""The laptop's stand-ins for AWS as background services: embedded PostgreSQL and the local DMS endpoint.

Everything lives in one folder: ``postgres/`` (the database), ``dms/`` (the endpoint's objects and its tasks'
state), ``raw/`` (buckets are folders below it), ``log/``. :func:`up` is idempotent, :func:`down` ends only
what it can prove to be its own. Works without Dagster.
"""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.faults import endpoint_health
from cdc_platform.local.processes import ServiceProcess, read_process_file, spawn
from cdc_platform.local.service_folder import ServiceFolder

if TYPE_CHECKING:
    from subprocess import Popen

    from cdc_platform.local.postgres import EmbeddedPostgres

ENDPOINT_VARIABLE = "AWS_ENDPOINT_URL_DATABASE_MIGRATION_SERVICE"
DSN_VARIABLE = "CDC_SOURCE_DSN"
RAW_VARIABLE = "CDC_RAW_FOLDER"
DEFAULT_DATABASE = "source"

_START_SECONDS = 60.0
_END_SECONDS = 45.0
_LOOK_SECONDS = 0.05
_LOG_TAIL_LINES = 5


@dataclass(frozen=True, slots=True)
class LocalServices:
    """What a client needs: a DSN (with its password), the endpoint's URL, where raw files come to be."""

    dsn: str = field(repr=False)
    endpoint_url: str
    raw_folder: Path
    pids: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class LocalStatus:
    """Which services of a folder run. ``problem`` says what is half-way and how to mend it."""

    is_postgres_running: bool
    is_endpoint_running: bool
    endpoint_url: str | None
    problem: str | None

    @property
    def is_up(self) -> bool:
        """Whether both run and answer."""
        return self.is_postgres_running and self.is_endpoint_running and self.problem is None


def up(
    folder: Path,
    *,
    port: int = 0,
    database: str = DEFAULT_DATABASE,
    foreground: bool = False,
    on_ready: Callable[[LocalServices], None] | None = None,
) -> LocalServices:
    """Start PostgreSQL and the DMS endpoint and wait until both answer; what runs already is left running.

    ``port`` 0 takes the port of last time, else a free one. In the ``foreground`` the endpoint runs in this
    process: the call returns, with PostgreSQL stopped, when it is interrupted (SIGINT, SIGTERM).
    Raises LocalServiceError with the end of the log when a service does not come up.
    """
    places = ServiceFolder(folder.resolve())
    with places.locked():
        postgres = _postgres(places)
        postgres.start()
        dsn = postgres.create_database(database)
        places.keep_dsn(database, dsn)
        running = places.process()
        if running is not None:
            _check_running(running, port)
        if not foreground:
            process = running or _start_endpoint(places, port)
            services = _services(places, dsn, process, postgres)
            if on_ready is not None:
                on_ready(services)
            return services
    if running is not None:
        raise LocalServiceError(
            f"the endpoint runs in the background already, as process {running.pid}",
            where=str(folder),
            mend="stop it first: cdc local down",
        )
    return _run_in_foreground(places, port, dsn, on_ready)


def _run_in_foreground(
    places: ServiceFolder, port: int, dsn: str, on_ready: Callable[[LocalServices], None] | None
) -> LocalServices:
    from cdc_platform.local.serve import serve

    postgres = _postgres(places)
    seen: list[LocalServices] = []

    def ready(url: str) -> None:
        places.keep_port(url)
        seen.append(_services(places, dsn, ServiceProcess(os.getpid(), 0.0, url), postgres))
        if on_ready is not None:
            on_ready(seen[0])

    try:
        serve(places.root, port or places.port_of_last_time(), on_ready=ready)
    finally:
        postgres.stop()
    return seen[0]


def down(folder: Path) -> bool:
    """Stop both services of a folder, tasks first; return whether anything ran."""
    places = ServiceFolder(folder.resolve())
    if not places.root.exists():
        return False
    with places.locked():
        process = read_process_file(places.process_file)
        was_running = process is not None and process.end(_END_SECONDS)
        places.process_file.unlink(missing_ok=True)
        return _postgres(places).stop() or was_running


def status(folder: Path) -> LocalStatus:
    """Return which services of a folder run; changes nothing."""
    places = ServiceFolder(folder.resolve())
    is_postgres_running = places.postgres.exists() and _postgres(places).is_running()
    process = places.process()
    problem = _problem(places, process, is_postgres_running=is_postgres_running)
    url = process.url if process is not None else None
    return LocalStatus(is_postgres_running, process is not None, url, problem)


def _problem(
    places: ServiceFolder, process: ServiceProcess | None, *, is_postgres_running: bool
) -> str | None:
    if process is None:
        if places.process_file.exists():
            return f"the endpoint ended without saying so; see {places.log} → cdc local up"
        return "PostgreSQL runs without the endpoint → cdc local up" if is_postgres_running else None
    try:
        endpoint_health(process.url)
    except LocalServiceError as fault:
        return str(fault)
    return None if is_postgres_running else "the endpoint runs without PostgreSQL → cdc local up"


def export_lines(services: LocalServices, environment: Mapping[str, str] | None = None) -> list[str]:
    """Return ``export`` lines for a shell: what plain boto3 and psql need to reach the services.

    Dummy AWS credentials and a region are among them only where the environment has none.
    """
    has = os.environ if environment is None else environment
    values = {
        ENDPOINT_VARIABLE: services.endpoint_url,
        DSN_VARIABLE: services.dsn,
        RAW_VARIABLE: str(services.raw_folder),
    }
    if not any(name in has for name in ("AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE")):
        values |= {"AWS_ACCESS_KEY_ID": "local", "AWS_SECRET_ACCESS_KEY": "local"}
    if not any(name in has for name in ("AWS_REGION", "AWS_DEFAULT_REGION")):
        values["AWS_DEFAULT_REGION"] = "us-east-1"
    return [f"export {name}={shlex.quote(value)}" for name, value in values.items()]


def _postgres(places: ServiceFolder) -> EmbeddedPostgres:
    from cdc_platform.local.postgres import EmbeddedPostgres

    return EmbeddedPostgres(places.postgres)


def _services(
    places: ServiceFolder, dsn: str, process: ServiceProcess, postgres: EmbeddedPostgres
) -> LocalServices:
    pids = {"dms": process.pid}
    pid_file = postgres.data / "postmaster.pid"
    if pid_file.exists():
        pids["postgres"] = int(pid_file.read_text().split("\n", 1)[0])
    return LocalServices(dsn, process.url, places.raw, pids)


def _check_running(process: ServiceProcess, port: int) -> None:
    if port and not process.url.endswith(f":{port}"):
        raise LocalServiceError(
            f"the endpoint runs already, at {process.url}, not on port {port}",
            where="local DMS",
            mend="use that one, or stop it first: cdc local down",
        )
    endpoint_health(process.url)


def _start_endpoint(places: ServiceFolder, port: int) -> ServiceProcess:
    places.process_file.unlink(missing_ok=True)
    log_start = places.log.stat().st_size if places.log.exists() else 0
    chosen = port or places.port_of_last_time()
    child = spawn(
        [sys.executable, "-m", "cdc_platform.local.serve", str(places.root), str(chosen)], places.log
    )
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and child.poll() is None:
        process = read_process_file(places.process_file)
        if process is not None and process.pid == child.pid:
            endpoint_health(process.url)
            places.keep_port(process.url)
            return process
        time.sleep(_LOOK_SECONDS)
    raise _did_not_start(places, child, log_start)


def _did_not_start(places: ServiceFolder, child: Popen[bytes], log_start: int) -> LocalServiceError:
    is_late = child.poll() is None
    if is_late:
        child.kill()
        child.wait()
    with places.log.open("rb") as log:
        log.seek(log_start)
        lines = log.read().decode(errors="replace").splitlines()
    told = " | ".join(lines[-_LOG_TAIL_LINES:])
    what = (
        f"did not answer within {_START_SECONDS:.0f} s" if is_late else f"ended with code {child.returncode}"
    )
    return LocalServiceError(
        f"the DMS endpoint {what}: {told}", where=str(places.log), mend="mend that, then: cdc local up"
    )
