"""A whole line on one table: a real PostgreSQL, the local DMS's engine, raw files, base, reconciliation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any, ClassVar

import psycopg
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
from cdc_platform.pipeline import complete_load, merge_table, reconcile, take_in
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.patience import CapturePatience
from cdc_platform.reconcile.settle import SettleOptions, settle
from cdc_platform.reconcile.settling import Queue, read_queue
from cdc_platform.reconcile.verdict import Discrepancy, Reconciliation, Verdict
from cdc_platform.replication import position_of
from cdc_platform_tests.local.task_bench import RULES, TaskBench, before_images
from cdc_platform_tests.patience import Patience
from cdc_platform_tests.reconcile.shop import ToldPlatform

WAIT_SECONDS = 60.0
SOURCE, TABLE = "retail", "item"


def wait_until(reached: Callable[[], bool], what: str) -> None:
    """Wait for a condition."""
    patience = Patience(WAIT_SECONDS)
    while not reached():
        assert not patience.is_over, what
        time.sleep(0.005)


class Line:
    """The table public.item (id, v) with ``rows`` rows, loaded into base and captured from then on."""

    #: How the source and cdc.yaml declare the table, and of which columns updates have images before them.
    made: ClassVar[Sequence[str]] = ("CREATE TABLE item (id bigint PRIMARY KEY, v text)",)
    declared: ClassVar[Mapping[str, Any]] = {"merge_key": ("id",)}
    images: ClassVar[str] = "pk-only"

    def __init__(self, folder: Path, dsn: str, rows: int = 20, **target: Any) -> None:
        self.dsn = dsn
        rules = [*RULES[:3], before_images(self.images)]
        self.task = TaskBench(dsn, folder, target={"CdcMaxBatchInterval": 1} | target, rules=rules)
        source = SourceConfig(
            raw=RawOptions(location=str(self.task.root)),
            window=WindowOptions(start=date(2000, 1, 1)),
            connection=Connection(dsn=SecretStr(dsn)),
            tables=(TableConfig(name="public.item", **self.declared),),
        )
        config = PlatformConfig(
            base_folder=folder, lake=LakeConfig(warehouse="warehouse"), sources={SOURCE: source}
        )
        self.platform = ToldPlatform(config)
        self.platform.captured = self.captured
        self.sql(*self.made)
        self.sql(f"INSERT INTO item SELECT i, 'first' FROM generate_series(1, {rows}) i")
        self.task.start()
        self.task.wait_for_load()
        take_in(self.platform, SOURCE)
        complete_load(self.platform, SOURCE, TABLE)
        self.arrive()

    def close(self) -> None:
        self.task.stop()
        self.platform.lake.close()

    def sql(self, *statements: str) -> None:
        """Run statements at the source, each a transaction; capture is not waited for from then on."""
        self.platform.patience = CapturePatience(seconds=0)
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            for statement in statements:
                connection.execute(statement)  # type: ignore[arg-type]

    def write(self, number: int, value: str) -> None:
        self.sql(f"UPDATE item SET v = '{value}' WHERE id = {number}")

    def captured(self) -> str | None:
        """Return how far capture says it has come."""
        checkpoint = self.task.report().recovery_checkpoint
        return position_of(checkpoint) if checkpoint is not None else None

    def arm(self, fault: str, table: str = "public.item", **options: object) -> None:
        self.task.faults.arm(fault, table, **options)

    def met(self, fault: str) -> None:
        """Wait until every armed fault of a kind was met."""
        wait_until(lambda: all(one[0] != fault for one in self.task.faults.armed), f"{fault} was not met")

    def merge(self) -> None:
        """Take in the files there are and merge them."""
        take_in(self.platform, SOURCE)
        merge_table(self.platform, SOURCE, TABLE)

    def arrive(self) -> None:
        """Bring everything committed so far to base, as far as capture lets it."""
        self.task.catch_up()
        self.merge()
        self.platform.patience = CapturePatience()

    def windows(self) -> list[Reconciliation]:
        return [reconcile(self.platform, SOURCE, TABLE, one) for one in self.platform.windows(SOURCE, TABLE)]

    def full(self, **options: Any) -> Reconciliation:
        return reconcile_full(self.platform, SOURCE, TABLE, FullOptions(**options))

    def settle(self, **options: Any) -> Reconciliation | None:
        return settle(self.platform, SOURCE, TABLE, SettleOptions(**options))

    @property
    def queue(self) -> Queue:
        return read_queue(self.platform.objects(SOURCE, TABLE))

    def round(self) -> list[Reconciliation]:
        """Merge what there is, then settle, and compare windows and the whole table."""
        self.merge()
        settled = self.settle()
        return [*([settled] if settled is not None else []), *self.windows(), self.full()]

    def put_forward(self) -> None:
        """Let the source's log go on, so that capture is behind it again."""
        self.sql("CREATE TABLE IF NOT EXISTS elsewhere (n int)", "INSERT INTO elsewhere VALUES (1)")

    @contextmanager
    def under_load(self, *statements: str) -> Iterator[None]:
        """Run ``statements`` over and over in a session of their own; ``{n}`` in them counts up."""
        self.platform.patience = CapturePatience(seconds=0)
        ended, failures = threading.Event(), []

        def run() -> None:
            try:
                with psycopg.connect(self.dsn, autocommit=True) as connection:
                    number = 0
                    while not ended.wait(0.02):
                        number += 1
                        for statement in statements:
                            connection.execute(statement.format(n=number))  # type: ignore[arg-type]
            except psycopg.Error as error:
                failures.append(error)

        writer = threading.Thread(target=run)
        writer.start()
        try:
            yield
        finally:
            ended.set()
            writer.join(WAIT_SECONDS)
        assert not failures


class KeylessLine(Line):
    """The same table without a key, kept as a multiset."""

    made = ("CREATE TABLE item (id bigint, v varchar(20))", "ALTER TABLE item REPLICA IDENTITY FULL")
    declared: ClassVar[Mapping[str, Any]] = {"merge_key": (), "no_key": "multiset"}
    images = "all"


def different(*found: Reconciliation) -> dict[int, Discrepancy]:
    """Return the confirmed discrepancies against the source by key."""
    return {
        one.key["id"]: one
        for run in found
        for comparison in run.comparisons
        for one in comparison.discrepancies
        if one.verdict is Verdict.DIFFERENT and one.witnesses[0] == "source"
    }
