"""The figures of a table's newest runs in one small object, for whoever looks at all tables at once.

``reports/recent.json`` of the table's object store is a digest of what the result tables hold: losing it
loses no verdict. It keeps the newest :data:`KEPT` runs, and the newest whole runs however old they are.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from pydantic import AwareDatetime, TypeAdapter

from cdc_platform.errors import StateError
from cdc_platform.raw.objects import ObjectStore, undamaged
from cdc_platform.reconcile.run_ids import begun_at
from cdc_platform.reconcile.scopes import EXPORT, INCREMENTAL, PROVING, WHOLE
from cdc_platform.reconcile.verdict import Reconciliation, Verdict

RECENT = "reports/recent.json"
#: What stands in the place of an export's path where the source itself was compared.
OF_SOURCE = "source"
KEPT = 60


@dataclass(frozen=True, slots=True)
class RunFigures:
    """One run in numbers. ``matched`` of ``compared`` keys are proven in every comparison of the run."""

    run_id: str
    window: str
    verdict: str
    started_at: AwareDatetime
    seconds: float = 0.0
    compared: int = 0
    matched: int = 0
    different: int = 0
    in_flight: int = 0
    unverified: int = 0
    #: Rows read from the source (None: an earlier version did not record it), and rows that were not,
    #: because earlier runs had found them equal.
    source_rows: int | None = 0
    carried_rows: int = 0
    #: How many segments the table was cut into, and how many were found equal.
    segments: int = 0
    segments_matched: int = 0
    #: When the oldest proof the run rests on was made; None when it proves nothing.
    oldest_proof: AwareDatetime | None = None
    snapshot_id: str | None = None
    source_position: str | None = None
    #: What stood on the source's side of a whole run.
    against: str | None = None
    report: str | None = None

    @property
    def is_whole(self) -> bool:
        """Whether the run compared the whole table, and not a window."""
        return self.window in WHOLE

    @property
    def is_of_source(self) -> bool:
        """Whether the source itself was compared; an export is of the past, and says nothing of now."""
        return self.against in (None, OF_SOURCE) and self.window != EXPORT

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        proof = self.oldest_proof.isoformat() if self.oldest_proof else None
        return {**asdict(self), "started_at": self.started_at.isoformat(), "oldest_proof": proof}


_FIGURES = TypeAdapter(list[RunFigures])


def figures_of(run: Reconciliation) -> RunFigures:
    """Return the figures of a run."""
    tallies = [one.tally for one in run.comparisons]
    segments = run.certificate.get("segments", ())
    return RunFigures(
        run_id=run.run_id,
        window=run.window,
        verdict=run.verdict.value,
        started_at=run.started_at,
        seconds=run.seconds,
        compared=run.keys_compared,
        matched=min((one.matched + one.superseded for one in tallies), default=0),
        different=max((one.different for one in tallies), default=0),
        in_flight=max((one.in_flight for one in tallies), default=0),
        unverified=max((one.unverified for one in tallies), default=0),
        source_rows=sum(one.rows.get("source rows", 0) for one in run.comparisons),
        carried_rows=sum(one.carried.rows for one in run.comparisons if one.carried),
        segments=len(segments),
        segments_matched=sum(one["verdict"] == Verdict.MATCH.value for one in segments),
        oldest_proof=oldest_proof(run.certificate, run.started_at),
        snapshot_id=run.certificate["snapshot_id"],
        source_position=run.certificate["source_position"],
        against=run.certificate.get("against"),
        report=run.report,
    )


def oldest_proof(certificate: Mapping[str, Any], started_at: datetime) -> datetime | None:
    """Return when the oldest of the proofs a certificate rests on was made; None when it proves nothing.

    A segment says so itself (``verified_at``), or names the run that found it equal (``carried_from``).
    """
    segments: Sequence[Mapping[str, Any]] = certificate.get("segments", ())
    if not segments:
        return started_at if certificate["verdict"] == Verdict.MATCH.value else None
    proven = [one for one in segments if one["verdict"] == Verdict.MATCH.value]
    return min((_proven_at(one, started_at) for one in proven), default=None)


def _proven_at(segment: Mapping[str, Any], started_at: datetime) -> datetime:
    if segment.get("verified_at"):
        return datetime.fromisoformat(segment["verified_at"])
    carried = segment.get("carried_from")
    return (begun_at(carried) if carried else None) or started_at


def remember_run(objects: ObjectStore, run: Reconciliation) -> None:
    """Put the run's figures into the table's object; a run that is there already is replaced."""
    new = figures_of(run)
    while True:
        stored = objects.read(RECENT)
        known = {one.run_id: one for one in _readable(objects, stored.data if stored else None)}
        known |= {new.run_id: new}
        kept = [one.as_json() for one in _kept(known.values())]
        data = json.dumps({"version": 1, "runs": kept}, indent=1).encode()
        if objects.replace(RECENT, data, stored.version if stored else None):
            return


def recent_runs(objects: ObjectStore) -> tuple[RunFigures, ...]:
    """Return the newest runs of a table, oldest first; none when the object is damaged."""
    return _readable(objects, objects.get(RECENT))


def _readable(objects: ObjectStore, data: bytes | None) -> tuple[RunFigures, ...]:
    with suppress(StateError), undamaged(objects, RECENT):
        return _parse(data)
    return ()


def _kept(runs: Iterable[RunFigures]) -> list[RunFigures]:
    """Return the newest runs, with the newest whole run of each kind and of MATCH."""
    ordered = sorted(runs, key=lambda one: (one.started_at, one.run_id))
    whole = {(one.window, one.is_of_source): one for one in ordered if one.is_whole}
    sure = [one for one in ordered if one.window in PROVING and one.is_of_source]
    proven = {one.window: one for one in sure if one.verdict == Verdict.MATCH}
    chosen = {one.run_id for one in (*ordered[-KEPT:], *whole.values(), *proven.values())}
    return [one for one in ordered if one.run_id in chosen]


def _parse(data: bytes | None) -> tuple[RunFigures, ...]:
    stored = json.loads(data)["runs"] if data else []
    return tuple(_FIGURES.validate_python([{**one, "source_rows": _rows_read(one)} for one in stored]))


def _rows_read(stored: Mapping[str, Any]) -> int | None:
    """Return how many rows of the source a stored run read.

    Of incremental runs, earlier versions kept how many the source has, and nothing of what was carried.
    """
    if stored["window"] == INCREMENTAL and "carried_rows" not in stored:
        return None
    rows: int = stored.get("source_rows", 0)
    return rows
