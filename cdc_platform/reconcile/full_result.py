"""The outcome of a full comparison: its certificate, and where both are kept."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cdc_platform.lake.catalog import Lake
from cdc_platform.raw.objects import ObjectStore
from cdc_platform.reconcile.certificate import certificate
from cdc_platform.reconcile.digest import DIGEST_BITS, Salt, implementation
from cdc_platform.reconcile.results import FULL
from cdc_platform.reconcile.segment_results import SegmentResult
from cdc_platform.reconcile.verdict import Comparison, Reconciliation, Verdict

LATEST = "reports/full/latest.json"

NOT_COVERED = (
    "Columns that are listed as excluded were not compared.",
    "A segment is equal to base at the source position that stands beside it, and not at a later one.",
    "Raw files were not compared with base here: a window's reconciliation does that.",
)


@dataclass(frozen=True, slots=True)
class FullComparison:
    """A comparison of a whole table with its segments, and what names the digests it rests on."""

    comparison: Comparison
    segments: tuple[SegmentResult, ...] = ()
    salt: Salt | None = None
    is_systemic: bool = False
    guilty_columns: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict


def full_certificate(full: FullComparison, **common: Any) -> dict[str, Any]:
    """Return the certificate; ``common`` is what :func:`certificate` takes."""
    proof = certificate(**common, window=FULL, bounds=None, comparisons=[full.comparison])
    counts = {
        verdict.value: sum(one.verdict is verdict for one in full.segments)
        for verdict in Verdict
        if any(one.verdict is verdict for one in full.segments)
    }
    return {
        **proof,
        "digest": {
            "implementation": implementation(),
            "bits": DIGEST_BITS,
            "salt_id": full.salt.id if full.salt else None,
        },
        "is_systemic": full.is_systemic,
        "guilty_columns": list(full.guilty_columns),
        "segment_verdicts": counts,
        "segments": [one.as_json() for one in full.segments],
        "not_covered": list(NOT_COVERED),
    }


def keep(objects: ObjectStore, run: Reconciliation) -> str:
    """Store the certificate, also as the latest one, and return its path or URL."""
    data = json.dumps(run.certificate, indent=1, sort_keys=True).encode()
    key = f"reports/full/{run.run_id}.json"
    objects.put(key, data)
    objects.put(LATEST, data)
    return objects.url(key)


def latest_full(lake: Lake, source: str, table_id: str) -> dict[str, Any] | None:
    """Return the certificate of the last full comparison of a table; None when there was none."""
    data = lake.objects(source, table_id).get(LATEST)
    found: dict[str, Any] | None = json.loads(data) if data else None
    return found


def sentence(segments: Sequence[SegmentResult], points: Sequence[str]) -> str:
    """Return the verdict's reason: how much of the table is proven, and what stands against the rest."""
    rows = sum(max(one.source_rows, one.base_rows) for one in segments)
    proven = [one for one in segments if one.verdict is Verdict.MATCH]
    proven_rows = sum(one.source_rows for one in proven)
    parts = [f"{proven_rows:,} of {rows:,} rows in {len(proven)} of {len(segments)} segments are equal"]
    for verdict in (Verdict.DIFFERENT, Verdict.IN_FLIGHT, Verdict.UNVERIFIED, Verdict.ERROR):
        those = [one for one in segments if one.verdict is verdict]
        if those:
            first = f"{those[0].keys}: {those[0].reason}"
            parts.append(f"{len(those)} {verdict.value.replace('_', ' ').lower()}, first {first}")
    return "; ".join([*parts, *points])
