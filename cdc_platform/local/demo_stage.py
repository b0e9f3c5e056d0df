"""The demo's own small world: a folder with its cdc.yaml, a database and a DMS endpoint."""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cdc_platform.errors import LocalServiceError
from cdc_platform.local import services
from cdc_platform.local.faults import armed_faults
from cdc_platform.local.sample import create_sample
from cdc_platform.local.stack import SOURCE, write_dsn_file
from cdc_platform.lsn import find_lsn, lsn_value

if TYPE_CHECKING:
    import psycopg

    from cdc_platform.pipeline import Platform

TASK = f"{SOURCE}-cdc"
DBT_PROJECT = Path(__file__).resolve().parents[2] / "dbt_project"
_MARK = ".cdc-demo"
_WAIT_SECONDS = 60.0
_LOOK_SECONDS = 0.1

_CONFIG = """\
# Written by `cdc demo`. Bring its database and DMS back with: cdc {start_again}
version: 1
lake:
  warehouse: warehouse
state: state.sqlite
{prepared}sources:
  retail:
    raw: {{location: local/raw/retail}}
    window: {{every: daily, start: {start}}}
    connection: {{dsn_file: local/retail.dsn}}
    dms: {{endpoint_url: "{url}", region: us-east-1, max_batch_interval_seconds: 1}}
    tables:
      - {{name: public.product, merge_key: [product_id]}}
      - {{name: public.store, merge_key: [store_id]}}
      - {{name: public.productorder, merge_key: [order_id]}}
"""


@dataclass(slots=True)
class Stage:
    """What the scenes play on."""

    folder: Path
    config_path: Path
    platform: Platform
    connection: psycopg.Connection[tuple[Any, ...]]
    dsn: str
    endpoint_url: str

    @property
    def has_prepared(self) -> bool:
        """Whether the dbt project is there: an installed wheel has none."""
        return self.platform.config.prepared is not None

    def scalar(self, query: str) -> Any:
        """Return the one value a query of the source gives."""
        row = self.connection.execute(query).fetchone()
        return row[0] if row else None

    def base_rows(self, table_id: str) -> int:
        """Return how many rows a reader of the base table sees."""
        from cdc_platform.lake.read import scan

        return sum(
            batch.num_rows for batch in scan(self.platform.lake, SOURCE, table_id, columns=["_cdc_op"])
        )

    def start_replication(self) -> None:
        """Make the DMS objects by boto3 and start the task."""
        from cdc_platform import replication

        config = self.platform.config
        client = replication.dms_client(config, SOURCE)
        root = replication.raw_root_of(config, client)
        replication.apply_replication(client, replication.plan_replication(config, SOURCE, raw_root=root))
        replication.start(client, TASK)

    def restart_replication(self) -> None:
        """Stop the task, which flushes what it holds, and let it resume from its checkpoint."""
        from cdc_platform import replication

        client = replication.dms_client(self.platform.config, SOURCE)
        replication.stop(client, TASK)
        replication.start(client, TASK)

    def loaded_rows(self) -> dict[str, int]:
        """Wait until the full load is done; return the rows DMS counted, by table."""
        from cdc_platform import replication

        client = replication.dms_client(self.platform.config, SOURCE)

        def done() -> bool:
            statistics = replication.table_statistics(client, TASK)
            return bool(statistics) and all(one.is_loaded for one in statistics)

        wait_for(done, "the full load")
        return {one.table_name: one.full_load_rows for one in replication.table_statistics(client, TASK)}

    def await_capture(self) -> None:
        """Wait until everything committed so far is in visible raw files."""
        target = lsn_value(str(self.scalar("SELECT pg_current_wal_lsn()")))

        def captured() -> bool:
            position = self.platform.captured_position(SOURCE)
            return (find_lsn(position) or 0) >= target

        wait_for(captured, "the changes to be captured")

    def await_faults(self) -> None:
        """Wait until every armed fault has happened."""
        wait_for(lambda: not armed_faults(self.endpoint_url), "the armed faults to happen")

    def raw_files(self, table: str) -> set[str]:
        """Return the raw files a table has now."""
        folder = self.folder / "local" / "raw" / SOURCE / "public" / table
        return {path.name for path in folder.rglob("*.parquet")}

    def await_files(self, table: str, before: set[str], more: int) -> set[str]:
        """Wait until a table has ``more`` files than ``before``; return the new ones."""
        wait_for(lambda: len(self.raw_files(table) - before) >= more, f"{more} new files of {table}")
        return self.raw_files(table) - before


def wait_for(condition: Callable[[], bool], what: str) -> None:
    """Wait until ``condition`` holds. Raises LocalServiceError when it does not in time."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise LocalServiceError(f"waited {_WAIT_SECONDS:.0f} s for {what}", mend="see local/log/dms.log")
        time.sleep(_LOOK_SECONDS)


def fresh_folder(folder: Path, *, keep: bool) -> Path:
    """Return ``folder``, empty. What an earlier demo left there is removed, or kept beside it.

    Raises LocalServiceError when the folder holds anything but an earlier demo.
    """
    folder = folder.resolve()
    if folder.exists() and any(folder.iterdir()):
        if not (folder / _MARK).exists():
            mend = "give another one: cdc demo --folder …"
            raise LocalServiceError("the folder is not empty and no demo's", where=str(folder), mend=mend)
        services.down(folder / "local")
        if keep:
            told_at = datetime.fromtimestamp((folder / _MARK).stat().st_mtime)
            folder.rename(folder.with_name(f"{folder.name}-{told_at:%Y%m%d-%H%M%S}"))
        else:
            shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / _MARK).touch()
    return folder


@contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """Start PostgreSQL with the sample and the DMS endpoint below ``folder``; stop both at the end."""
    import psycopg

    from cdc_platform.pipeline import Platform

    running = services.up(folder / "local", database=SOURCE)
    try:
        write_dsn_file(folder / "local", SOURCE, running.dsn)
        config_path = folder / "cdc.yaml"
        config_path.write_text(_config_text(folder, running.endpoint_url))
        create_sample(running.dsn)
        platform = Platform.open(config_path)
        with psycopg.connect(running.dsn, autocommit=True) as connection:
            yield Stage(folder, config_path, platform, connection, running.dsn, running.endpoint_url)
    finally:
        services.down(folder / "local")


def start_again(folder: Path, endpoint_url: str) -> str:
    """Return the command line, after ``cdc``, that starts the services of a demo that is over."""
    port = endpoint_url.rpartition(":")[2]  # the one its cdc.yaml names
    return shlex.join(["local", "up", "--folder", str(folder / "local"), "--port", port])


def _config_text(folder: Path, url: str) -> str:
    prepared = f"prepared: {{project: {DBT_PROJECT}, database: prepared.duckdb}}\n"
    return _CONFIG.format(
        url=url,
        start_again=start_again(folder, url),
        # the clock may pass midnight while the demo runs
        start=(datetime.now(UTC) - timedelta(days=1)).date(),
        prepared=prepared if (DBT_PROJECT / "dbt_project.yml").exists() else "",
    )
