"""One seeded fleet for all tests of the pages: making it is real work."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from cdc_platform.fleet.writing import Written, write_reports
from cdc_platform.local.postgres import EmbeddedPostgres
from cdc_platform_tests.fleet.seeded import Fleet, seeded


@dataclass(frozen=True)
class Pages:
    """The fleet and its pages in a folder."""

    fleet: Fleet
    folder: Path
    written: Written

    def text(self, path: str) -> str:
        return (self.folder / path).read_text()


def put_into(folder: Path, path: str, data: bytes) -> None:
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(data)


@pytest.fixture(scope="session")
def pages(postgres_server: EmbeddedPostgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pages]:
    """The pages of four tables: one matches, one has differences, one is held back, one was never whole."""
    name = f"fleet_{uuid.uuid4().hex[:12]}"
    folder = tmp_path_factory.mktemp("fleet")
    fleet = seeded(folder / "lake", postgres_server.create_database(name), days=4)
    out = folder / "pages"
    written = write_reports(
        fleet.platform, list(fleet.platform.tables()), lambda path, data: put_into(out, path, data)
    )
    yield Pages(fleet, out, written)
    fleet.platform.lake.close()
    with psycopg.connect(postgres_server.dsn(), autocommit=True) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
