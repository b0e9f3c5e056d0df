"""A table under repair: raw files in a folder, an Iceberg lake, a real PostgreSQL, faults made in base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
from pydantic import SecretStr

from cdc_platform.config.model import (
    Connection,
    LakeConfig,
    PlatformConfig,
    RawOptions,
    SourceConfig,
    TableConfig,
    WindowOptions,
)
from cdc_platform.config.repair import RepairOptions
from cdc_platform.pipeline import merge_table, take_in
from cdc_platform.repair.approve import plan_and_approve
from cdc_platform.repair.carry_out import carry_out
from cdc_platform.repair.draft import Ask
from cdc_platform.repair.record import Repair
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import ToldPlatform
from cdc_platform_tests.reconcile.test_window import Shop as WindowShop

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string(), "price": pa.decimal128(10, 2)}
ROWS = 40


def now() -> datetime:
    return datetime.now(UTC)


def prior_row(number: int, name: str | None = None) -> dict[str, Any]:
    return {"id": number, "name": name or f"item {number}", "price": Decimal(number)}


class Shop(WindowShop):
    """Rows 1 to ROWS: loaded a while ago, rows 1 to 30 changed since; source, raw and base agree."""

    def __init__(self, folder: Path, dsn: str, **options: Any) -> None:
        self.raw = folder / "raw"
        self.raw.mkdir(exist_ok=True)
        self.dsn = dsn
        start = (now() - timedelta(days=2)).date()
        raw = RawOptions(location=str(self.raw), **options.pop("raw", {}))
        source = SourceConfig(
            raw=raw,
            window=WindowOptions(start=start),
            connection=Connection(dsn=SecretStr(dsn)),
            tables=(TableConfig(**{"name": "public.item", "merge_key": ("id",), **options}),),
        )
        self.options = raw
        self.platform = ToldPlatform(
            PlatformConfig(
                base_folder=folder, lake=LakeConfig(warehouse="warehouse"), sources={"retail": source}
            )
        )
        # what is told now and then lies in one window, after midnight as well
        midnight = now().replace(hour=0, minute=0, second=0, microsecond=0)
        self.at = max(now() - timedelta(minutes=30), midnight)

    @property
    def window(self) -> str:
        return self.at.strftime("%Y-%m-%d")

    def stock(self) -> None:
        self.sql(
            "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
            f"INSERT INTO item SELECT n, 'item ' || n, n FROM generate_series(1, {ROWS}) n",
        )
        loaded = self.at - timedelta(minutes=10)
        rows = [prior_row(n, "old") for n in range(1, 31)] + [prior_row(n) for n in range(31, ROWS + 1)]
        write_load_file(self.raw, "public", "item", rows, at=loaded, types=TYPES, options=self.options)
        self.tell(*({"Op": "U", **prior_row(n)} for n in range(1, 31)), at=self.at)
        self.apply()
        self.catch_up()

    def tell(self, *events: Mapping[str, Any], at: datetime | None = None) -> None:
        """Write a change file of events committed ``at`` (default now)."""
        write_change_file(
            self.raw, "public", "item", at=at or now(), events=events, types=TYPES, options=self.options
        )

    def run(self, *statements: str) -> None:
        """Change the source, and let capture claim that it has come so far: what it did not write is lost."""
        self.sql(*statements)
        self.catch_up()

    def ask(self, **options: Any) -> Ask:
        limits = options.pop("limits", RepairOptions())
        return Ask("retail", "item", options.pop("window", self.window), "a test", limits=limits, **options)

    def repair(self, **options: Any) -> Repair:
        return carry_out(self.platform, plan_and_approve(self.platform, self.ask(**options)))

    def rows(self, columns: Sequence[str] = ("id", "name", "price")) -> list[tuple[Any, ...]]:
        table = self.platform.lake.load("retail", "item")
        assert table is not None
        found = table.scan(selected_fields=tuple(columns)).to_arrow().select(list(columns)).to_pylist()
        return sorted(tuple(row.values()) for row in found)

    def rows_with_control(self) -> list[tuple[Any, ...]]:
        return self.rows(("id", "name", "price", "_cdc_op", "_cdc_generation", "_cdc_position"))

    def source_rows(self) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.dsn or "") as connection:
            return sorted(connection.execute("SELECT id, name, price FROM item").fetchall())

    def snapshots(self) -> list[int]:
        table = self.platform.lake.load("retail", "item")
        assert table is not None
        return [snapshot.snapshot_id for snapshot in table.snapshots()]

    def as_role(self, role: str) -> ToldPlatform:
        """Return the platform as it reads the source as another role."""
        source = self.platform.config.sources["retail"]
        given = psycopg.conninfo.make_conninfo(self.dsn or "", user=role, password="of-reader")
        other = source.model_copy(update={"connection": Connection(dsn=SecretStr(given))})
        return ToldPlatform(self.platform.config.model_copy(update={"sources": {"retail": other}}))

    def merge_again(self) -> None:
        take_in(self.platform, "retail")
        merge_table(self.platform, "retail", "item")
