"""SQL that folds a window's events to the last one per key, as the merge rule says and apart from it.

* an insert, update or row of a load puts its image under its key; a delete takes the key away;
* an update whose before image has another key takes the old key away and puts the new one, at one position;
* two updates of one transaction, one right after the other, that swap two keys keep both rows, each at the
  later position;
* the highest ``(generation, position)`` of a key decides. Events of a generation older than the last
  complete load do not count.
"""

from __future__ import annotations

from cdc_platform.events import ROW, before_name
from cdc_platform.naming import quoted
from cdc_platform.reconcile.workspace_names import in_workspace


def fold_statements(key: tuple[str, ...], columns: tuple[str, ...], completed: int) -> list[str]:
    """Return the statements that make ``effects``, ``keys`` and ``last_effects`` from ``raw_events``."""
    k = [in_workspace(column) for column in key]
    # A key column the before image leaves out did not change.
    b = [f"coalesce({quoted(before_name(column))}, {in_workspace(column)})" for column in key]
    has_key = " AND ".join(f"{name} IS NOT NULL" for name in k)
    moved = f"_cdc_op = 'U' AND ({' OR '.join(f'{old} <> {new}' for old, new in zip(b, k, strict=True))})"
    keys = ", ".join(k)
    old_keys = ", ".join(f"{old} AS {new}" for old, new in zip(b, k, strict=True))
    at = "_cdc_generation AS generation, _cdc_position AS position"
    same_key = " AND ".join(f"e.{name} = k.{name}" for name in k)
    return [
        _swaps(key, columns, moved),
        f"""CREATE OR REPLACE TEMP TABLE effects AS
            SELECT rowid AS event, applied, {at}, _cdc_op = 'D' AS deletes, {keys}
            FROM raw_events WHERE {has_key}
            UNION ALL
            SELECT coalesce(s.first, e.event), applied, generation, position, s.first IS NULL, {keys}
            FROM (SELECT rowid AS event, applied, {at}, {old_keys} FROM raw_events
                  WHERE {has_key} AND {moved}) e
            LEFT JOIN swaps s ON s.second = e.event""",
        f"""CREATE OR REPLACE TEMP TABLE keys AS
            SELECT row_number() OVER (ORDER BY {keys}) AS key_id, *
            FROM (SELECT DISTINCT {keys} FROM effects)""",
        f"""CREATE OR REPLACE TEMP TABLE last_effects AS
            SELECT key_id, event, generation, position, deletes FROM (
                SELECT k.key_id, e.event, e.generation, e.position, e.deletes,
                       rank() OVER (PARTITION BY k.key_id
                                    ORDER BY e.generation DESC, e.position DESC) AS place
                FROM effects e JOIN keys k ON {same_key}
                WHERE e.applied AND e.generation >= {completed})
            WHERE place = 1""",
        f"""CREATE OR REPLACE TEMP TABLE pending_keys AS
            SELECT DISTINCT k.key_id FROM effects e JOIN keys k ON {same_key} WHERE NOT e.applied""",
    ]


def _swaps(key: tuple[str, ...], columns: tuple[str, ...], moved: str) -> str:
    """Return the SQL for adjacent updates a→b, b→a of one transaction whose other columns differ.

    Of several such updates over the same two keys the first two are a pair, then the next two, and so on.
    """
    old = ", ".join(f"coalesce({quoted(before_name(c))}, {in_workspace(c)}) AS {_old(c)}" for c in key)
    crossed = " AND ".join(
        f"x.{_old(c)} = y.{in_workspace(c)} AND x.{in_workspace(c)} = y.{_old(c)}" for c in key
    )
    here, there = (
        f"row({', '.join(names)})" for names in ([in_workspace(c) for c in key], [_old(c) for c in key])
    )
    others = [f"x.{in_workspace(c)} IS DISTINCT FROM y.{in_workspace(c)}" for c in columns if c not in key]
    return f"""CREATE OR REPLACE TEMP TABLE swaps AS
        WITH moves AS (SELECT rowid AS event, *, {old} FROM raw_events WHERE applied AND {moved}),
        placed AS (
            SELECT *, dense_rank() OVER (
                PARTITION BY file, _cdc_committed_at, _cdc_generation,
                             least({here}, {there}), greatest({here}, {there})
                ORDER BY _cdc_position) AS place
            FROM moves WHERE _cdc_committed_at IS NOT NULL)
        SELECT max(x.event) AS first, y.event AS second
        FROM placed x JOIN placed y
          ON x.file = y.file AND x._cdc_committed_at = y._cdc_committed_at
         AND x._cdc_generation = y._cdc_generation AND {crossed}
         AND x.place % 2 = 1 AND y.place = x.place + 1
         AND y.{ROW} = x.{ROW} + 1
        WHERE {" OR ".join(others) or "false"}
        GROUP BY y.event"""


def _old(column: str) -> str:
    return quoted(f"old_{column}")
