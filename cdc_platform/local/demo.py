"""``cdc demo``: a real database's changes become tables that are proven equal to it, told as a story.

Every scene uses the same functions the platform does; what a scene expects is checked, and a story that does
not hold is told as such.
"""

from __future__ import annotations

import os
import shutil
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from cdc_platform.local import demo_changes as changes
from cdc_platform.local.demo_stage import Stage, fresh_folder, open_stage, start_again
from cdc_platform.local.demo_story import Story
from cdc_platform.local.faults import arm_fault
from cdc_platform.local.sample import ORDERS, PRODUCTS, STORES, TABLES, add_column, run_workload
from cdc_platform.local.stack import SOURCE
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE

if TYPE_CHECKING:
    from cdc_platform.lake.result import MergeResult
    from cdc_platform.reconcile.verdict import Reconciliation

ORDER_TABLE = "public.productorder"


def run_demo(folder: Path, *, keep: bool = False, story: Story | None = None) -> bool:
    """Tell the demo in ``folder``; return whether the story held.

    Raises CdcError when a part cannot start or do its work.
    """
    story = story or Story()
    folder = fresh_folder(folder, keep=keep)
    story.tell("A database's changes become Iceberg tables that are proven equal to it.")
    with ExitStack() as services:
        with story.scene("A real PostgreSQL and a DMS endpoint start on this machine"):
            stage = services.enter_context(open_stage(folder))
            story.tell(f"PostgreSQL 18 with {PRODUCTS:,} products, {STORES:,} stores and {ORDERS:,} orders")
            story.tell(f"DMS answers boto3 at {stage.endpoint_url}")
        _play(stage, story)
    _close(stage, story)
    return story.holds


def _play(stage: Stage, story: Story) -> None:
    with story.scene("DMS loads the tables; the files are merged into Iceberg tables"):
        _load(stage, story)
    with story.scene("Business goes on, keys change, and a file is delivered twice"):
        _trade(stage, story)
    with story.scene("A file comes late, and a column is added meanwhile"):
        _late_file(stage, story)
    with story.scene("Is the copy right? Source, raw files and base compared"):
        _expect_match(stage, story, "every table is proven equal to its source")
    if stage.has_prepared:
        with story.scene("dbt builds the prepared layer on the proven tables"):
            _prepare(stage, story)
    with story.scene("Somebody tampers with one row of a base table"):
        _tamper(stage, story)
    with story.scene("The row changes at the source, and the next merge mends it"):
        _mend(stage, story)


def _load(stage: Stage, story: Story) -> None:
    stage.start_replication()
    loaded = stage.loaded_rows()
    for name, merge in apply(stage).items():
        rows = stage.scalar(f'SELECT count(*) FROM "{name}"')
        written = merge.counts.rows_inserted
        story.expect(
            rows == written == loaded[name], f"{name}: {rows:,} rows at the source, {written:,} merged"
        )


def _trade(stage: Stage, story: Story) -> None:
    before = stage.raw_files("productorder")
    arm_fault(stage.endpoint_url, "duplicate-file", table=ORDER_TABLE)
    done = run_workload(stage.dsn, changes=400, seed=1)
    story.tell(f"{done.inserts} inserts, {done.updates} updates, {done.deletes} deletes at the source")
    changes.renumber_and_swap(stage.connection)
    changes.delete_and_return(stage.connection)
    story.tell("10 orders renumbered, 2 swap numbers, 100 deleted, 20 of them come back")
    stage.await_files("productorder", before, 2)
    stage.await_capture()
    merge = apply(stage)["productorder"]
    counts = merge.counts
    story.tell(f"{len(merge.files_applied)} files with {counts.events:,} events, merged in one snapshot:")
    written = f"{counts.rows_inserted:,} rows inserted, {counts.rows_updated:,} updated"
    story.tell(f"{written}, {counts.rows_deleted:,} deleted")
    again = apply(stage)["productorder"]
    story.expect(again.snapshot_id is None, "applying again changes nothing")
    _expect_rows(stage, story)


def _late_file(stage: Stage, story: Story) -> None:
    before = stage.raw_files("productorder")
    # held back until the task stops: longer than any number of newer files
    arm_fault(stage.endpoint_url, "delay-file", table=ORDER_TABLE, options={"files": 10_000})
    changes.mark(stage.connection, "written first, delivered late", 5001, 5200)
    stage.await_faults()
    changes.mark(stage.connection, "written second, delivered first", 5101, 5300)
    add_column(stage.dsn, "productorder", "channel", "text", value="web")
    early = stage.await_files("productorder", before, 2)
    first = apply(stage)["productorder"]
    story.tell(f"{len(early)} newer files are merged, an older one is still on its way:")
    found = reconcile(stage, "productorder")[-1]
    _tell_verdicts(story, [found])
    source = found.comparison(SOURCE_MATCHES_BASE)
    story.expect(source.verdict.value == "IN_FLIGHT", "missing changes are called in flight, not different")
    stage.restart_replication()
    stage.await_capture()
    late = apply(stage)["productorder"]
    stale = late.counts.stale
    story.tell("The task is stopped and resumed, and the late file appears:")
    story.expect(stale > 0, f"{stale:,} of its changes are older than what base has, and change nothing")
    story.expect(first.snapshot_id != late.snapshot_id, "each merge is one snapshot, seen whole or not")
    _expect_rows(stage, story)


