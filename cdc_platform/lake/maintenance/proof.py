"""Proof that a rewrite changed no row: how many rows there are and the sum of their hashes, before and after.

Sums, never XOR: a row that is doubled, or lost twice, shows. NULL has a hash of its own in every place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb

from cdc_platform.errors import MergeError
from cdc_platform.naming import quoted


@dataclass(frozen=True, slots=True)
class Digest:
    """What a set of rows amounts to, whatever their order and files."""

    rows: int
    hash_sum: int


def digest(con: duckdb.DuckDBPyConnection, relation: str, columns: Sequence[str]) -> Digest:
    """Return the digest of all columns of the rows of ``relation``."""
    hashed = f"hash({', '.join(map(quoted, columns))})::HUGEINT"
    row = con.execute(f"SELECT count(*), coalesce(sum({hashed}), 0) FROM {relation}").fetchone()
    assert row is not None
    return Digest(int(row[0]), int(row[1]))


def require_same(before: Digest, after: Digest, *, where: str) -> None:
    """Raise MergeError unless the rewritten rows are the rows that were read."""
    if before == after:
        return
    raise MergeError(
        f"the rewritten files do not hold the rows that were read: {before.rows} rows with hash sum "
        f"{before.hash_sum} became {after.rows} with {after.hash_sum}; nothing was committed",
        where=where,
        mend="check disk and memory of the machine, then run the maintenance again; report it if it stays",
    )
