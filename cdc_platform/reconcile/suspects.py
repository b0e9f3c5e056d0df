"""The suspects: the keys of discrepancies, typed as base has them, as tables of one DuckDB connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import duckdb
import pyarrow as pa

from cdc_platform.reconcile.verdict import Discrepancy
from cdc_platform.reconcile.workspace_names import in_workspace


def key_text(key: Mapping[str, Any]) -> str:
    """Return what tells two keys apart."""
    return json.dumps(dict(key), sort_keys=True)


def suspects_of(discrepancies: Iterable[Discrepancy], most: int) -> dict[str, Mapping[str, Any]]:
    """Return the first ``most`` different keys by their texts."""
    found: dict[str, Mapping[str, Any]] = {}
    for one in discrepancies:
        if len(found) == most:
            break
        found.setdefault(key_text(one.key), one.key)
    return found


def make_suspects(
    connection: duckdb.DuckDBPyConnection, keys: Sequence[Mapping[str, Any]], columns: pa.Schema
) -> None:
    """Make the temporary table ``suspects``: key_id, from 0 in the order of ``keys``, and the key columns."""
    texts = pa.table(
        {
            "key_id": pa.array(range(len(keys)), pa.int64()),
            **{
                f"k{i}": pa.array([_text(key.get(c.name)) for key in keys], pa.string())
                for i, c in enumerate(columns)
            },
        }
    )
    connection.register("key_texts", texts)
    types = types_in(connection, columns)
    typed = (
        f"{_typed(f'k{i}', types[column.name])} AS {in_workspace(column.name)}"
        for i, column in enumerate(columns)
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE suspects AS SELECT key_id, {', '.join(typed)} FROM key_texts"
    )
    connection.unregister("key_texts")


def types_in(connection: duckdb.DuckDBPyConnection, columns: pa.Schema) -> dict[str, str]:
    """Return the DuckDB types of Arrow columns, as SQL has them."""
    connection.register("shape", columns.empty_table())
    try:
        return {
            name: str(type_)
            for name, type_ in zip(columns.names, connection.sql("SELECT * FROM shape").types, strict=True)
        }
    finally:
        connection.unregister("shape")


def same_key(key: Sequence[str], left: str, right: str) -> str:
    """Return the SQL condition that two rows of the workspace have one key."""
    return " AND ".join(f"{left}.{in_workspace(column)} = {right}.{in_workspace(column)}" for column in key)


def _text(value: Any) -> str | None:
    if value is None:
        return None
    return value if isinstance(value, str) else json.dumps(value)


def _typed(text: str, type_: str) -> str:
    if type_ == "BLOB":
        return f"TRY(unhex(substr({text}, 3)))"
    return f"TRY_CAST({text} AS {type_})"
