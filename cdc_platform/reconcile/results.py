"""Results of reconciliations: Iceberg tables for everyone who queries, and an index of the latest verdicts.

The namespace ``cdc_reconciliation`` holds ``runs`` (one row a run, with its certificate), ``segments`` (one
row a comparison of a window, and one a segment of a whole table), ``discrepancies`` (the kept ones, key and
both rows as JSON text) and ``repairs``. They only ever grow. Each is one Iceberg append, and the row of
``runs`` comes last: a run that is there has all its rows in the others, and a run recorded again adds none.

The latest verdict of each window also stands in ``reports/verdicts.json`` of the table's object store, and
the figures of the newest runs in ``reports/recent.json``, because a status of a thousand tables must not
open a file for every run there ever was.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pyiceberg.exceptions import CommitFailedException, NamespaceAlreadyExistsError
from pyiceberg.expressions import (
    AlwaysFalse,
    AlwaysTrue,
    And,
    BooleanExpression,
    EqualTo,
    GreaterThanOrEqual,
    Or,
)
from pyiceberg.table import Table
from pyiceberg.typedef import Identifier

from cdc_platform.errors import StaleCommit
from cdc_platform.lake.catalog import Lake
from cdc_platform.reconcile.recent_runs import remember_run
from cdc_platform.reconcile.result_rows import discrepancy_rows, part_rows, run_row, segment_row
from cdc_platform.reconcile.result_tables import RESULT_TABLES, ResultTable
from cdc_platform.reconcile.scopes import SETTLING, WHOLE
from cdc_platform.reconcile.verdict import Reconciliation
from cdc_platform.reconcile.verdict_index import read_index, remember_verdict

NAMESPACE = "cdc_reconciliation"

_COMMIT_ATTEMPTS = 20
_LONGEST_PAUSE_SECONDS = 1.0

#: Beyond so many snapshots the oldest are expired: nobody travels in time over an append-only log.
_MOST_SNAPSHOTS = 200
_KEPT_SNAPSHOTS = 50


def record(lake: Lake, reconciliation: Reconciliation) -> None:
    """Append a run to the result tables and make it the latest verdict of its window.

    Recording the same run again, after a crash or an outcome nobody knows, leaves its rows once.
    """
    segments = [segment_row(reconciliation, comparison) for comparison in reconciliation.comparisons]
    rows: dict[str, list[dict[str, Any]]] = {
        "discrepancies": discrepancy_rows(reconciliation),
        "segments": segments + part_rows(reconciliation),
        "runs": [run_row(reconciliation)],
    }
    for name, new in rows.items():
        if new and not _has_run(lake, RESULT_TABLES[name], new[0]):
            _append(lake, RESULT_TABLES[name], new)
    objects = lake.objects(reconciliation.source, reconciliation.table_id)
    if reconciliation.window not in (*WHOLE, SETTLING):
        remember_verdict(objects, reconciliation)
    remember_run(objects, reconciliation)


def _has_run(lake: Lake, result: ResultTable, row: Mapping[str, Any]) -> bool:
    names = ("source", "table_id", "window", "run_id")
    same = And(*(EqualTo(term=name, value=row[name]) for name in names))
    found = _table(lake, result).scan(row_filter=same, selected_fields=("run_id",), limit=1).to_arrow()
    return bool(found.num_rows)


def record_repair(lake: Lake, row: Mapping[str, Any]) -> None:
    """Append a step of a repair to ``repairs`` unless it is there."""
    result = RESULT_TABLES["repairs"]
    known = And(
        EqualTo(term="source", value=row["source"]),
        EqualTo(term="table_id", value=row["table_id"]),
        EqualTo(term="repair_id", value=row["repair_id"]),
        EqualTo(term="action", value=row["action"]),
    )
    if not _table(lake, result).scan(row_filter=known, selected_fields=("repair_id",), limit=1).to_arrow():
        _append(lake, result, [row])


def run_of(lake: Lake, run_id: str) -> dict[str, Any] | None:
    """Return a recorded run (source, table_id, window, verdict), None when there is none of this id."""
    scanned = _table(lake, RESULT_TABLES["runs"]).scan(
        row_filter=EqualTo(term="run_id", value=run_id),
        selected_fields=("run_id", "source", "table_id", "window", "verdict"),
    )
    return next(iter(scanned.to_arrow().to_pylist()), None)


def latest_verdicts(lake: Lake) -> dict[tuple[str, str], dict[str, str]]:
    """Return the latest verdict of every window that was reconciled, by (source, table id), then window."""
    found = {}
    for source, config in lake.config.sources.items():
        for table in config.tables:
            windows = read_index(lake.objects(source, table.id))
            if windows:
                found[source, table.id] = {window: entry["verdict"] for window, entry in windows.items()}
    return found


def history(lake: Lake, source: str, table_id: str, window: str, *, limit: int = 30) -> list[dict[str, Any]]:
    """Return the window's recorded runs, newest first: run, start, verdict, keys and discrepancies."""
    table = _table(lake, RESULT_TABLES["runs"])
    rows = (
        table.scan(
            row_filter=And(
                EqualTo(term="source", value=source),
                EqualTo(term="table_id", value=table_id),
                EqualTo(term="window", value=window),
            ),
            selected_fields=("run_id", "started_at", "verdict", "keys_compared", "discrepancies", "seconds"),
        )
        .to_arrow()
        .sort_by([("started_at", "descending")])
    )
    return rows.slice(0, limit).to_pylist()


