"""What the result tables tell of tables: their runs, what is wrong now, how long it took, their repairs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cdc_platform.fleet.episodes import Episode, episodes
from cdc_platform.fleet.figures import TableFigures
from cdc_platform.reconcile.faults import Fault, Located
from cdc_platform.reconcile.full_result import full_run_of, latest_full
from cdc_platform.reconcile.results import repairs, rows_of
from cdc_platform.reconcile.verdict import Discrepancy, Kind, Verdict

if TYPE_CHECKING:
    from cdc_platform.pipeline import Platform

Names = tuple[str, str]

#: So many runs with a difference are told of in full on a table's page, the newest windows first.
TOLD_RUNS = 5
#: Of so many more the discrepancies are read, for when they came to be.
_DATED_RUNS = 40
_RUNS = (
    *("run_id", "source", "table_id", "window", "started_at", "verdict", "seconds", "keys_compared"),
    *("discrepancies", "snapshot_id", "source_position"),
)
_SEGMENTS = (
    *("run_id", "source", "table_id", "window", "started_at", "comparison", "verdict", "reason", "method"),
    *("keys_compared", "keys_matched", "keys_superseded", "keys_different", "keys_in_flight"),
    *("keys_unverified", "discrepancies", "columns", "excluded", "rules", "notes", "source_position"),
    *("column_differences", "attribution", "faults", "kinds", "seconds"),
)
_DISCREPANCIES = (
    *("run_id", "window", "comparison", "kind", "verdict", "reason", "key", "columns", "first_witness"),
    *("second_witness", "expected", "actual", "fault", "fault_evidence", "classes"),
)


@dataclass(frozen=True, slots=True)
class KeptDiscrepancy:
    """A discrepancy of a recorded run; ``labels`` name the kind of difference by column."""

    comparison: str
    found: Discrepancy
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class TableHistory:
    """One table. ``runs`` are the newest first; ``wrong`` the runs that hold and found a difference."""

    runs: tuple[Mapping[str, Any], ...] = ()
    #: The comparisons of the runs that hold: the newest of each window, and of the whole table.
    comparisons: Mapping[str, tuple[Mapping[str, Any], ...]] = field(default_factory=dict)
    wrong: tuple[str, ...] = ()
    discrepancies: Mapping[str, tuple[KeptDiscrepancy, ...]] = field(default_factory=dict)
    episodes: tuple[Episode, ...] = ()
    repairs: tuple[Mapping[str, Any], ...] = ()
    certificate: Mapping[str, Any] | None = None


def histories(
    platform: Platform, tables: Sequence[TableFigures], since: datetime
) -> dict[Names, TableHistory]:
    """Return the history of ``tables`` since then, what holds now however old its run is."""
    one = (tables[0].source, tables[0].table_id) if len(tables) == 1 else None
    lake = platform.lake
    runs = _by_table(rows_of(lake, "runs", _RUNS, table=one, since=since))
    whole = ("window", "table")
    segments = _by_table(rows_of(lake, "segments", _SEGMENTS, table=one, since=since, segments=whole))
    repaired = _by_table(repairs(lake))
    return {
        (table.source, table.table_id): _history(
            platform,
            table,
            runs.get((table.source, table.table_id), []),
            segments.get((table.source, table.table_id), []),
            repaired.get((table.source, table.table_id), []),
        )
        for table in tables
    }


def _history(
    platform: Platform,
    table: TableFigures,
    runs: list[Mapping[str, Any]],
    segments: list[Mapping[str, Any]],
    repaired: list[Mapping[str, Any]],
) -> TableHistory:
    names = (table.source, table.table_id)
    runs = _with_confirmed(runs, segments)
    holding = {one.run_id for one in (*table.compared_windows, table.whole) if one is not None}
    wrong = [one.run_id for one in reversed(table.compared_windows) if one.verdict == Verdict.DIFFERENT]
    if table.whole is not None and table.whole.verdict == Verdict.DIFFERENT:
        wrong.insert(0, table.whole.run_id)
    dated = [one.found_by for one in episodes(runs)][:_DATED_RUNS]
    kept = _discrepancies(platform, names, list(dict.fromkeys([*wrong[:TOLD_RUNS], *dated])))
    comparisons: dict[str, list[Mapping[str, Any]]] = {}
    for row in segments:
        if row["run_id"] in holding:
            comparisons.setdefault(row["run_id"], []).append(row)
    return TableHistory(
        runs=tuple(sorted(runs, key=lambda one: (one["started_at"], one["run_id"]), reverse=True)),
        comparisons={run: tuple(sorted(rows, key=_source_first)) for run, rows in comparisons.items()},
        wrong=tuple(wrong),
        discrepancies={run: tuple(map(discrepancy_of, rows)) for run, rows in kept.items()},
        episodes=episodes(runs, {run: at for run, rows in kept.items() if (at := _committed(rows))}),
        repairs=tuple(sorted(repaired, key=lambda one: one["started_at"], reverse=True)),
        certificate=_certificate(platform, table),
    )


def _certificate(platform: Platform, table: TableFigures) -> Mapping[str, Any] | None:
    """Return the certificate of the newest whole run."""
    if table.whole is None:
        return None
    found = full_run_of(platform.objects(table.source, table.table_id), table.whole.run_id)
    return found or latest_full(platform.lake, table.source, table.table_id)


def _with_confirmed(
    runs: Iterable[Mapping[str, Any]], segments: Iterable[Mapping[str, Any]]
) -> list[Mapping[str, Any]]:
    """Return the runs with ``different``: how many keys are confirmed; ``discrepancies`` counts all."""
    confirmed: dict[str, int] = {}
    for row in segments:
        confirmed[row["run_id"]] = max(confirmed.get(row["run_id"], 0), row["keys_different"] or 0)
    return [{**run, "different": confirmed.get(run["run_id"], run["discrepancies"] or 0)} for run in runs]


def _discrepancies(
    platform: Platform, names: Names, runs: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    if runs:
        for row in rows_of(platform.lake, "discrepancies", _DISCREPANCIES, table=names, runs=runs):
            found.setdefault(row["run_id"], []).append(row)
    return found


def discrepancy_of(row: Mapping[str, Any]) -> KeptDiscrepancy:
    """Return what a row of the table ``discrepancies`` tells of."""
    evidence = json.loads(row["fault_evidence"]) if row["fault_evidence"] else None
    found = Discrepancy(
        kind=Kind(row["kind"]),
        key=json.loads(row["key"]),
        columns=tuple(json.loads(row["columns"])),
        expected=json.loads(row["expected"]) if row["expected"] else None,
        actual=json.loads(row["actual"]) if row["actual"] else None,
        witnesses=(row["first_witness"], row["second_witness"]),
        verdict=Verdict(row["verdict"]),
        reason=row["reason"],
        located=Located.from_json(Fault(row["fault"]), evidence) if evidence else None,
    )
    return KeptDiscrepancy(row["comparison"], found, json.loads(row["classes"] or "{}"))


def _committed(rows: Iterable[Mapping[str, Any]]) -> datetime | None:
    """Return when the oldest of the rows' newest events was committed; None when no row tells."""
    told = [json.loads(row["fault_evidence"]).get("raw") for row in rows if row["fault_evidence"]]
    moments = [datetime.fromisoformat(one["committed_at"]) for one in told if one and one["committed_at"]]
    return min((one if one.tzinfo else one.replace(tzinfo=UTC) for one in moments), default=None)


def _by_table(rows: Iterable[Mapping[str, Any]]) -> dict[Names, list[Mapping[str, Any]]]:
    found: dict[Names, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["source"], row["table_id"]), []).append(row)
    return found


def _source_first(row: Mapping[str, Any]) -> bool:
    return not str(row["comparison"]).startswith("source")
