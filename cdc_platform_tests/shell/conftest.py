"""A small shop on disk: cdc.yaml, raw files as DMS writes them, and the code location made from them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from cdc_platform.definitions import build_definitions
from cdc_platform.pipeline import Platform
from cdc_platform.testing import write_change_file, write_load_file

CONFIG = """
version: 1
lake: {warehouse: warehouse}
engine: {memory_limit: 512MB, threads: 1}
sources:
  shop:
    owners: [team:shop]
    raw: {location: raw}
    window: {every: daily, start: 2024-05-01}
    tables:
      - {name: public.orders, merge_key: [id]}
      - {name: public.customers, merge_key: [id]}
"""


@dataclass(frozen=True)
class Shop:
    """The folder of one test."""

    folder: Path

    @property
    def config_path(self) -> Path:
        return self.folder / "cdc.yaml"

    @property
    def raw(self) -> Path:
        return self.folder / "raw"

    def load(self, table: str, at: datetime, rows: Sequence[dict[str, Any]]) -> str:
        """Write a full load of ``table``."""
        return write_load_file(self.raw, "public", table, rows, at=at)

    def change(self, table: str, at: datetime, *events: dict[str, Any]) -> str:
        """Write a file of changes of ``table``."""
        return write_change_file(self.raw, "public", table, at=at, events=events)

    def platform(self) -> Platform:
        return Platform.open(self.config_path)

    def definitions(self) -> dg.Definitions:
        return build_definitions(self.config_path)

    def rows(self, table: str) -> list[dict[str, Any]]:
        """Return the base table's rows without control columns, by id."""
        found = self.platform().lake.load("shop", table)
        assert found is not None
        rows = found.scan().to_arrow().to_pylist()
        plain = [{k: v for k, v in row.items() if not k.startswith("_cdc_")} for row in rows]
        return sorted(plain, key=lambda row: int(row["id"]))

    def materialize(
        self, instance: dg.DagsterInstance, *keys: Sequence[str], window: str, raise_on_error: bool = True
    ) -> dg.ExecuteInProcessResult:
        """Run assets for one window as a run of the UI does, with their checks."""
        return (
            self.definitions()
            .resolve_implicit_global_asset_job_def()
            .execute_in_process(
                instance=instance,
                asset_selection=[dg.AssetKey(list(key)) for key in keys],
                partition_key=window,
                raise_on_error=raise_on_error,
            )
        )


def day(number: int, hour: int = 12, minute: int = 0) -> datetime:
    """Return a moment of May 2024."""
    return datetime(2024, 5, number, hour, minute, tzinfo=UTC)


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """A shop without files."""
    (tmp_path / "raw").mkdir()
    (tmp_path / "cdc.yaml").write_text(CONFIG)
    return Shop(tmp_path)


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """An instance in memory."""
    with dg.DagsterInstance.ephemeral() as made:
        yield made


@pytest.fixture
def stored_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """An instance on disk, which sensors are handed."""
    with warnings.catch_warnings(), dg.DagsterInstance.local_temp(str(tmp_path)) as made:
        yield made
