"""What is on its way to base while a whole table is compared, and which keys it changes."""

from __future__ import annotations

from dataclasses import replace

import duckdb

from cdc_platform.reconcile.asked_capture import ask_capture
from cdc_platform.reconcile.drill import load_changed_keys
from cdc_platform.reconcile.in_flight import Capture
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.sources import SourceReader
from cdc_platform.reconcile.subject import Subject
from cdc_platform.reconcile.verdict import Verdict
from cdc_platform.reconcile.workspace_names import in_workspace
from cdc_platform.words import counted


def observe_table(
    subject: Subject,
    connection: duckdb.DuckDBPyConnection,
    reader: SourceReader,
    sides: Sides,
    position: str,
    before: str | None = None,
) -> tuple[Capture, list[tuple[Verdict, str]]]:
    """Ask how far capture has come, then make ``changed_keys`` of what base awaits: in this order.

    The source was read at ``position``; ``before`` is how far capture had come before a standby was. Also
    returns what stands against MATCH whatever the digests say: files that may change any key.
    """
    capture = ask_capture(subject, reader, position, before)
    there = subject.on_the_way()
    untold = load_changed_keys(connection, sides, there.files)
    points = []
    if there.of_any_key:
        files = f"{counted(there.of_any_key, 'file')} of a full load"
        points.append((Verdict.IN_FLIGHT, f"{files}, not accepted yet, may change any key"))
    if untold:
        files = f"{counted(untold, 'file')} not applied"
        points.append((Verdict.IN_FLIGHT, f"{files} cannot tell which keys they change"))
    return replace(capture, unaccepted=there.of_any_key + untold), points


def mark_awaited(connection: duckdb.DuckDBPyConnection, sides: Sides) -> None:
    """Make ``awaited``: which of ``keys`` the files on their way change."""
    same = " AND ".join(
        f"{column.base.format('k.' + in_workspace(column.column))} = c.k{place}"
        for place, column in enumerate(sides.plan.key)
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE awaited AS SELECT DISTINCT k.key_id "
        f"FROM keys k JOIN changed_keys c ON {same}"
    )


def count_changed(
    connection: duckdb.DuckDBPyConnection, sides: Sides, *, has_suspects: bool
) -> dict[int, int]:
    """Count the changed keys of each segment that are no suspects: those are counted by their rows."""
    same = " AND ".join(
        f"{column.base.format(f's.k{place}')} = c.k{place}" for place, column in enumerate(sides.plan.key)
    )
    besides = f"ANTI JOIN suspects s ON {same}" if has_suspects else ""
    rows = connection.execute(f"SELECT c.segment, count(*) FROM changed_keys c {besides} GROUP BY 1")
    return dict(rows.fetchall())
