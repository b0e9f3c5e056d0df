"""The certificates of each kind of run, as types, and the JSON Schema made of them.

The schema refuses fields that are not described: one that is new has to be told here first.
"""

from __future__ import annotations

from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, TypeAdapter
from typing_extensions import TypedDict

from cdc_platform.reconcile.certificate_fields import (
    CommonFields,
    Count,
    Moment,
    NotCovered,
    SnapshotId,
    VerdictName,
    counts_of,
    one_of,
    said,
)
from cdc_platform.reconcile.scopes import SETTLING, WHOLE
from cdc_platform.reconcile.verdict import Verdict

WindowScope = TypedDict(
    "WindowScope",
    {
        "key": Annotated[str, said("the window's key; of other runs what kind of run it is")],
        "from": Annotated[Moment, said("where the window begins; null of other runs")],
        "before": Annotated[Moment, said("the first moment after it; null of other runs")],
    },
)
WholeScope = TypedDict("WholeScope", {"key": Annotated[str, one_of(WHOLE)], "from": None, "before": None})
SettlingScope = TypedDict(
    "SettlingScope", {"key": Annotated[str, one_of((SETTLING,))], "from": None, "before": None}
)


class WindowCertificate(CommonFields):
    """The certificate of a run that compared a window."""

    window: Annotated[WindowScope, said("what was compared")]
    not_covered: NotCovered


class DigestFields(TypedDict):
    """The function behind the digests of a run."""

    implementation: Annotated[str, said("the function and its version")]
    bits: Annotated[Count, said("how many bits a digest has")]
    salt_id: Annotated[str | None, said("names the secret of the run; null where nothing was digested")]


class SegmentRows(TypedDict):
    """Rows of a segment."""

    source: Annotated[Count, said("rows of the source")]
    base: Annotated[Count, said("rows of base")]


class SegmentFields(TypedDict):
    """One segment of a whole table."""

    segment: Annotated[Count, said("its number")]
    keys: Annotated[str, said("which keys (hashes, of a table without a key) lie in it, in words")]
    verdict: Annotated[VerdictName, said("its verdict")]
    reason: Annotated[str, said("why it is that, in words")]
    method: Annotated[str, said("how it was compared")]
    rows: Annotated[SegmentRows, said("the rows this run read")]
    carried_rows: Annotated[Count, said("rows of either side it took over from earlier runs")]
    matched: Annotated[Count, said("keys proven equal")]
    different: Annotated[Count, said("keys different for certain")]
    in_flight: Annotated[Count, said("keys in flight")]
    unverified: Annotated[Count, said("keys not decided")]
    source_position: Annotated[str | None, said("the position its rows of the source were read at")]
    carried_from: Annotated[str | None, said("the run it was taken over from")]
    verified_at: Annotated[Moment | None, said("when all its rows were last read on both sides")]
    verified_snapshot_id: Annotated[SnapshotId | None, said("the snapshot of base they were read from then")]
    keys_since: Annotated[Count | None, said("keys changed since and compared; null where it was read whole")]


class VerificationFields(TypedDict):
    """How old the proofs of a whole run are."""

    oldest_proof: Annotated[Moment | None, said("when the segment read longest ago was read whole")]
    newest_proof: Annotated[Moment | None, said("when the one read last was")]
    segments_not_read: Annotated[Count, said("segments never read whole")]
    segments_from_earlier_runs: Annotated[Count, said("segments read whole by earlier runs")]
    keys_since: Annotated[Count, said("keys of these that changed since and were compared")]


class WholeCertificate(CommonFields):
    """The certificate of a run that compared a whole table."""

    window: Annotated[WholeScope, said("what was compared")]
    not_covered: NotCovered
    against: Annotated[str, said("`source`, or where the export lies that stood in its place")]
    digest: Annotated[DigestFields, said("the function that rows were digested by")]
    is_systemic: Annotated[bool, said("whether so many segments differ that only a sample was looked into")]
    confirmed_keys: Annotated[Count, said("keys different for certain, kept beside the certificate")]
    guilty_columns: Annotated[list[str], said("columns that differ by digests of their values")]
    segment_verdicts: Annotated[dict[str, int], counts_of(Verdict), said("segments by verdict")]
    segments: Annotated[list[SegmentFields], said("the segments; none where it did not get so far")]
    verification: Annotated[VerificationFields, said("how old the proofs are that the verdict rests on")]


class OpenKeyFields(TypedDict):
    """A key in the settling queue."""

    key: Annotated[dict[str, str], said("its columns, as text")]
    found_by: Annotated[str, said("the window or kind of run that left it open")]
    first_seen: Annotated[Moment, said("when it was left open first")]
    first_position: Annotated[str | None, said("at which position of the source")]
    age_seconds: Annotated[float, said("for how long it is open")]
    sightings: Annotated[Count, said("how often runs found it open")]
    changes: Annotated[Count, said("changes of it applied since")]


class SettlingFields(TypedDict):
    """The settling queue after a look at it."""

    looked_at: Annotated[Count, said("keys looked at")]
    settled_equal: Annotated[Count, said("of them equal now")]
    different: Annotated[Count, said("of them different for certain")]
    mended: Annotated[Count, said("keys equal now that were different before")]
    in_flight: Annotated[Count, said("of them still in flight")]
    unverified: Annotated[Count, said("of them not decided")]
    queued: Annotated[Count, said("keys open in the queue afterwards")]
    reported: Annotated[Count, said("keys in the queue that are different")]
    left_out: Annotated[Count, said("keys the queue had no room for")]
    oldest_age_seconds: Annotated[float | None, said("the age of the oldest open key")]
    oldest: Annotated[list[OpenKeyFields], said("the oldest open keys")]


class SettlingCertificate(CommonFields):
    """The certificate of a run that looked again at keys left open."""

    window: Annotated[SettlingScope, said("what was compared")]
    not_covered: NotCovered
    settling: Annotated[SettlingFields, said("the queue after this run")]


Certificate = WindowCertificate | WholeCertificate | SettlingCertificate


@cache
def _schema() -> dict[str, Any]:
    form: TypeAdapter[Any] = TypeAdapter(Certificate, config=ConfigDict(extra="forbid"))
    return form.json_schema()


def certificate_schema() -> dict[str, Any]:
    """Return the JSON Schema of the certificates that this version makes, of every kind of run."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Certificate of a reconciliation",
        **_schema(),
    }
