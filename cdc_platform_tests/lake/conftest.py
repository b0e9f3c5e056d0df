"""A lake in a temporary folder, and short ways to merge into it and to read it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cdc_platform.config.model import LakeConfig, PlatformConfig, TableConfig
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.merge import MergeInput, MergeResult, merge
from cdc_platform.lake.read import scan

SOURCE = "retail"


class Bench:
    """One base table in a lake of its own."""

    def __init__(self, lake: Lake, config: TableConfig) -> None:
        self.lake = lake
        self.config = config

    def with_table(self, **options: Any) -> Bench:
        """Return the bench of a table declared otherwise."""
        return Bench(self.lake, TableConfig(**{"name": "public.item", "merge_key": ("id",), **options}))

    def merge(self, *inputs: MergeInput, completed: int | None = None) -> MergeResult:
        return merge(self.lake, SOURCE, self.config, inputs, completed_generation=completed)

    def rows(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return the table's rows, sorted, as tuples of ``columns`` (default id and v)."""
        names = columns or ("id", "v")
        found = scan(self.lake, SOURCE, self.config.id, columns=names).read_all().to_pylist()
        return sorted((tuple(row[name] for name in names) for row in found), key=repr)


def lake_config(folder: Path) -> PlatformConfig:
    """Return a configuration whose lake lies in ``folder``."""
    return PlatformConfig(base_folder=folder, lake=LakeConfig(warehouse="warehouse"))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_lake(lake_config(tmp_path)) as lake:
        yield Bench(lake, TableConfig(name="public.item", merge_key=("id",)))
