"""The engines of merges, used again: to start and stop one costs as much as a small merge has to do.

A merge's workspace is a connection to an engine that nobody else uses meanwhile. When the merge is done its
tables are dropped, and the engine waits for the next one: one at most, with nothing in it. An engine that has
spilled, that reaches a remote warehouse (by credentials that end), or that does not come clean is stopped.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

import duckdb

from cdc_platform.lake.catalog import Lake
from cdc_platform.lake.read import connect
from cdc_platform.lake.spill import workspace_folder
from cdc_platform.naming import quoted

#: Views first: they are of the tables.
_CONTENTS = """SELECT 'VIEW', view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary
    UNION ALL SELECT 'TABLE', table_name FROM duckdb_tables() WHERE NOT temporary ORDER BY 1 DESC"""


@dataclass(frozen=True, slots=True)
class _Engine:
    """A running engine, what it was started for, and the folder it spills into."""

    database: duckdb.DuckDBPyConnection
    purpose: str
    spill: Path

    @property
    def is_fit(self) -> bool:
        """Whether it can serve another merge: it never spilled, and could."""
        return self.spill.parent.is_dir() and not self.spill.exists()


_guard = threading.Lock()
_idle: list[_Engine] = []
#: Workspaces in use, by the identity of their connection.
_lent: dict[int, tuple[duckdb.DuckDBPyConnection, _Engine]] = {}
#: What a fork copied from its parent: the threads of these engines are not there, so they cannot be stopped.
_inherited: list[object] = []


def lend_workspace(lake: Lake) -> duckdb.DuckDBPyConnection:
    """Return an empty workspace with the engine's bounds, to be handed to :func:`take_back`."""
    base = lake.spill_folder()
    purpose = f"{base.absolute()} {lake.config.engine!r}"
    engine = _waiting(purpose)
    if engine is None:
        spill = workspace_folder(base)
        engine = _Engine(connect(lake.config, spill=spill, iceberg=False), purpose, spill)
    con = engine.database.cursor()
    with _guard:
        _lent[id(con)] = con, engine
    return con


def take_back(con: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Free a workspace with all that is in it; does nothing when that was done already."""
    with _guard:
        _, engine = _lent.pop(id(con), (None, None))
    con.close()
    if engine is None:
        return
    if "://" not in lake.warehouse and engine.is_fit and _is_emptied(engine.database):
        with _guard:
            if not _idle:
                _idle.append(engine)
                return
    engine.database.close()


def _waiting(purpose: str) -> _Engine | None:
    with _guard:
        engine = _idle.pop() if _idle else None
    if engine is None or (engine.purpose == purpose and engine.is_fit):
        return engine
    engine.database.close()
    return None


def _is_emptied(database: duckdb.DuckDBPyConnection) -> bool:
    """Drop everything in the database and return whether that went well."""
    try:
        contents = database.execute(_CONTENTS).fetchall()
        drops = "".join(f"DROP {kind} {quoted(name)}; " for kind, name in contents)
        # the one option of the whole engine that a merge sets for itself
        database.execute(f"BEGIN; {drops}COMMIT; RESET disabled_optimizers")
    except duckdb.Error:
        return False
    return True


def _forget() -> None:
    global _guard
    _guard = threading.Lock()
    _inherited.extend((*_idle, *_lent.values()))
    _idle.clear()
    _lent.clear()


os.register_at_fork(after_in_child=_forget)
