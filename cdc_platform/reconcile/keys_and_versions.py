"""The cheap mode: keys, and a column that changes with every change of a row, in place of all columns.

It finds rows that are missing, too many or stale, and reads no other column from the source. What is wrong in
a value while the version is right it cannot see, and its certificate says so. PostgreSQL's own row version
(``xmin``) is in no change file, so base has nothing to hold against it.
"""

from __future__ import annotations

from dataclasses import replace

import duckdb

from cdc_platform.errors import ConfigError
from cdc_platform.naming import quoted
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.verdict import Excluded, Verdict
from cdc_platform.reconcile.window_events import count
from cdc_platform.words import counted

METHOD = "every key and version: digests by segments of the key, then those that differ"
KEYS_METHOD = "every key: digests by segments of the key, then those that differ"
CLAIM = "Base holds a row of every key the source has, in the same version, and no other row."

NOT_COVERED = "Values were not compared but those of the columns named: this mode compares keys and versions."


def keys_and_versions(plan: ReadPlan, version: str | None) -> ReadPlan:
    """Return the plan with the key and the column ``version`` only (None: the key alone).

    Raises ConfigError for a version column that is not compared, or of the key, which no change changes.
    """
    keys = {column.column for column in plan.key}
    if version in keys:
        mend = "name a column the source changes with every row it changes, or leave the option out"
        what = f"{version!r} is of the merge key, which stays as it is whatever changes"
        raise ConfigError("cdc reconcile", [("--version-column", what, mend)])
    wanted = keys | ({version} if version else set())
    if version and version not in {column.column for column in plan.columns}:
        why = next((f": {one.reason}" for one in plan.excluded if one.column == version), "")
        what = f"{version!r} is no column that base and the source can be compared in{why}"
        mend = "name a column the source changes with every row it changes, such as updated_at"
        raise ConfigError("cdc reconcile", [("--version-column", what, mend)])
    left = [column.column for column in plan.columns if column.column not in wanted]
    reason = "only keys and versions were compared" if version else "only keys were compared"
    # what stands against a MATCH of values does not against one of keys
    others = (replace(one, gap=None) for one in plan.excluded)
    return replace(
        plan,
        columns=tuple(column for column in plan.columns if column.column in wanted),
        excluded=(*others, *(Excluded(name, reason) for name in left)),
        refused={name: error for name, error in plan.refused.items() if name in wanted},
    )


def unversioned(
    connection: duckdb.DuckDBPyConnection, version: str | None, rows: str
) -> list[tuple[Verdict, str]]:
    """Return what stands against MATCH because rows of base have no version: two of none are no proof.

    ``rows`` is what follows FROM, with base's rows as ``b``.
    """
    if version is None:
        return []
    number = count(connection, f"SELECT count(*) FROM {rows} AND b.{quoted(version)} IS NULL")
    untold = (
        f"{counted(number, 'row')} of base without a value in {version}: whether they are stale is not known"
    )
    return [(Verdict.UNVERIFIED, untold)] if number else []