def _expect_match(stage: Stage, story: Story, claim: str) -> None:
    results = [one for table in TABLES for one in reconcile(stage, table)]
    _tell_verdicts(story, results)
    story.expect(bool(results) and all(one.verdict.value == "MATCH" for one in results), claim)


def _prepare(stage: Stage, story: Story) -> None:
    import duckdb

    from cdc_platform.prepared import build_prepared

    build = build_prepared(stage.platform.config, stage.platform.lake)
    story.expect(not build.failed, f"{build.count('model')} models and {build.count('test')} tests pass")
    for node in build.failed:
        story.tell(f"{node.kind} {node.name}: {node.message}")
    with duckdb.connect(str(stage.folder / "prepared.duckdb"), read_only=True) as connection:
        top = connection.execute(
            "SELECT product_name, orders, revenue FROM top_products ORDER BY sales_rank LIMIT 3"
        ).fetchall()
    story.table(["top products", "orders", "revenue"], top)


def _tamper(stage: Stage, story: Story) -> None:
    from cdc_platform.local.demo_tampering import tamper

    key = int(stage.scalar("SELECT min(order_id) FROM productorder WHERE status <> 'cancelled'"))
    tamper(stage.platform.lake, SOURCE, "productorder", key)
    story.tell(f"order {key} now has quantity 999 in base, past the platform")
    results = reconcile(stage, "productorder")
    _tell_verdicts(story, results)
    found = [d for one in results for c in one.comparisons for d in c.discrepancies]
    story.expect(
        any(dict(d.key) == {"order_id": key} and "quantity" in d.columns for d in found),
        f"caught: order {key}, column quantity",
    )
    story.expect({one.key["order_id"] for one in found} == {key}, "and nothing else is called different")
    if results[-1].report is not None:
        story.tell(f"report: {results[-1].report}")


def _mend(stage: Stage, story: Story) -> None:
    key = stage.scalar("SELECT min(order_id) FROM productorder WHERE status <> 'cancelled'")
    changes.mark(stage.connection, "checked by hand", key, key)
    stage.await_capture()
    apply(stage)
    _expect_rows(stage, story)
    _expect_match(stage, story, "every table is proven equal to its source again")


def _close(stage: Stage, story: Story) -> None:
    config = stage.config_path
    story.tell(f"{'The story held' if story.holds else 'THE STORY DOES NOT HOLD'}, in {story.seconds:.0f} s.")
    for claim in story.broken:
        story.tell(f"✘ {claim}")
    story.tell(f"The lake stays in {stage.folder}. Look around:")
    for command in ("status", "quarantine list"):
        story.tell(f"  {_cdc()} {command} -c {config}")
    story.tell("Its database is stopped. To reconcile again, start it first:")
    for command in (start_again(stage.folder, stage.endpoint_url), f"reconcile -c {config}"):
        story.tell(f"  {_cdc()} {command}")
    story.tell("And with Dagster's UI: make up")


def _cdc() -> str:
    """Return how this person can run the command: it is on the PATH only in an active environment."""
    if shutil.which("cdc"):
        return "cdc"
    beside = Path(sys.executable).with_name("cdc")
    return os.path.relpath(beside) if beside.is_relative_to(Path.cwd()) else str(beside)


def apply(stage: Stage) -> dict[str, MergeResult]:
    """Take in and merge every table; return the merges by table id."""
    from cdc_platform.pipeline import merge_table, take_in

    take_in(stage.platform, SOURCE)
    return {table: merge_table(stage.platform, SOURCE, table) for table in TABLES}


def reconcile(stage: Stage, table: str) -> list[Reconciliation]:
    """Reconcile every window of a table, oldest first."""
    from cdc_platform.pipeline import reconcile as reconcile_window

    windows = stage.platform.windows(SOURCE, table)
    return [reconcile_window(stage.platform, SOURCE, table, window) for window in windows]


def _expect_rows(stage: Stage, story: Story) -> None:
    """Expect base to have as many rows as the source: every change so far is captured and merged."""
    there = {table: stage.scalar(f'SELECT count(*) FROM "{table}"') for table in TABLES}
    here = {table: stage.base_rows(table) for table in TABLES}
    counts = ", ".join(f"{table} {rows:,}" for table, rows in there.items())
    story.expect(here == there, f"base has as many rows as the source: {counts}")


def _tell_verdicts(story: Story, results: list[Reconciliation]) -> None:
    compared = [(one.table_id, comparison) for one in results for comparison in one.comparisons]
    story.verdicts(
        [
            (table, one.name.replace("_", " "), one.verdict.value, f"{one.tally.compared:,} keys")
            for table, one in compared
        ]
    )
    for table, one in compared:
        if one.verdict.value != "MATCH":
            story.tell(f"{table}, {one.name.replace('_', ' ')}: {one.reason}")
