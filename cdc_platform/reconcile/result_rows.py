"""The rows of the result tables, made of the outcome of a reconciliation."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from cdc_platform.reconcile.column_verdicts import column_verdicts
from cdc_platform.reconcile.scopes import SETTLING, WHOLE
from cdc_platform.reconcile.typed import TYPE_RULES_VERSION
from cdc_platform.reconcile.verdict import Comparison, Reconciliation


def _scope(reconciliation: Reconciliation) -> dict[str, Any]:
    return {
        "run_id": reconciliation.run_id,
        "source": reconciliation.source,
        "table_id": reconciliation.table_id,
        "window": reconciliation.window,
        "started_at": reconciliation.started_at,
    }


def run_row(reconciliation: Reconciliation) -> dict[str, Any]:
    """Return the row of ``runs``."""
    certificate = reconciliation.certificate
    snapshot_id = certificate["snapshot_id"]
    return {
        **_scope(reconciliation),
        "verdict": reconciliation.verdict.value,
        "seconds": reconciliation.seconds,
        "keys_compared": reconciliation.keys_compared,
        "discrepancies": reconciliation.discrepancies_total,
        "snapshot_id": int(snapshot_id) if snapshot_id else None,
        "source_position": certificate["source_position"],
        "type_rules_version": TYPE_RULES_VERSION,
        "report": reconciliation.report,
        "certificate": json.dumps(certificate, sort_keys=True),
    }


def segment_row(reconciliation: Reconciliation, comparison: Comparison) -> dict[str, Any]:
    """Return the row of ``segments`` for one comparison of a run."""
    return {
        **_scope(reconciliation),
        "comparison": comparison.name,
        "segment": _scope_name(reconciliation),
        "verdict": comparison.verdict.value,
        "reason": comparison.reason,
        "method": comparison.method,
        **{f"keys_{name}": number for name, number in asdict(comparison.tally).items()},
        "discrepancies": comparison.discrepancies_total,
        "columns": json.dumps(list(comparison.columns)),
        "excluded": json.dumps([asdict(excluded) for excluded in comparison.excluded]),
        "rules": json.dumps(dict(comparison.rules), sort_keys=True),
        "rows": json.dumps({**comparison.rows, **_carried(comparison)}),
        "notes": json.dumps(list(comparison.notes)),
        "source_position": comparison.source_position,
        "snapshot_id": comparison.snapshot_id,
        "seconds": comparison.seconds,
        "column_differences": json.dumps([one.as_json() for one in comparison.column_differences]),
        "attribution": comparison.attribution,
        "faults": json.dumps({fault.value: keys for fault, keys in comparison.faults.items()}),
        "kinds": json.dumps({kind.value: keys for kind, keys in comparison.kinds.items()}),
        "column_verdicts": json.dumps(_column_verdicts(comparison)),
    }


def _column_verdicts(comparison: Comparison) -> dict[str, str]:
    return {column: verdict.value for column, verdict in column_verdicts(comparison).items()}


def _carried(comparison: Comparison) -> dict[str, int]:
    return {"carried": comparison.carried.rows} if comparison.carried else {}


def _scope_name(reconciliation: Reconciliation) -> str:
    if reconciliation.window == SETTLING:
        return SETTLING
    return "table" if reconciliation.window in WHOLE else "window"


def part_rows(reconciliation: Reconciliation) -> list[dict[str, Any]]:
    """Return a row for each segment of a full comparison, beside the row of the whole."""
    return [
        {
            **_scope(reconciliation),
            "comparison": reconciliation.comparisons[0].name,
            "segment": f"{part['segment']}: {part['keys']}",
            "verdict": part["verdict"],
            "reason": part["reason"],
            "method": part["method"],
            "keys_compared": sum(part[name] for name in ("matched", "different", "in_flight", "unverified")),
            **{f"keys_{name}": part[name] for name in ("matched", "different", "in_flight", "unverified")},
            "rows": json.dumps({**part["rows"], "carried": part["carried_rows"]}),
            "source_position": part["source_position"],
            "snapshot_id": reconciliation.comparisons[0].snapshot_id,
            "verified_at": part["verified_at"],
        }
        for part in reconciliation.certificate.get("segments", ())
    ]


def discrepancy_rows(reconciliation: Reconciliation) -> list[dict[str, Any]]:
    """Return the rows of ``discrepancies``: the kept ones, with both rows and the evidence."""
    return [
        {
            **_scope(reconciliation),
            "comparison": comparison.name,
            "segment": _scope_name(reconciliation),
            "kind": found.kind.value,
            "verdict": found.verdict.value,
            "reason": found.reason,
            "key": json.dumps(dict(found.key), sort_keys=True),
            "columns": json.dumps(list(found.columns)),
            "first_witness": found.witnesses[0],
            "second_witness": found.witnesses[1],
            "expected": _json(found.expected),
            "actual": _json(found.actual),
            "fault": found.located.fault.value if found.located else None,
            "fault_evidence": _json(found.located.as_json()) if found.located else None,
            "classes": json.dumps({column: one.label for column, one in found.classes.items()}),
        }
        for comparison in reconciliation.comparisons
        for found in comparison.discrepancies
    ]


def _json(row: Mapping[str, Any] | None) -> str | None:
    return None if row is None else json.dumps(dict(row))
