"""A base table and an export in Parquet of the same rows, for comparisons of tables larger than a merge would
be waited for: both are written past the merge, the base table by the product's own writer of data files.

Ten columns (those of ``bench.reconcile``) and a key of one of :data:`KEYS`; made once and kept.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from pyiceberg.types import DecimalType, LongType, PrimitiveType, StringType

from bench.data import SCHEMA, SOURCE, TABLE, say
from bench.reconcile import COLUMNS
from bench.tables import Columns, made_table
from cdc_platform.events import GENERATION, OP, POSITION
from cdc_platform.lake.catalog import open_lake
from cdc_platform.naming import sql_text
from cdc_platform.pipeline import Platform

#: A table of which cdc.yaml names no merge key.
NO_KEY = "none"
#: An ascending number, and an export whose rows lie as base's do; others are written by threads side by side.
ORDERED = "ordered"
#: Kinds of key: type and SQL of the key of row i. Numbers ascend as the rows lie; UUIDs lie anyhow.
KEYS: Mapping[str, tuple[PrimitiveType, str]] = {
    "bigint": (LongType(), "i + 1"),
    "uuid": (StringType(), "md5(concat('row', i))::UUID::VARCHAR"),
    ORDERED: (LongType(), "i + 1"),
    NO_KEY: (LongType(), "i + 1"),
}
_CONTROL: Columns = {
    OP: (StringType(), "'L'"),
    GENERATION: (LongType(), "1::BIGINT"),
    POSITION: (DecimalType(38, 0), "0::DECIMAL(38, 0)"),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """The two tables of one kind of key and number of rows below ``workdir``."""

    workdir: Path
    key: str
    rows: int

    @property
    def folder(self) -> Path:
        """Where they are."""
        return self.workdir / f"exported-{self.key}-{self.rows}"

    @property
    def export(self) -> Path:
        """The folder of the export's files."""
        return self.folder / "export"

    @property
    def config(self) -> Path:
        """The configuration of the lake."""
        return self.folder / "cdc.yaml"

    def write_config(self, **engine: Any) -> Path:
        """Write cdc.yaml with these keys of its ``engine``."""
        (self.folder / "raw").mkdir(parents=True, exist_ok=True)
        known_by: dict[str, Any] = {"no_key": "multiset"} if self.key == NO_KEY else {"merge_key": ["id"]}
        content = {
            "version": 1,
            "lake": {"warehouse": str(self.folder / "warehouse")},
            "engine": engine,
            "sources": {
                SOURCE: {
                    "raw": {"location": str(self.folder / "raw")},
                    "window": {"every": "daily", "start": "2026-01-01"},
                    "tables": [{"name": f"{SCHEMA}.{TABLE}", **known_by}],
                }
            },
        }
        # JSON is YAML
        self.config.write_text(json.dumps(content, indent=2) + "\n")
        return self.config

    def ensure(self) -> None:
        """Make both tables, unless they are there."""
        marker = self.folder / "made"
        if marker.exists():
            return
        shutil.rmtree(self.folder, ignore_errors=True)
        started = time.perf_counter()
        self.write_config()
        columns: Columns = {**COLUMNS, "id": KEYS[self.key]}
        self._write_export(columns)
        say(f"{self.folder.name}: the export is written", started)
        with open_lake(Platform.open(self.config).config) as lake:
            made_table(lake, TABLE, {**columns, **_CONTROL}, self.rows)
        say(f"{self.folder.name}: the base table is written", started)
        marker.touch()

    def _write_export(self, columns: Columns) -> None:
        self.export.mkdir()
        selected = ", ".join(f"{sql} AS {column}" for column, (_, sql) in columns.items())
        with duckdb.connect(config={"memory_limit": "2GB", "threads": 2}) as connection:
            is_ordered = self.key == ORDERED
            into = self.export / "rows.parquet" if is_ordered else self.export
            connection.execute(
                f"SET TimeZone = 'UTC'; SET preserve_insertion_order = {str(is_ordered).lower()}"
            )
            connection.execute(
                f"COPY (SELECT {selected} FROM range({self.rows}) r(i)) TO {sql_text(str(into))} "
                f"(FORMAT parquet, COMPRESSION zstd{'' if is_ordered else ', PER_THREAD_OUTPUT'})"
            )

    def remove(self) -> None:
        """Remove both tables."""
        shutil.rmtree(self.folder, ignore_errors=True)
