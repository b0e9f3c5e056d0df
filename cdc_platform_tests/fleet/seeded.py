"""Some tables on the real platform, with differences made on purpose: real files, Iceberg and PostgreSQL.

The comparisons are real; only the clock by which their outcomes are recorded is the test's, so that there is
a history of days.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
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
    Publish,
    RawOptions,
    SourceConfig,
    TableConfig,
    WindowOptions,
)
from cdc_platform.pipeline import merge_table, publish, take_in
from cdc_platform.reconcile.full import FullOptions, compare_full
from cdc_platform.reconcile.report import write_report
from cdc_platform.reconcile.results import history, record
from cdc_platform.reconcile.run_ids import new_run_id
from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform.reconcile.window import compare_window
from cdc_platform.testing import write_change_file, write_load_file
from cdc_platform_tests.reconcile.shop import ToldPlatform, log_position

TYPES: dict[str, pa.DataType] = {
    "id": pa.int64(),
    "name": pa.string(),
    "price": pa.decimal128(10, 2),
    "note": pa.string(),
    "status": pa.string(),
    "at": pa.timestamp("us", tz="UTC"),
}
SOURCE = "retail"


class Fleet:
    """Tables of one source, loaded and changed day by day, and compared."""

    def __init__(
        self,
        folder: Path,
        dsn: str,
        tables: Sequence[str],
        *,
        days: int,
        on_match: Sequence[str] = (),
        now: datetime | None = None,
    ) -> None:
        self.dsn, self.raw = dsn, folder / "raw"
        self.raw.mkdir(parents=True)
        self.now = now or datetime.now(UTC)
        self.start = self.now.replace(hour=6, minute=0, second=0, microsecond=0) - timedelta(days=days)
        self.days = days
        held = dict.fromkeys(on_match, Publish.ON_MATCH)
        source = SourceConfig(
            raw=RawOptions(location=str(self.raw)),
            window=WindowOptions(start=self.start.date()),
            connection=Connection(dsn=SecretStr(dsn)),
            tables=tuple(
                TableConfig(name=f"public.{name}", merge_key=("id",), publish=held.get(name, Publish.ALWAYS))
                for name in tables
            ),
        )
        lake = LakeConfig(warehouse="warehouse")
        self.platform = ToldPlatform(PlatformConfig(base_folder=folder, lake=lake, sources={SOURCE: source}))
        self.platform.captured = lambda: log_position(dsn)

    @contextmanager
    def sql(self) -> Iterator[psycopg.Connection[tuple[Any, ...]]]:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            yield connection

    def day(self, number: int) -> datetime:
        return self.start + timedelta(days=number)

    def window(self, number: int) -> str:
        return f"{self.day(number):%Y-%m-%d}"

    def load(self, table: str, rows: int) -> None:
        """Make the table in the source, with ``rows`` rows, and load it into base."""
        with self.sql() as source:
            source.execute(
                f"""CREATE TABLE {table} (id bigint PRIMARY KEY, name text, price numeric(10,2), note text,
                    status text, at timestamptz)"""
            )
            source.execute(
                f"""INSERT INTO {table} SELECT g, '{table} ' || g, g / 4.0, repeat('note ' || g || ' ', 5),
                    CASE g % 3 WHEN 0 THEN 'open' WHEN 1 THEN 'paid' ELSE 'sent' END,
                    TIMESTAMPTZ '2026-01-01 00:00+00' + g * interval '1 minute'
                    FROM generate_series(1, {rows}) g"""
            )
            source.execute(f"ANALYZE {table}")
        write_load_file(self.raw, "public", table, self.rows(table, "true"), at=self.day(0), types=TYPES)
        self.apply(table)

    def rows(self, table: str, condition: str) -> list[dict[str, Any]]:
        with self.sql() as source:
            cursor = source.execute(f"SELECT {', '.join(TYPES)} FROM {table} WHERE {condition} ORDER BY id")
            return [dict(zip(TYPES, row, strict=True)) for row in cursor.fetchall()]

    def change(self, table: str, day: int, condition: str, *, captured: bool = True, cut: int = 0) -> None:
        """Update rows of the source; a file carries them unless capture loses it, or cuts the notes."""
        at = self.day(day) + timedelta(hours=3)
        with self.sql() as source:
            source.execute(
                f"UPDATE {table} SET price = price + 1, at = %s, "
                f" note = 'day {day}: ' || repeat('a note, ', 12)"
                f" WHERE {condition.replace('%', '%%')}",
                (at,),
            )
        events = [{"Op": "U", **row} for row in self.rows(table, condition)]
        if cut:
            events = [{**event, "note": event["note"][:cut]} for event in events]
        if captured:
            write_change_file(self.raw, "public", table, at=at, events=events, types=TYPES)

    def delete_in_source(self, table: str, condition: str) -> None:
        with self.sql() as source:
            source.execute(f"DELETE FROM {table} WHERE {condition}")

    def apply(self, table: str) -> None:
        take_in(self.platform, SOURCE, {table})
        merge_table(self.platform, SOURCE, table)

    def tamper(self, table: str, statement: str) -> None:
        """Change base behind the platform's back."""
        base = self.platform.lake.load(SOURCE, table)
        assert base is not None
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("rows", base.scan().to_arrow())
            connection.execute("CREATE TABLE base AS SELECT * FROM rows")
            connection.execute(statement)
            with warnings.catch_warnings(action="ignore"):
                base.overwrite(
                    connection.execute("FROM base").to_arrow_table().cast(base.schema().as_arrow())
                )

    def compare(self, table: str, day: int, *, at: datetime | None = None) -> Reconciliation:
        """Compare the window of a day and record the outcome as of ``at`` (default: that evening)."""
        found = compare_window(self.platform, SOURCE, table, self.window(day))
        return self.record(found, at or self.day(day) + timedelta(hours=14))

    def compare_whole(self, table: str, at: datetime, **options: Any) -> Reconciliation:
        chosen = FullOptions(**{"rows_per_segment": 40, **options})
        return self.record(compare_full(self.platform, SOURCE, table, chosen), at, whole=True)

    def record(self, found: Reconciliation, at: datetime, *, whole: bool = False) -> Reconciliation:
        at = min(at, self.now - timedelta(minutes=1))
        run_id = new_run_id(at)
        proof = {**found.certificate, "run_id": run_id, "started_at": at.isoformat()}
        found = replace(found, run_id=run_id, started_at=at, certificate=proof)
        objects = self.platform.objects(SOURCE, found.table_id)
        if whole:
            objects.put("reports/full/latest.json", json.dumps(proof, indent=1).encode())
        earlier = history(self.platform.lake, SOURCE, found.table_id, found.window)
        found = replace(found, report=write_report(objects, found, earlier))
        record(self.platform.lake, found)
        return found


