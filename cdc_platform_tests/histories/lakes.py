"""A lake in memory where there is one, and a reader that is made once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cdc_platform.config.model import EngineConfig
from cdc_platform.lake.catalog import Lake, open_lake
from cdc_platform.lake.live_rows import live_sql
from cdc_platform.lake.read import connect
from cdc_platform_tests.histories.afterwards import SOURCE
from cdc_platform_tests.histories.run import Read
from cdc_platform_tests.lake.conftest import lake_config

_MEMORY = Path("/dev/shm")


@contextmanager
def quick_lake() -> Iterator[Lake]:
    """Open a lake whose files never reach a disk."""
    parent = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="cdc-histories-", dir=parent) as folder:
        config = lake_config(Path(folder)).model_copy(update={"engine": EngineConfig(threads=1)})
        with open_lake(config) as lake:
            yield lake


@contextmanager
def quick_reader(lake: Lake) -> Iterator[Read]:
    """Yield a reader of tables through one DuckDB connection."""
    con = connect(lake.config)

    def read(table_id: str, snapshot_id: int | None) -> list[dict[str, Any]]:
        table = lake.load(SOURCE, table_id)
        assert table is not None
        found = con.execute(f"SELECT * FROM {live_sql(table, snapshot_id)}").to_arrow_table()
        rows: list[dict[str, Any]] = found.to_pylist()
        return rows

    try:
        yield read
    finally:
        con.close()
