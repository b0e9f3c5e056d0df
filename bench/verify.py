"""Whether a table holds what it should: counts and sums by DuckDB, from the raw files alone on one side.

The expectation never passes through any engine under test: the rows of the full load without the changed
keys, and the changed rows. Every column of every row goes into the digest.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from bench.data import DataSet
from bench.lake import BenchLake, scan_sql
from bench.rows import Variant
from cdc_platform.formats.conversion import duckdb_type
from cdc_platform.lake.read import open_workspace
from cdc_platform.pipeline import Platform

Digest = Mapping[str, str]


def expected(data: DataSet, changes: int, kind: str = "random", *, deletes: bool = True) -> Digest:
    """Return the digest of the table after the changes; without their deletes if ``deletes`` is false."""
    name = f"{kind}-{changes}{'' if deletes else '-upserts'}.json"
    kept = data.folder / "expected" / name
    if not kept.exists():
        load = _files(data.load_files)
        removed = changed = ""
        if changes:
            these = _files(data.change_files(changes, kind))
            names = ", ".join(data.variant.columns)
            gone = these if deletes else f"(FROM {these} WHERE Op <> 'D')"
            removed = f"ANTI JOIN {gone} AS c USING ({', '.join(data.variant.key)})"
            changed = f"UNION ALL SELECT {names} FROM {these} WHERE Op <> 'D'"
        names = ", ".join(data.variant.columns)
        with duckdb.connect(config={"threads": 2, "memory_limit": "4GB"}) as con:
            found = digest(con, data.variant, f"(SELECT {names} FROM {load} AS l {removed} {changed})")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(found) + "\n")
    digest_: Digest = json.loads(kept.read_text())
    return digest_


def actual(lake: BenchLake, relation: str | None = None) -> Digest:
    """Return the digest of the lake's base table as it stands, or of another relation."""
    if relation:
        with duckdb.connect(config={"threads": 2, "memory_limit": "4GB"}) as con:
            return digest(con, lake.data.variant, relation)
    with Platform.open(lake.config).lake as opened, open_workspace(opened, iceberg=True) as con:
        return digest(con, lake.data.variant, scan_sql(lake.table(opened)))


def difference(lake: BenchLake, wanted: Digest, relation: str | None = None) -> str | None:
    """Return in words how the lake's base table, or another relation, is not what is wanted."""
    found = actual(lake, relation)
    return None if found == wanted else f"the table is wrong: {found} instead of {wanted}"


def digest(con: duckdb.DuckDBPyConnection, variant: Variant, relation: str) -> Digest:
    """Return the count, two sums that a person can check, and the sum of the hashes of all rows."""
    con.execute("SET TimeZone = 'UTC'")
    columns = ", ".join(f"{name}::{duckdb_type(kind)}" for name, kind in variant.columns.items())
    found = con.execute(
        f"SELECT count(*) AS rows, sum(quantity) AS quantity, sum(amount) AS amount, "
        f"sum(hash({columns})::HUGEINT) AS hashes FROM {relation}"
    ).fetchone()
    assert found is not None
    return dict(zip(("rows", "quantity", "amount", "hashes"), map(str, found), strict=True))


def _files(paths: Sequence[Path]) -> str:
    return f"read_parquet([{', '.join(repr(str(path)) for path in paths)}])"
