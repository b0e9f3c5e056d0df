"""The certificate of a reconciliation: what exactly was compared with what, for a machine to check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, cast

import duckdb

from cdc_platform.reconcile.certificate_fields import CommonFields, ComparisonFields, KeyCounts
from cdc_platform.reconcile.certificate_schema import WindowCertificate
from cdc_platform.reconcile.column_verdicts import column_verdicts
from cdc_platform.reconcile.typed import TYPE_RULES_VERSION
from cdc_platform.reconcile.verdict import Comparison, Verdict

CERTIFICATE_VERSION: Final = 1

#: What a comparison of one window cannot see, whatever its verdict.
NOT_COVERED = (
    "Rows whose key no raw file of this window mentions were not read: a change that capture lost entirely, "
    "or a row someone wrote into base under another key, shows in a reconciliation of the whole table.",
    "Of an update without a before image of the key, the key its row had before was not read, should it have "
    "been another.",
    "Superseded keys were not compared here: the window of their later event compares them.",
)


def certificate(*, window: str, bounds: tuple[datetime, datetime], **common: Any) -> WindowCertificate:
    """Return the certificate of a window as JSON can hold it; ``common`` is :func:`common_fields`'s."""
    return {
        **common_fields(**common),
        "window": {"key": window, "from": bounds[0].isoformat(), "before": bounds[1].isoformat()},
        "not_covered": list(NOT_COVERED),
    }


def common_fields(
    *,
    run_id: str,
    source: str,
    table: str,
    merge_key: Sequence[str],
    verdict: Verdict,
    comparisons: Sequence[Comparison],
    started_at: datetime,
) -> CommonFields:
    """Return what the certificate of every kind of run has, as JSON can hold it."""
    positions = [c.source_position for c in comparisons if c.source_position]
    snapshots = [c.snapshot_id for c in comparisons if c.snapshot_id is not None]
    return {
        "certificate_version": CERTIFICATE_VERSION,
        "run_id": run_id,
        "source": source,
        "table": table,
        "merge_key": list(merge_key),
        "verdict": verdict.value,
        "started_at": started_at.isoformat(),
        "source_position": positions[0] if positions else None,
        # As text: beyond 2⁵³ a JSON reader may round a number.
        "snapshot_id": str(snapshots[0]) if snapshots else None,
        "type_rules_version": TYPE_RULES_VERSION,
        "engine": f"duckdb {duckdb.__version__}",
        "comparisons": [_comparison(comparison) for comparison in comparisons],
    }


def _comparison(comparison: Comparison) -> ComparisonFields:
    verdicts = column_verdicts(comparison)
    return {
        "name": comparison.name,
        "verdict": comparison.verdict.value,
        "reason": comparison.reason,
        "method": comparison.method,
        "columns": [
            {
                "name": column,
                "rule": comparison.rules.get(column, "equal by value"),
                "verdict": verdicts[column].value,
            }
            for column in comparison.columns
        ],
        "excluded": [
            {
                "column": excluded.column,
                "reason": excluded.reason,
                "gap": excluded.gap.value if excluded.gap else None,
                "verdict": verdicts[excluded.column].value,
            }
            for excluded in comparison.excluded
        ],
        # those this run read; what it took over from earlier runs stands apart
        "rows": dict(comparison.rows),
        "carried": comparison.carried.as_json() if comparison.carried else None,
        "keys": cast("KeyCounts", asdict(comparison.tally)),
        "discrepancies": comparison.discrepancies_total,
        "kinds": {kind.value: keys for kind, keys in comparison.kinds.items()},
        "faults": {fault.value: keys for fault, keys in comparison.faults.items()},
        "located": {"keys": sum(comparison.faults.values()), "of": comparison.tally.different},
        "column_differences": [one.as_json() for one in comparison.column_differences],
        "attribution": comparison.attribution,
        "notes": list(comparison.notes),
        "given_up": list(comparison.given_up),
        "source_position": comparison.source_position,
        "snapshot_id": None if comparison.snapshot_id is None else str(comparison.snapshot_id),
        "seconds": comparison.seconds,
    }
