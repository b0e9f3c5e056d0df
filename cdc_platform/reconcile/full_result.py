"""The outcome of a full comparison: its certificate, and where both are kept."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from cdc_platform.lake.catalog import Lake
from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.reconcile.carried_rows import BASE_ROWS, SOURCE_ROWS, carried_of, told
from cdc_platform.reconcile.certificate import common_fields
from cdc_platform.reconcile.certificate_schema import VerificationFields, WholeCertificate
from cdc_platform.reconcile.compared_columns import gap_points
from cdc_platform.reconcile.digest import DIGEST_BITS, Salt, implementation
from cdc_platform.reconcile.in_flight import Judgement
from cdc_platform.reconcile.keys_and_versions import NOT_COVERED as NO_VALUES
from cdc_platform.reconcile.recent_runs import OF_SOURCE, recent_runs
from cdc_platform.reconcile.row_results import RowFindings
from cdc_platform.reconcile.scopes import EXPORT, FULL, INCREMENTAL, KEYS
from cdc_platform.reconcile.segment_results import Findings, SegmentResult
from cdc_platform.reconcile.sides import Sides
from cdc_platform.reconcile.source_base import CONFIRMED
from cdc_platform.reconcile.sources import ReadPlan
from cdc_platform.reconcile.verdict import (
    SOURCE_MATCHES_BASE,
    Comparison,
    Reconciliation,
    Tally,
    Verdict,
    combine,
)
from cdc_platform.reconcile.workspace_names import in_workspace

LATEST = "reports/full/latest.json"

NOT_READ = (
    "Rows that earlier runs found equal, and that neither base nor a raw file tells a change of since, were "
    "not read: a change that capture lost altogether shows only when its segment is read again, which its "
    "age decides."
)
NOT_OPENED = (
    "Files of base that were read before were taken to hold what they held then, where storage lists them "
    "with the size they were written with: one that was written over in place, and has that size, shows only "
    "when its segment is read again."
)
OF_THE_PAST = (
    "The source was not asked: what is said here is said of the export, and of the moment it was made."
)
NOT_COVERED = (
    "Columns that are listed as excluded were not compared.",
    "A segment is equal to base at the source position that stands beside it, and not at a later one.",
    "Raw files were not compared with base here: a window's reconciliation does that.",
)
_OF_MODES = (NO_VALUES, NOT_READ, NOT_OPENED, OF_THE_PAST)


@dataclass(frozen=True, slots=True)
class FullComparison:
    """A comparison of a whole table with its segments, and what names the digests it rests on."""

    comparison: Comparison
    segments: tuple[SegmentResult, ...] = ()
    salt: Salt | None = None
    is_systemic: bool = False
    #: Every key that is DIFFERENT for certain, as base holds it; None when there is none.
    confirmed: pa.Table | None = None

    @property
    def verdict(self) -> Verdict:
        return self.comparison.verdict

    @property
    def guilty_columns(self) -> tuple[str, ...]:
        return self.comparison.guilty


def full_certificate(full: FullComparison, *, against: str, window: str, **common: Any) -> WholeCertificate:
    """Return the certificate; ``against`` names the source side, ``common`` is :func:`common_fields`'s."""
    counts = {
        verdict.value: sum(one.verdict is verdict for one in full.segments)
        for verdict in Verdict
        if any(one.verdict is verdict for one in full.segments)
    }
    return {
        **common_fields(**common, comparisons=[full.comparison]),
        "window": {"key": window, "from": None, "before": None},
        "digest": {
            "implementation": implementation(),
            "bits": DIGEST_BITS,
            "salt_id": full.salt.id if full.salt else None,
        },
        "against": against,
        "is_systemic": full.is_systemic,
        "confirmed_keys": full.confirmed.num_rows if full.confirmed is not None else 0,
        "guilty_columns": list(full.guilty_columns),
        "segment_verdicts": counts,
        "segments": [one.as_json() for one in full.segments],
        "verification": _verification(full.segments),
        "not_covered": [*_of_mode(window, full), *NOT_COVERED],
    }


def _of_mode(window: str, full: FullComparison) -> list[str]:
    """Return what such a run does not cover, besides what no whole run does."""
    if window == INCREMENTAL:
        return [NOT_READ, NOT_OPENED] if full.comparison.carried is not None else []
    return [said for mode, said in ((KEYS, NO_VALUES), (EXPORT, OF_THE_PAST)) if mode == window]


def limits_of(certificate: Mapping[str, Any]) -> list[str]:
    """Return what a run does not cover because of the kind of run it is, in sentences."""
    return [text for text in certificate["not_covered"] if text in _OF_MODES]


def _verification(segments: Sequence[SegmentResult]) -> VerificationFields:
    """Return when the segments were last read whole on both sides: the oldest, and how many never were."""
    read = [one.verified_at for one in segments if one.verified_at is not None]
    return {
        "oldest_proof": min(read).isoformat() if read else None,
        "newest_proof": max(read).isoformat() if read else None,
        "segments_not_read": len(segments) - len(read),
        "segments_from_earlier_runs": sum(one.keys_since is not None for one in segments),
        "keys_since": sum(one.keys_since or 0 for one in segments),
    }


def keep(objects: ObjectStore, run: Reconciliation, full: FullComparison) -> None:
    """Store the certificate, also as the latest one, and the keys that differ for certain."""
    data = json.dumps(run.certificate, indent=1, sort_keys=True).encode()
    if full.confirmed is not None:
        objects.put(keys_key(run.run_id), parquet_bytes(full.confirmed))
    objects.put(f"reports/full/{run.run_id}.json", data)
    if run.window == FULL:
        objects.put(LATEST, data)


