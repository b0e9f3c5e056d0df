"""The fields that certificates of all kinds of runs have, as types, and what each means.

Whatever makes a part of a certificate returns the type of that part, so the type checker holds one to the
other. A field is described here, and what :mod:`certificate_schema` adds there, and nowhere else: the table
in ``docs/reconciliation.md`` repeats it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema
from pydantic.fields import FieldInfo
from typing_extensions import TypedDict

from cdc_platform.reconcile.carried_rows import BASE_ROWS, KEPT_ROWS, RAW_EVENTS, SOURCE_ROWS
from cdc_platform.reconcile.column_verdicts import ColumnVerdict
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.verdict import RAW_MATCHES_BASE, SOURCE_MATCHES_BASE, Gap, Kind, Verdict


def said(text: str) -> FieldInfo:
    """Describe a field."""
    described: FieldInfo = Field(description=text)
    return described


def one_of(values: Iterable[str]) -> WithJsonSchema:
    """Return the schema of a text that is one of ``values``."""
    return WithJsonSchema({"type": "string", "enum": [str(value) for value in values]})


def counts_of(values: Iterable[str]) -> WithJsonSchema:
    """Return the schema of an object with a count for some of ``values``."""
    names = {"enum": [str(value) for value in values]}
    counts = {"type": "integer", "minimum": 0}
    return WithJsonSchema({"type": "object", "propertyNames": names, "additionalProperties": counts})


Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Moment = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
SnapshotId = Annotated[str, Field(pattern=r"^\d+$")]
SourcePosition = Annotated[str | None, said("the position the source was read at; null where it was not")]
VerdictName = Annotated[str, one_of(Verdict)]
ColumnVerdictName = Annotated[str, one_of(ColumnVerdict)]


class ColumnFields(TypedDict):
    """A column that was compared."""

    name: Annotated[str, said("the column, as base names it")]
    rule: Annotated[str, said("the rule its values are compared under")]
    verdict: Annotated[ColumnVerdictName, said("the verdict on the column, in the rows both sides have")]


class ExcludedFields(TypedDict):
    """A column that was not compared."""

    column: Annotated[str, said("the column")]
    reason: Annotated[str, said("why it was not compared")]
    gap: Annotated[
        Annotated[str, one_of(Gap)] | None,
        said("why it could not be compared, which stands against MATCH; null where it need not be"),
    ]
    verdict: Annotated[ColumnVerdictName, said("EXCLUDED, or UNVERIFIED where there is a gap")]


class ProofFields(TypedDict):
    """When and where an earlier run read rows of both sides."""

    at: Annotated[Moment, said("when they were read")]
    source_position: Annotated[str | None, said("at which position of the source's log")]


class CarriedFields(TypedDict):
    """Rows that were not read, because earlier runs had found them equal."""

    rows: Annotated[Count, said("how many")]
    segments: Annotated[Count, said("in how many segments")]
    oldest_proof: Annotated[ProofFields | None, said("the oldest of the proofs; null where not known")]
    newest_proof: Annotated[ProofFields | None, said("the newest of the proofs; null where not known")]


class KeyCounts(TypedDict):
    """Keys (rows, of a table without a key) by how they compared."""

    compared: Annotated[Count, said("all of them")]
    matched: Annotated[Count, said("proven equal")]
    superseded: Annotated[Count, said("changed again since: the window of the later event compares them")]
    different: Annotated[Count, said("different for certain")]
    in_flight: Annotated[Count, said("seen different, while changes on their way can explain it")]
    unverified: Annotated[Count, said("not decided")]


class LocatedFields(TypedDict):
    """How many differences have a fault."""

    keys: Annotated[Count, said("how many keys the fault was located of")]
    of: Annotated[Count, said("how many keys are different")]


class ClassFields(TypedDict):
    """A kind of difference between two values of a column."""

    label: Annotated[str, said("the kind of difference, in words")]
    keys: Annotated[Count, said("in how many rows")]
    sampled: Annotated[bool, said("whether that is scaled up from a sample")]


class ColumnDifferenceFields(TypedDict):
    """A column that differs."""

    column: Annotated[str, said("the column")]
    keys: Annotated[Count, said("in how many rows it differs")]
    changed: Annotated[Count, said("how many rows both sides have differ at all")]
    classes: Annotated[list[ClassFields], said("the kinds of difference, the most first")]


class ComparisonFields(TypedDict):
    """One comparison of two witnesses."""

    name: Annotated[
        Annotated[str, one_of((RAW_MATCHES_BASE, SOURCE_MATCHES_BASE))], said("what was compared with what")
    ]
    verdict: Annotated[VerdictName, said("the verdict of this comparison")]
    reason: Annotated[str, said("why it is that, in words")]
    method: Annotated[str, said("how rows were compared; empty where none was")]
    columns: Annotated[list[ColumnFields], said("the columns compared; none where no row was")]
    excluded: Annotated[list[ExcludedFields], said("the columns not compared")]
    rows: Annotated[
        dict[str, int],
        counts_of((SOURCE_ROWS, BASE_ROWS, KEPT_ROWS, RAW_EVENTS)),
        said("how many rows this run read, by witness; empty where it read none"),
    ]
    carried: Annotated[CarriedFields | None, said("the rows it took over from earlier runs")]
    keys: Annotated[KeyCounts, said("keys by outcome; rows, of a table without a key")]
    discrepancies: Annotated[
        Count, said("how many differences were found, also those in flight or undecided")
    ]
    kinds: Annotated[dict[str, int], counts_of(Kind), said("certain differences by kind, seen from base")]
    faults: Annotated[
        dict[str, int], counts_of(Fault), said("of the differences kept, how many have which fault")
    ]
    located: Annotated[LocatedFields, said("of how many differences the fault is located")]
    column_differences: Annotated[
        list[ColumnDifferenceFields], said("the columns that differ, over all certain differences")
    ]
    attribution: Annotated[str, said("what differing keys have in common; empty when nothing stands out")]
    notes: Annotated[list[str], said("what else there is to know, in sentences")]
    given_up: Annotated[
        list[str], said("files and rows discarded from quarantine, with which nothing was held")
    ]
    source_position: SourcePosition
    snapshot_id: Annotated[SnapshotId | None, said("the snapshot of base that was read")]
    seconds: Annotated[Seconds, said("how long it took; 0 where it was not timed apart")]


NotCovered = Annotated[list[str], said("what such a run cannot see, whatever its verdict")]


class CommonFields(TypedDict):
    """What the certificate of every kind of run has."""

    certificate_version: Annotated[Literal[1], said("the version of this form")]
    run_id: Annotated[str, said("the run, as in the result tables")]
    source: Annotated[str, said("the source in cdc.yaml")]
    table: Annotated[str, said("the table in the source, as schema.table")]
    merge_key: Annotated[list[str], said("the columns that tell rows apart; none of a table without a key")]
    verdict: Annotated[VerdictName, said("the gravest verdict of the comparisons")]
    started_at: Annotated[Moment, said("when the run began")]
    source_position: SourcePosition
    snapshot_id: Annotated[
        SnapshotId | None, said("the snapshot of base, as text: readers of JSON may round such numbers")
    ]
    type_rules_version: Annotated[str, said("the version of the rules values are brought to one type by")]
    engine: Annotated[str, said("the engine that compared, with its version")]
    comparisons: Annotated[list[ComparisonFields], said("two of a window, else one"), Field(min_length=1)]
