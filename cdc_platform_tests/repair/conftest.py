"""A stocked shop."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from cdc_platform_tests.repair.shop import Shop


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[Shop]:
    found = Shop(tmp_path, postgres_database)
    found.stock()
    yield found
    found.platform.lake.close()
