"""A partition's values as a manifest has them, and the path of a data file in it."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from pyiceberg.partitioning import PartitionFieldValue, PartitionKey, PartitionSpec, partition_record_value
from pyiceberg.schema import Schema
from pyiceberg.table.locations import LocationProvider
from pyiceberg.typedef import Record

#: Bytes of one name in a path that every file system takes, and of a path that every object store takes.
_LONGEST_NAME, _LONGEST_PATH = 255, 1_000


class _Key(PartitionKey):
    """The values of one partition: of a column there may be several fields, and a time may be in a bucket."""

    @cached_property
    def partition(self) -> Record:
        """The values in the order of the spec's fields."""
        return Record(*[self._value(each) for each in self.field_values])

    def _value(self, each: PartitionFieldValue) -> Any:
        # a number is a transform's result, or what it is
        is_result = isinstance(each.value, int)
        return each.value if is_result else partition_record_value(each.field, each.value, self.schema)


def partition_key(spec: PartitionSpec, schema: Schema, values: tuple[Any, ...]) -> PartitionKey:
    """Return the key of the partition that has these values, one for each field of ``spec``."""
    pairs = zip(spec.fields, values, strict=True)
    return _Key([PartitionFieldValue(field, value) for field, value in pairs], spec, schema)


def data_location(locations: LocationProvider, name: str, key: PartitionKey | None) -> str:
    """Return the path of a new data file.

    Its folders tell the partition where a file system can have them. Readers take the partition from the
    manifest, so that a file of a partition with long values lies beside the folders.
    """
    path = locations.new_data_location(name, key)
    longest = max(len(part.encode()) for part in path.split("/"))
    if longest <= _LONGEST_NAME and len(path.encode()) <= _LONGEST_PATH:
        return path
    return locations.new_data_location(name, None)
