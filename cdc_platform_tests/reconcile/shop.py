"""One table on the real platform: raw files in a folder, an Iceberg lake, a real PostgreSQL as the source."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
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
from cdc_platform.pipeline import Platform, merge_table, take_in
from cdc_platform.reconcile import postgres_position
from cdc_platform.reconcile.full import FullOptions, compare_full
from cdc_platform.reconcile.patience import CapturePatience
from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform.testing import write_change_file, write_load_file

DAY = datetime(2026, 3, 1, 12, tzinfo=UTC)


def log_position(dsn: str) -> str:
    """Return where the source's log ends now."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        return postgres_position.log_position(connection)


def rows_known(found: Reconciliation) -> dict[str, int]:
    """Return how many rows a whole run speaks of on either side: those it read, and those it took over."""
    (comparison,) = found.comparisons
    carried = comparison.carried.rows if comparison.carried else 0
    return {name: rows + carried for name, rows in comparison.rows.items()}


class ToldPlatform(Platform):
    """The platform, with capture's position told by the test."""

    captured: Callable[[], str | None] = staticmethod(lambda: None)

    def __init__(self, config: PlatformConfig) -> None:
        super().__init__(config)
        self.patience = CapturePatience(seconds=0)

    def captured_position(self, source: str) -> str | None:
        return self.captured()


class ItemShop:
    """The table public.item: its raw folder, its base and its source."""

    def __init__(self, folder: Path, dsn: str | None, **table: Any) -> None:
        self.raw, self.dsn = folder / "raw", dsn
        self.raw.mkdir(exist_ok=True)
        source = SourceConfig(
            raw=RawOptions(location=str(self.raw)),
            window=WindowOptions(start=DAY.date()),
            connection=Connection(dsn=SecretStr(dsn)) if dsn else None,
            tables=(TableConfig(**{"name": "public.item", "merge_key": ("id",), **table}),),
        )
        config = PlatformConfig(
            base_folder=folder, lake=LakeConfig(warehouse="warehouse"), sources={"retail": source}
        )
        self.platform = ToldPlatform(config)

    def sql(self, *statements: str) -> None:
        assert self.dsn is not None
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)

    def catch_up(self) -> None:
        """Let capture be as far as the source's log whenever it is asked."""
        self.platform.captured = lambda: log_position(self.dsn or "")

    def fall_behind(self) -> None:
        """Let capture stay where the source's log is now."""
        position = log_position(self.dsn or "")
        self.platform.captured = lambda: position

    def configure(self, **options: Any) -> None:
        """Give the table other options in cdc.yaml."""
        source = self.platform.config.sources["retail"]
        source = source.model_copy(update={"tables": (source.tables[0].model_copy(update=options),)})
        self.platform.lake.close()
        self.platform = ToldPlatform(self.platform.config.model_copy(update={"sources": {"retail": source}}))
        self.catch_up()

    def apply(self) -> None:
        take_in(self.platform, "retail")
        merge_table(self.platform, "retail", "item")

    def tamper(self, statement: str) -> None:
        """Change the base table behind the platform's back, keeping every control column."""
        table = self.platform.lake.load("retail", "item")
        assert table is not None
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("rows", table.scan().to_arrow())
            connection.execute("CREATE TABLE base AS SELECT * FROM rows")
            connection.execute(statement)
            with warnings.catch_warnings(action="ignore"):  # pyiceberg says that it copies on write
                table.overwrite(
                    connection.execute("FROM base").to_arrow_table().cast(table.schema().as_arrow())
                )


class WholeShop(ItemShop):
    """A shop loaded into base from raw files, compared whole; small segments unless told otherwise."""

    def __init__(
        self,
        folder: Path,
        dsn: str | None,
        types: Mapping[str, pa.DataType],
        *,
        rows_per_segment: int = 100,
        **table: Any,
    ) -> None:
        super().__init__(folder, dsn, **table)
        self.types = dict(types)
        self.rows_per_segment = rows_per_segment
        if dsn is not None:
            self.catch_up()
        else:
            self.platform.captured = lambda: "FFFFFFFF/0"

    def load(self, rows: Sequence[Mapping[str, Any]]) -> None:
        write_load_file(self.raw, "public", "item", rows, at=DAY, types=self.types)

    def load_from_source(self) -> None:
        """Make base of what the source holds now."""
        with psycopg.connect(self.dsn or "") as connection:
            cursor = connection.execute(f"SELECT {', '.join(self.types)} FROM item")
            rows = [dict(zip(self.types, row, strict=True)) for row in cursor.fetchall()]
        self.load(rows)
        self.apply()

    def stock(self, *statements: str) -> None:
        """Make the source by SQL, and base of what it holds; capture is as far as its log from now on."""
        self.sql(*statements)
        self.load_from_source()
        self.catch_up()

    def change(self, *events: Mapping[str, Any], minutes: int = 10) -> None:
        """Write a raw file, with before images of the key unless the events have their own."""
        key = self.platform.table("retail", "item").merge_key
        images = [{f"BI_{name}": one[name] for name in key if one["Op"] == "U"} for one in events]
        told = [{**image, **event} for image, event in zip(images, events, strict=True)]
        moment = DAY.replace(minute=minutes)
        write_change_file(self.raw, "public", "item", at=moment, events=told, types=self.types)

    def compare(self, **options: Any) -> Reconciliation:
        chosen = FullOptions(**{"rows_per_segment": self.rows_per_segment, **options})
        return compare_full(self.platform, "retail", "item", chosen)
