"""Money, whose number of decimals is not in the value: the session's ``lc_monetary`` says it.

That of the database is the one DMS reads with. A role's own would move the point of every amount.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import psycopg

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.sources import ReadPlan

#: Where PostgreSQL says a setting comes from that is not the database's.
_OF_THE_SESSION = ("database user", "user", "client", "session")

_FORMAT = "SELECT setting, source FROM pg_catalog.pg_settings WHERE name = 'lc_monetary'"


def refuse_own_format(connection: psycopg.Connection[tuple[Any, ...]], plan: ReadPlan) -> ReadPlan:
    """Return the plan with money refused when the session has a format of its own. Raises psycopg.Error."""
    types = {column.name: column.base_type for column in plan.table.columns}
    money = [column for column in plan.columns if "money" in types[column.source_column]]
    if not money:
        return plan
    row = connection.execute(_FORMAT).fetchone()
    if row is None or row[1] not in _OF_THE_SESSION:
        return plan
    refused = {
        column.column: SourceUnavailable(
            f"lc_monetary is {row[0]!r} for this user or connection only, and the decimals of "
            f"{column.source_column!r} (money) depend on it",
            where=plan.table.label,
            mend="ALTER ROLE … RESET lc_monetary for the reconciliation user, or leave the column out "
            "(`not_compared` in cdc.yaml)",
        )
        for column in money
    }
    return replace(plan, refused={**plan.refused, **refused})
