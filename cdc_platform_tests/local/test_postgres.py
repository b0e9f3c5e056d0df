"""The embedded PostgreSQL: starts, recovers, keeps its password to itself, stops only what it started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.postgres import EmbeddedPostgres

pytestmark = pytest.mark.postgres


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for one server; whatever still runs in it is stopped after the test."""
    root = Path(tempfile.mkdtemp(prefix="cdc-postgres-"))
    yield root / "server"
    EmbeddedPostgres(root / "server").stop(immediate=True)
    shutil.rmtree(root)


def _value(dsn: str, query: str) -> object:
    with psycopg.connect(dsn) as connection:
        row = connection.execute(query).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row[0]


def test_the_server_is_postgresql_18_ready_for_logical_decoding(postgres_server: EmbeddedPostgres) -> None:
    assert str(_value(postgres_server.dsn(), "SHOW server_version")).startswith("18")
    assert _value(postgres_server.dsn(), "SHOW wal_level") == "logical"


def test_the_server_listens_on_the_loopback_only(postgres_server: EmbeddedPostgres) -> None:
    assert _value(postgres_server.dsn(), "SHOW listen_addresses") == "127.0.0.1"
    assert _value(postgres_server.dsn(), "SHOW unix_socket_directories") == ""


def test_a_wrong_password_is_refused(postgres_server: EmbeddedPostgres) -> None:
    wrong = postgres_server.dsn().replace(postgres_server.password, "guess")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)


def test_the_password_file_is_readable_by_its_owner_only(postgres_server: EmbeddedPostgres) -> None:
    mode = stat.S_IMODE((postgres_server.folder / "password").stat().st_mode)
    assert mode == 0o600


def test_starting_twice_starts_once_and_keeps_the_dsn(folder: Path) -> None:
    first, second = EmbeddedPostgres(folder, durable=False), EmbeddedPostgres(folder, durable=False)
    assert (first.start(), second.start()) == (True, False)
    assert first.dsn() == second.dsn()


def test_a_with_block_leaves_a_server_running_that_it_did_not_start(folder: Path) -> None:
    owner = EmbeddedPostgres(folder, durable=False)
    owner.start()
    with EmbeddedPostgres(folder, durable=False):
        pass
    assert owner.is_running()


def test_a_killed_server_recovers_what_was_committed(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    server.start()
    with psycopg.connect(server.dsn()) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    os.kill(int((server.data / "postmaster.pid").read_text().split()[0]), signal.SIGKILL)
    assert server.start()
    assert _value(server.dsn(), "SELECT answer FROM kept") == 42


def test_a_stopped_server_is_not_running_and_stopping_again_does_nothing(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    assert (server.stop(), server.is_running(), server.stop()) == (True, False, False)


def test_a_stale_pid_file_of_another_program_neither_blocks_nor_hurts_it(folder: Path) -> None:
    server = EmbeddedPostgres(folder, durable=False)
    server.start()
    pid_file = (server.data / "postmaster.pid").read_text()
    server.stop()
    (server.data / "postmaster.pid").write_text("\n".join([str(os.getpid()), *pid_file.split("\n")[1:]]))
    assert not server.stop()
    assert server.start()


def test_a_taken_port_is_refused_with_the_mend(folder: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LocalServiceError, match=f"port {port} is taken → give another port"):
            EmbeddedPostgres(folder, port=port, durable=False).start()


def test_each_test_gets_an_empty_database(postgres_database: str) -> None:
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert _value(postgres_database, tables) == 0
