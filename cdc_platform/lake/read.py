"""Reading base tables in bounded memory: by pyarrow alone, and through DuckDB where a condition is asked.

See :mod:`cdc_platform.lake.live_batches` and :mod:`cdc_platform.lake.live_rows`.

The extensions come from their wheels into a folder of ours: nothing is downloaded.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import duckdb
import pyarrow as pa
from pyiceberg.table import Table

from cdc_platform.config.model import LEAST_MEMORY, PlatformConfig, bytes_of
from cdc_platform.errors import MergeError
from cdc_platform.lake.allocator import choose_allocator
from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.live_batches import live_batches, live_schema
from cdc_platform.lake.live_rows import LiveFiles, live_files
from cdc_platform.lake.outages import outages
from cdc_platform.lake.spill import workspace_folder
from cdc_platform.naming import quoted, sql_text

_BATCH_ROWS = 65_536
_LOCAL = ("avro", "iceberg")
_REMOTE = ("httpfs",)


#: Extension files whose signature this process has checked: 0.5 s that need be spent only once.
_verified: set[Path] = set()


def connect(
    config: PlatformConfig, *, spill: Path | None = None, iceberg: bool = True
) -> duckdb.DuckDBPyConnection:
    """Return a DuckDB connection with the engine's bounds on memory and threads.

    It reads Iceberg tables unless told not to, S3 when the warehouse is there, and spills into ``spill``.
    """
    choose_allocator()
    remote = "://" in config.lake.warehouse
    names = (*(_LOCAL if iceberg else ()), *(_REMOTE if remote else ()))
    files = install_extensions(config, names) if names else []
    con = duckdb.connect(config={"allow_unsigned_extensions": str(_verified.issuperset(files)).lower()})
    engine = config.engine
    con.execute("SET enable_progress_bar = false")
    con.execute("SET autoinstall_known_extensions = false")
    con.execute("SET autoload_known_extensions = false")
    con.execute(f"SET memory_limit = '{_engine_share(bytes_of(engine.memory_limit))}B'")
    con.execute(f"SET threads = {engine.threads}")
    # of the whole engine: cursors have it from there
    con.execute("SET GLOBAL TimeZone = 'UTC'")
    con.execute("SET preserve_insertion_order = false")
    con.execute(f"SET extension_directory = {sql_text(str(extension_folder(config)))}")
    # the kernel keeps files of this machine anyway: a copy of ours grew with the table
    con.execute(f"SET enable_external_file_cache = {str(remote).lower()}")
    if spill is not None:
        con.execute(f"SET temp_directory = {sql_text(str(spill))}")
    for name in names:
        con.execute(f"LOAD {name}")
    _verified.update(files)
    if remote:
        _add_s3_secret(con, config)
    return con


def _engine_share(limit: int) -> int:
    """Return what of the memory the engine may take: the rest is for what Arrow reads and writes."""
    return max(limit * 3 // 5, min(limit, LEAST_MEMORY))


def open_workspace(lake: Lake, *, iceberg: bool = False) -> duckdb.DuckDBPyConnection:
    """Return a connection of :func:`connect` that spills into a folder of its own in the lake's."""
    return connect(lake.config, spill=workspace_folder(lake.spill_folder()), iceberg=iceberg)


def extension_folder(config: PlatformConfig) -> Path:
    """Return the folder the DuckDB extensions are installed in."""
    return Path(config.path_of(".cdc/duckdb-extensions"))


def install_extensions(config: PlatformConfig, names: Sequence[str] = _LOCAL) -> list[Path]:
    """Copy the extensions from their wheels into our folder, once, and return the files."""
    import importlib.resources as resources
    import shutil

    version, platform = _duckdb_build()
    target = extension_folder(config) / version / platform
    files = [target / f"{name}.duckdb_extension" for name in names]
    for name, installed in zip(names, files, strict=True):
        if installed.exists():
            continue
        wheel = Path(str(resources.files(f"duckdb_extension_{name}"))) / "extensions" / version
        target.mkdir(parents=True, exist_ok=True)
        # Renamed into place, so that a second process never loads half a file.
        partial = target / f".{name}.{os.getpid()}.{threading.get_ident()}"
        shutil.copyfile(wheel / f"{name}.duckdb_extension", partial)
        partial.replace(installed)
    return files