def seeded(folder: Path, dsn: str, *, days: int = 6) -> Fleet:
    """Return tables of which one matches, one has differences, one is held back, one was never whole."""
    fleet = Fleet(
        folder, dsn, ["product", "productorder", "invoice", "store"], days=days, on_match=["invoice"]
    )
    last = days - 1
    for table, rows in {"product": 300, "productorder": 1200, "invoice": 200, "store": 60}.items():
        fleet.load(table, rows)
        for day in range(1, days):
            condition = f"id % 40 = {day}"
            wrong = table == "productorder" and day == last
            fleet.change(table, day, condition, cut=60 if wrong else 0)
            fleet.apply(table)
        if table == "productorder":
            fleet.change(table, last, "id % 100 = 77", captured=False)
            fleet.delete_in_source(table, "id BETWEEN 500 AND 504")
            fleet.tamper(table, "UPDATE base SET status = 'lost' WHERE id = 42")
            fleet.tamper(table, "DELETE FROM base WHERE id IN (900, 901)")
        if table == "invoice":
            with fleet.sql() as source:
                source.execute(f"UPDATE invoice SET price = 0 WHERE id = {40 + last}")
        for day in range(days if table != "store" else last):
            fleet.compare(table, day)
        publish(fleet.platform, SOURCE, table)
    fleet.compare_whole("product", fleet.now - timedelta(hours=2))
    fleet.compare_whole("productorder", fleet.now - timedelta(hours=1))
    return fleet
