"""A platform on a folder of its own, and what a test asks of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

from cdc_platform.config.model import PlatformConfig
from cdc_platform.lake.read import scan
from cdc_platform.lake.result import MergeResult
from cdc_platform.pipeline import Platform, merge_table, take_in

SOURCE = "shop"


class Workbench:
    """One source whose raw files lie in ``raw``, with the tables a test declares."""

    def __init__(
        self,
        folder: Path,
        *tables: Mapping[str, Any],
        raw: Mapping[str, Any] | None = None,
        start: date = date(2000, 1, 1),
    ) -> None:
        self.raw = folder / "delivered"
        self.raw.mkdir(parents=True, exist_ok=True)
        config = PlatformConfig.model_validate(
            {
                "lake": {"warehouse": str(folder / "warehouse")},
                "sources": {
                    SOURCE: {
                        "raw": {"location": str(self.raw), **(raw or {})},
                        "window": {"start": start},
                        "tables": list(tables),
                    }
                },
            }
        )
        self.platform = Platform(config.model_copy(update={"base_folder": folder}))

    def apply(self, table_id: str, windows: list[str] | None = None) -> MergeResult:
        """Take in what is new and merge it."""
        take_in(self.platform, SOURCE, [table_id])
        return merge_table(self.platform, SOURCE, table_id, windows)

    def rows(self, table_id: str) -> list[dict[str, Any]]:
        """Return base without its control columns."""
        table = scan(self.platform.lake, SOURCE, table_id).read_all()
        ours = [name for name in table.column_names if not name.startswith("_cdc_")]
        return table.select(ours).to_pylist()

    def by_key(self, table_id: str, key: str) -> dict[Any, dict[str, Any]]:
        """Return base by its key; a key that is there twice fails."""
        rows = self.rows(table_id)
        found = {row[key]: row for row in rows}
        assert len(found) == len(rows), rows
        return found
