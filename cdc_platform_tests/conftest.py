"""Fixtures every part's tests share: one real PostgreSQL per test process, a fresh database per test."""

from __future__ import annotations

import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from hypothesis import settings
from psycopg import sql

from cdc_platform.local.postgres import EmbeddedPostgres

# a busy machine is slow, and no fault of what is tested
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[EmbeddedPostgres]:
    """A running PostgreSQL 18 with logical decoding, of this test process alone."""
    folder = Path(tempfile.mkdtemp(prefix="cdc-postgres-"))
    server = EmbeddedPostgres(folder / "server", durable=False)
    try:
        with server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_database(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The DSN of a fresh, empty database; it goes away with its replication slots after the test."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    dsn = postgres_server.create_database(name)
    yield dsn
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        _drop_slots(connection, name)
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


def _drop_slots(connection: psycopg.Connection[tuple[object, ...]], database: str) -> None:
    connection.execute(
        "SELECT pg_terminate_backend(active_pid, 5000) FROM pg_replication_slots"
        " WHERE database = %s AND active_pid IS NOT NULL",
        (database,),
    )
    connection.execute(
        "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = %s",
        (database,),
    )
