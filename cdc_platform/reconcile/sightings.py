"""Which keys of a comparison are looked at again later: see ``settling``."""

from __future__ import annotations

from collections.abc import Mapping

import duckdb

from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.settling import MOST_QUEUED
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.verdict import DISCREPANCY_CAP, Sighting, Verdict
from cdc_platform.reconcile.workspace_names import in_workspace, workspace_name


def sightings(
    connection: duckdb.DuckDBPyConnection, plan: ReadPlan, judgement: Judgement, position: str
) -> tuple[Sighting, ...]:
    """Return the keys of ``source_outcomes`` in flight, differing ones first, and some of the different."""
    judged = judgement.verdict
    decided = judged is Verdict.DIFFERENT
    differs = "o.outcome > 0 AND NOT o.later AND NOT o.awaited AND NOT o.moved"
    flying = f"o.awaited OR o.moved OR ({differs})" if judged is Verdict.IN_FLIGHT else "o.awaited OR o.moved"
    found = _keys(connection, plan, flying, MOST_QUEUED, position, different=False)
    if decided:
        found += _keys(connection, plan, differs, DISCREPANCY_CAP, position, different=True)
    return tuple(found)


def key_texts(connection: duckdb.DuckDBPyConnection, columns: tuple[str, ...]) -> Mapping[str, str]:
    """Return, by column, the SQL of the text of a key in ``keys k`` that casts back to just its value."""
    types = dict(zip(connection.table("keys").columns, connection.table("keys").types, strict=True))
    texts = {}
    for column in columns:
        name = f"k.{in_workspace(column)}"
        is_bytes = str(types[workspace_name(column)]) == "BLOB"
        texts[column] = f"'\\x' || hex({name})" if is_bytes else f"CAST({name} AS VARCHAR)"
    return texts


def _keys(
    connection: duckdb.DuckDBPyConnection,
    plan: ReadPlan,
    which: str,
    most: int,
    position: str,
    *,
    different: bool,
) -> list[Sighting]:
    columns = tuple(column.column for column in plan.key)
    texts = ", ".join(key_texts(connection, columns).values())
    rows = connection.execute(
        f"""SELECT {texts} FROM source_outcomes o JOIN keys k ON k.key_id = o.key_id
            WHERE {which} ORDER BY o.outcome = 0, o.key_id LIMIT {most}"""
    ).fetchall()
    return [Sighting(dict(zip(columns, row, strict=True)), position, different) for row in rows]
