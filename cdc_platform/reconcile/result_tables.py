"""The result tables' schemas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import IdentityTransform
from pyiceberg.types import DoubleType, LongType, NestedField, PrimitiveType, StringType, TimestamptzType

_SCOPE: dict[str, PrimitiveType] = {
    "run_id": StringType(),
    "source": StringType(),
    "table_id": StringType(),
    "window": StringType(),
    "started_at": TimestamptzType(),
}
#: A window's rows are found by partition, without opening the files of others.
_PARTITIONS = ("source", "table_id", "window")

_ARROW: dict[PrimitiveType, pa.DataType] = {
    StringType(): pa.string(),
    LongType(): pa.int64(),
    DoubleType(): pa.float64(),
    TimestamptzType(): pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True, slots=True)
class ResultTable:
    """An append-only table of results."""

    name: str
    columns: Mapping[str, PrimitiveType]

    @property
    def schema(self) -> Schema:
        """The Iceberg schema."""
        fields = [
            NestedField(number, name, type_, required=False)
            for number, (name, type_) in enumerate({**_SCOPE, **self.columns}.items(), start=1)
        ]
        return Schema(*fields)

    @property
    def partition_spec(self) -> PartitionSpec:
        """Identity of source, table and window."""
        ids = {field.name: field.field_id for field in self.schema.fields}
        return PartitionSpec(
            *(
                PartitionField(
                    source_id=ids[name], field_id=1000 + place, transform=IdentityTransform(), name=name
                )
                for place, name in enumerate(_PARTITIONS)
            )
        )

    @property
    def properties(self) -> dict[str, str]:
        """Table properties that keep metadata small under many small appends."""
        return {
            "commit.manifest-merge.enabled": "true",
            "commit.manifest.min-count-to-merge": "20",
            "write.metadata.delete-after-commit.enabled": "true",
            "write.metadata.previous-versions-max": "10",
        }

    def arrow_table(self, rows: Sequence[Mapping[str, Any]]) -> pa.Table:
        """Return ``rows`` in the table's types."""
        schema = pa.schema(
            [pa.field(name, _ARROW[type_]) for name, type_ in {**_SCOPE, **self.columns}.items()]
        )
        return pa.Table.from_pylist([dict(row) for row in rows], schema)


def _texts(*names: str) -> dict[str, PrimitiveType]:
    return {name: StringType() for name in names}


def _longs(*names: str) -> dict[str, PrimitiveType]:
    return {name: LongType() for name in names}


_RUNS = {
    **_texts("verdict", "source_position", "type_rules_version", "report", "certificate"),
    **_longs("keys_compared", "discrepancies", "snapshot_id"),
    "seconds": DoubleType(),
}
_SEGMENTS = {
    **_texts("comparison", "segment", "verdict", "reason", "method", "source_position"),
    **_longs("keys_compared", "keys_matched", "keys_superseded", "keys_different", "keys_in_flight"),
    **_longs("keys_unverified", "discrepancies", "snapshot_id"),
    **_texts("columns", "excluded", "rules", "rows", "notes"),
    "seconds": DoubleType(),
    # columns added since are at the end, so that new tables number them as evolved ones do
    **_texts("column_differences", "attribution", "faults", "kinds"),
    #: When all rows of a segment of a whole table were last read on both sides.
    **_texts("verified_at"),
    #: Column → verdict, as JSON.
    **_texts("column_verdicts"),
}
_DISCREPANCIES = _texts(
    *("comparison", "segment", "kind", "verdict", "reason", "key", "columns"),
    *("first_witness", "second_witness", "expected", "actual"),
    *("fault", "fault_evidence", "classes"),
)

#: One row for each step of a repair that changed base or proved it: applied and verified, undone.
_REPAIRS = {
    **_texts("repair_id", "action", "by", "verdict", "reason", "source_position", "position", "batch_id"),
    **_longs("keys", "inserts", "updates", "deletes", "dropped", "overtaken", "left"),
    **_longs("snapshot_before", "snapshot_after"),
    **_texts("method", "record"),
}

RESULT_TABLES = {
    name: ResultTable(name, columns)
    for name, columns in {
        "runs": _RUNS,
        "segments": _SEGMENTS,
        "discrepancies": _DISCREPANCIES,
        "repairs": _REPAIRS,
    }.items()
}