def parquet_bytes(table: pa.Table) -> bytes:
    """Return ``table`` as the bytes of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()


def full_run_of(objects: ObjectStore, run_id: str) -> dict[str, Any] | None:
    """Return the certificate of one full comparison of a table; None when there is none of this id."""
    return _certificate(objects, f"reports/full/{run_id}.json") if run_id.replace("-", "").isalnum() else None


def keys_key(run_id: str) -> str:
    """Return the object key of the keys a full run found different for certain."""
    return f"reports/full/{run_id}.keys.parquet"


def latest_full(lake: Lake, source: str, table_id: str) -> dict[str, Any] | None:
    """Return the certificate of the last full comparison of a table with its source; None without any.

    Earlier versions kept that of an export there, too: then it is looked for among the newest runs.
    """
    objects = lake.objects(source, table_id)
    found = _certificate(objects, LATEST)
    if found is None or found.get("against", OF_SOURCE) == OF_SOURCE:
        return found
    earlier = (
        one.run_id for one in reversed(recent_runs(objects)) if one.window == FULL and one.is_of_source
    )
    run_id = next(earlier, None)
    return full_run_of(objects, run_id) if run_id else None


_CERTIFICATE = TypeAdapter(dict[str, Any])


def _certificate(objects: ObjectStore, key: str) -> dict[str, Any] | None:
    data = objects.get(key)
    with undamaged(objects, key, mend="remove the object, and compare the table again (--full)"):
        return _CERTIFICATE.validate_json(data) if data else None


def full_comparison(
    sides: Sides,
    segments: tuple[SegmentResult, ...],
    points: list[tuple[Verdict, str]],
    rows: Comparison | None,
    found: Findings | RowFindings,
    *,
    method: str,
    notes: tuple[str, ...],
) -> Comparison:
    """Return the comparison of the whole: its segments, ``rows`` of suspects, what stands against MATCH.

    ``found`` tells what differing rows are, and where the source was read.
    """
    if sides.digest.bits < DIGEST_BITS:
        points = [*points, (Verdict.UNVERIFIED, f"a digest of {sides.digest.bits} bits proves nothing")]
    of_segments, of_points = [one.verdict for one in segments], [verdict for verdict, _ in points]
    gaps = gap_points(sides.plan.excluded)
    rows_read, carried = _rows_read(segments), carried_of(segments)
    not_read = [told(rows_read, carried)] if carried is not None else []
    return Comparison(
        name=SOURCE_MATCHES_BASE,
        verdict=combine([*of_segments, *of_points, *(verdict for verdict, _ in gaps)]),
        reason=_sentence(segments, found.judgement, [*not_read, *(text for _, text in [*points, *gaps])]),
        tally=_total([one.tally for one in segments]),
        discrepancies=rows.discrepancies if rows else (),
        discrepancies_total=rows.discrepancies_total if rows else 0,
        excluded=sides.plan.excluded,
        columns=tuple(column.column for column in sides.plan.columns),
        rules={column.column: column.rule for column in sides.plan.columns if column.rule},
        rows=rows_read,
        carried=carried,
        notes=notes,
        source_position=found.source_position or None,
        snapshot_id=sides.view.snapshot_id,
        method=method,
        column_differences=rows.column_differences if rows else (),
        kinds=rows.kinds if rows else {},
        sightings=rows.sightings if rows else (),
        points=(*of_points, *(one for one in of_segments if one is not Verdict.DIFFERENT)),
    )


def _rows_read(segments: Sequence[SegmentResult]) -> dict[str, int]:
    return {
        SOURCE_ROWS: sum(one.source_rows_read for one in segments),
        BASE_ROWS: sum(one.base_rows_read for one in segments),
    }


def confirmed_keys(connection: duckdb.DuckDBPyConnection, plan: ReadPlan) -> pa.Table:
    """Return the looked-up keys that differ and are not on their way: columns key_0, key_1 …, in order."""
    names = [f"k.{in_workspace(column.column)} AS key_{place}" for place, column in enumerate(plan.key)]
    return connection.execute(
        f"""SELECT {", ".join(names)} FROM source_outcomes o JOIN keys k ON k.key_id = o.key_id
            WHERE {CONFIRMED} ORDER BY ALL"""
    ).to_arrow_table()


def _sentence(segments: Sequence[SegmentResult], judgement: Judgement, points: Sequence[str]) -> str:
    """Return the verdict's reason: how much of the table is proven, and what stands against the rest."""
    rows = sum(max(one.source_rows, one.base_rows) for one in segments)
    proven = [one for one in segments if one.verdict is Verdict.MATCH]
    whole = sum(one.source_rows for one in proven)
    parts = [f"{len(proven)} of {len(segments)} segments are equal, with {whole:,} of {rows:,} rows"]
    for verdict in (Verdict.DIFFERENT, Verdict.IN_FLIGHT, Verdict.UNVERIFIED, Verdict.ERROR):
        those = [one for one in segments if one.verdict is verdict]
        if those:
            first = f"{those[0].keys}: {those[0].reason}"
            parts.append(f"{len(those)} {verdict.value.replace('_', ' ').lower()}, first {first}")
            if verdict is Verdict.IN_FLIGHT is judgement.verdict and judgement.reason not in first:
                parts.append(judgement.reason)
    return "; ".join([*parts, *points])


def _total(tallies: list[Tally]) -> Tally:
    return Tally(
        compared=sum(one.compared for one in tallies),
        matched=sum(one.matched for one in tallies),
        different=sum(one.different for one in tallies),
        in_flight=sum(one.in_flight for one in tallies),
        unverified=sum(one.unverified for one in tallies),
    )
