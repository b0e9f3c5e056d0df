"""Where the parts of the laptop's services are below one folder."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cdc_platform.local.processes import ServiceProcess, read_process_file, write_private


@dataclass(frozen=True, slots=True)
class ServiceFolder:
    """Where the parts are below one folder."""

    root: Path

    @property
    def postgres(self) -> Path:
        """The embedded PostgreSQL's folder."""
        return self.root / "postgres"

    @property
    def dms(self) -> Path:
        """The endpoint's own state."""
        return self.root / "dms"

    @property
    def raw(self) -> Path:
        """The folder whose sub-folders are buckets."""
        return self.root / "raw"

    @property
    def log(self) -> Path:
        """The endpoint's log."""
        return self.root / "log" / "dms.log"

    @property
    def process_file(self) -> Path:
        """Tells which process serves the endpoint; there only while it does."""
        return self.root / "dms.json"

    def dsn_file(self, database: str) -> Path:
        """Holds the database's DSN, for ``dsn_file`` in ``cdc.yaml``."""
        return self.root / f"{database}.dsn"

    @property
    def _port_file(self) -> Path:
        return self.root / "dms.port"

    def process(self) -> ServiceProcess | None:
        """Return the living endpoint process of this folder, None when there is none."""
        found = read_process_file(self.process_file)
        return found if found is not None and found.is_alive() else None

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep two ``up`` or ``down`` of the folder apart."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def keep_dsn(self, database: str, dsn: str) -> None:
        """Write the DSN where only the owner can read it."""
        write_private(self.dsn_file(database), dsn + "\n")

    def keep_port(self, url: str) -> None:
        """Remember the port, so that the URL stays the same from one start to the next."""
        self._port_file.write_text(url.rpartition(":")[2])

    def port_of_last_time(self) -> int:
        """Return the port last used if it is still free, else 0."""
        if not self._port_file.exists():
            return 0
        port = int(self._port_file.read_text())
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return 0
        return port
