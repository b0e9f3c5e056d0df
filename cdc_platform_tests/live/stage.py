"""The stage of a live run: PostgreSQL, the local DMS behind its endpoint, the platform over its files."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import duckdb
import psycopg
import pyarrow.parquet as pq
from botocore.config import Config
from pydantic import SecretStr

from cdc_platform.config.model import (
    Connection,
    DmsOptions,
    LakeConfig,
    PlatformConfig,
    RawOptions,
    SourceConfig,
    TableConfig,
    WindowOptions,
)
from cdc_platform.lake.read import scan
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform.local.engine import PostgresTaskEngine
from cdc_platform.lsn import lsn_value
from cdc_platform.pipeline import Platform, complete_load, merge_table, reconcile, take_in
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.full_result import keys_key
from cdc_platform.reconcile.settle import settle
from cdc_platform.reconcile.settling import Queue, read_queue
from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform_tests.local.event_source import Task, make_task
from cdc_platform_tests.patience import Patience
from cdc_platform_tests.reconcile.shop import log_position

SOURCE, TABLE, TASK = "retail", "item", "live"
WAIT_SECONDS = 120.0


class Stage:
    """The table public.item from the source to base."""

    def __init__(self, folder: Path, dsn: str, endpoint: DmsEndpoint, task: Task) -> None:
        self.dsn, self.endpoint, self.task = dsn, endpoint, task
        source = SourceConfig(
            raw=RawOptions(location=str(task.raw)),
            window=WindowOptions(start=date(2000, 1, 1)),
            connection=Connection(dsn=SecretStr(dsn)),
            dms=DmsOptions(task=TASK, endpoint_url=endpoint.url),
            tables=(TableConfig(name="public.item", merge_key=("id",)),),
        )
        lake = LakeConfig(warehouse=str(folder / "warehouse"))
        config = PlatformConfig(base_folder=folder, lake=lake, sources={SOURCE: source})
        self.platform = Platform(config)

    def sql(self, statement: str) -> None:
        """Run a statement at the source, a transaction of its own."""
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            connection.execute(statement)  # type: ignore[arg-type]

    def load(self) -> None:
        """Load the table, and merge the load."""
        self.task.start()
        self.task.wait_for_load()
        take_in(self.platform, SOURCE)
        complete_load(self.platform, SOURCE, TABLE)
        self.merge()

    def merge(self) -> None:
        take_in(self.platform, SOURCE)
        merge_table(self.platform, SOURCE, TABLE)

    def arm(self, fault: str, table: str = "public.item", **options: object) -> None:
        self.endpoint.faults.arm({"fault": fault, "task": TASK, "table": table, "options": options})

    def is_armed(self, fault: str) -> bool:
        return any(one["fault"] == fault for one in self.endpoint.faults.armed())

    def resume(self) -> None:
        """Stop the task, which publishes what it holds, and resume it."""
        self.task.stop()
        self.task.start("resume-processing")

    def drain(self) -> None:
        """Bring everything committed so far to base: the writers rest."""
        self.resume()
        target = lsn_value(log_position(self.dsn))
        patience = Patience(WAIT_SECONDS)
        while lsn_value(self.platform.captured_position(SOURCE) or "0/0") < target:
            assert not patience.is_over, "capture did not catch up"
            time.sleep(0.05)
        self.merge()

    def windows(self) -> list[Reconciliation]:
        return [reconcile(self.platform, SOURCE, TABLE, one) for one in self.platform.windows(SOURCE, TABLE)]

    def full(self) -> Reconciliation:
        return reconcile_full(self.platform, SOURCE, TABLE, FullOptions())

    def settle(self) -> Reconciliation | None:
        return settle(self.platform, SOURCE, TABLE)

    @property
    def queue(self) -> Queue:
        return read_queue(self.platform.objects(SOURCE, TABLE))

    def confirmed_keys(self, run: Reconciliation) -> set[int]:
        """Return every key a full run found different, not only those it shows."""
        found = self.platform.objects(SOURCE, TABLE).get(keys_key(run.run_id))
        return set(pq.read_table(_buffer(found))["key_0"].to_pylist()) if found is not None else set()

    def wrong_keys(self) -> set[int]:
        """Compare source and base in plain Python: which keys differ."""
        with psycopg.connect(self.dsn) as connection:
            rows = dict(connection.execute("SELECT id, v FROM item").fetchall())
        table = scan(self.platform.lake, SOURCE, TABLE).read_all()
        held = dict(zip(table["id"].to_pylist(), table["v"].to_pylist(), strict=True))
        assert len(held) == table.num_rows, "base has a key twice"
        return {key for key in rows.keys() | held.keys() if key not in rows or rows.get(key) != held.get(key)
                or key not in held}  # fmt: skip

    def raw_changes(self) -> tuple[set[str], dict[int, int]]:
        """Return the values raw files tell, and how many times they take each key away."""
        values: set[str] = set()
        gone: dict[int, int] = {}
        for path in sorted(self.task.raw.rglob("2*.parquet")):
            if path.name.startswith("."):
                continue
            rows = pq.read_table(path).to_pylist()
            values.update(row["v"] for row in rows if row["Op"] != "D" and row["v"] is not None)
            for row in rows:
                moved = row["BI_id"] if row["BI_id"] != row["id"] else None
                key = row["id"] if row["Op"] == "D" else moved
                if key is not None:
                    gone[key] = gone.get(key, 0) + 1
        return values, gone

    def tamper(self, key: int) -> bool:
        """Change a row of base behind the platform's back; return whether there is one."""
        table = self.platform.lake.load(SOURCE, TABLE)
        assert table is not None
        rows = table.scan().to_arrow()
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            connection.register("rows", rows)
            connection.execute("CREATE TABLE base AS SELECT * FROM rows")
            found = connection.execute("UPDATE base SET v = 'nobody wrote this' WHERE id = ?", [key])
            if not found.fetchall()[0][0]:
                return False
            with warnings.catch_warnings(action="ignore"):  # pyiceberg says that it copies on write
                table.overwrite(connection.execute("FROM base").to_arrow_table().cast(rows.schema))
        return True


def _buffer(data: bytes) -> Any:
    import pyarrow as pa

    return pa.BufferReader(data)


@contextmanager
def staged(folder: Path, dsn: str, *, slot: str | None = None) -> Iterator[Stage]:
    """Start the local DMS with a task on the database, not started yet; ``slot`` is what it reads."""
    with DmsEndpoint(folder / "dms", PostgresTaskEngine(), folder / "raw") as endpoint:
        client = boto3.client(
            "dms",
            endpoint_url=endpoint.url,
            region_name="us-east-1",
            aws_access_key_id="local",
            aws_secret_access_key="local",
            config=Config(retries={"total_max_attempts": 1}),
        )
        task = make_task(client, dsn, folder / "raw", name=TASK, min_file_kb=256, slot=slot)
        stage = Stage(folder, dsn, endpoint, task)
        try:
            yield stage
        finally:
            stage.platform.lake.close()
            client.close()