def repairs(lake: Lake) -> list[dict[str, Any]]:
    """Return the recorded steps of repairs of every table, in no order; none before the first repair."""
    columns = ("source", "table_id", "window", "repair_id", "started_at", "action", "by", "verdict", "keys")
    return rows_of(lake, "repairs", columns)


def rows_of(
    lake: Lake,
    name: str,
    columns: Sequence[str],
    *,
    table: tuple[str, str] | None = None,
    since: datetime | None = None,
    runs: Sequence[str] | None = None,
    segments: Sequence[str] | None = None,
) -> list[dict[str, Any]]:
    """Return rows of a result table: of one (source, table id), begun since, of runs, of segments.

    Nothing is made by it: a table that nobody wrote has no rows. ``window`` and ``source`` prune files.
    """
    result = RESULT_TABLES[name]
    if not lake.catalog.table_exists(_identifier(result)):
        return []
    conditions: list[BooleanExpression] = []
    if table is not None:
        conditions += [EqualTo(term="source", value=table[0]), EqualTo(term="table_id", value=table[1])]
    if since is not None:
        conditions.append(GreaterThanOrEqual(term="started_at", value=since.isoformat()))
    for term, values in (("run_id", runs), ("segment", segments)):
        if values is not None:
            conditions.append(_any_of(term, values))
    found = lake.catalog.load_table(_identifier(result))
    there = {field.name for field in found.schema().fields}
    wanted = tuple(column for column in columns if column in there)
    condition = And(AlwaysTrue(), AlwaysTrue(), *conditions)
    rows = found.scan(row_filter=condition, selected_fields=wanted).to_arrow().to_pylist()
    return [{**dict.fromkeys(columns), **row} for row in rows]


def _any_of(term: str, values: Sequence[str]) -> BooleanExpression:
    same: list[BooleanExpression] = [EqualTo(term=term, value=value) for value in values]
    return Or(AlwaysFalse(), AlwaysFalse(), *same)


def writable(lake: Lake, name: str) -> Table:
    """Return a result table, made when it is not there."""
    return _table(lake, RESULT_TABLES[name])


def _identifier(result: ResultTable) -> Identifier:
    return (NAMESPACE, result.name)


def _table(lake: Lake, result: ResultTable) -> Table:
    identifier = _identifier(result)
    if not lake.catalog.table_exists(identifier):
        with contextlib.suppress(NamespaceAlreadyExistsError):
            lake.catalog.create_namespace(NAMESPACE)
    return lake.catalog.create_table_if_not_exists(
        identifier, result.schema, partition_spec=result.partition_spec, properties=result.properties
    )


def _append(lake: Lake, result: ResultTable, rows: Sequence[Mapping[str, Any]]) -> None:
    """Append in one snapshot; runs of other tables append at the same time, so conflicts are retried."""
    data = result.arrow_table(rows)
    for attempt in range(_COMMIT_ATTEMPTS):
        table = _table(lake, result)
        try:
            _evolve(table, result)
            table.append(data)
        except CommitFailedException:
            time.sleep(random.uniform(0, min(_LONGEST_PAUSE_SECONDS, 0.02 * 2**attempt)))
            continue
        _trim(table)
        return
    raise StaleCommit(
        f"the results could not be appended in {_COMMIT_ATTEMPTS} attempts: others commit at the same time",
        where=".".join(_identifier(result)),
        mend="run the reconciliation again",
    )


def _evolve(table: Table, result: ResultTable) -> None:
    """Add the columns that this version writes and the table, made by an earlier one, lacks."""
    there = {field.name for field in table.schema().fields}
    missing = [field for field in result.schema.fields if field.name not in there]
    if not missing:
        return
    with table.update_schema() as update:
        for field in missing:
            update.add_column(field.name, field.field_type)


def _trim(table: Table) -> None:
    """Expire old snapshots of a result table now and then; the rows stay."""
    snapshots = sorted(table.snapshots(), key=lambda snapshot: snapshot.sequence_number or 0)
    if len(snapshots) <= _MOST_SNAPSHOTS:
        return
    try:
        expired = [snapshot.snapshot_id for snapshot in snapshots[:-_KEPT_SNAPSHOTS]]
        table.maintenance.expire_snapshots().by_ids(expired).commit()
    except CommitFailedException:
        # Another run committed meanwhile; the next one trims.
        return