@cache
def _duckdb_build() -> tuple[str, str]:
    with duckdb.connect() as con:
        query = "SELECT library_version, platform FROM pragma_version(), pragma_platform()"
        row = con.execute(query).fetchone()
    assert row is not None
    return str(row[0]), str(row[1])


def _add_s3_secret(con: duckdb.DuckDBPyConnection, config: PlatformConfig) -> None:
    """Give DuckDB the credentials pyiceberg would use: the catalog's properties, else boto3's own chain."""
    properties = config.lake.catalog.properties
    key, secret, token = (
        properties.get(name) for name in ("s3.access-key-id", "s3.secret-access-key", "s3.session-token")
    )
    region = properties.get("s3.region") or properties.get("client.region")
    if key is None or secret is None:
        import boto3

        session = boto3.Session()
        credentials = session.get_credentials()
        region = region or session.region_name
        if credentials is not None:
            frozen = credentials.get_frozen_credentials()
            key, secret, token = frozen.access_key, frozen.secret_key, frozen.token
    options = {"KEY_ID": key, "SECRET": secret, "SESSION_TOKEN": token, "REGION": region}
    # DuckDB does not read the variables that lead every other AWS client to another endpoint.
    variables = (os.environ.get(f"AWS_ENDPOINT_URL{suffix}") for suffix in ("_S3", ""))
    endpoint = properties.get("s3.endpoint") or next(filter(None, variables), None)
    if endpoint:
        scheme, _, host = endpoint.partition("://")
        options |= {"ENDPOINT": host, "URL_STYLE": "path", "USE_SSL": "false" if scheme == "http" else "true"}
    given = ", ".join(f"{name} {sql_text(value)}" for name, value in options.items() if value)
    con.execute(f"CREATE SECRET cdc (TYPE s3, {given})")


def scan(
    lake: Lake,
    source: str,
    table_id: str,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    snapshot_id: int | None = None,
) -> pa.RecordBatchReader:
    """Return the base table's rows as a stream; ``where`` is a DuckDB expression over its columns.

    Raises MergeError when there is no such table or one of its files is damaged.
    """
    table = lake.load(source, table_id)
    if table is None:
        raise MergeError(
            "there is no base table yet", where=f"{source}/{table_id}", mend="merge its files first"
        )
    with outages(f"{source}/{table_id}"):
        return read_live(lake, table, live_files(table, snapshot_id), columns=columns, where=where)


def read_live(
    lake: Lake,
    table: Table,
    live: LiveFiles,
    *,
    columns: Sequence[str] | None = None,
    where: str | None = None,
    limit: int | None = None,
) -> pa.RecordBatchReader:
    """Return rows of ``table`` as a stream; ``where`` is a DuckDB expression over the columns of ``live``.

    Without a condition the rows come in the order of the files, else in none. ``limit`` lets the engine stop
    early; a reader without a condition stops by itself, and may give more.
    """
    names = list(columns) if columns else None
    schema = live_schema(live, names)
    if where is None and schema is not None:
        batches = live_batches(live, table.io, names, threads=lake.config.engine.threads)
        return pa.RecordBatchReader.from_batches(schema, batches)
    selected = ", ".join(quoted(name) for name in names) if names else "*"
    query = f"SELECT {selected} FROM {live.sql()}"
    if where:
        query += f" WHERE {where}"
    if limit is not None:
        query += f" LIMIT {limit}"
    con = open_workspace(lake)
    # The reader keeps the result alive, and the result its connection.
    return con.execute(query).to_arrow_reader(_BATCH_ROWS)
