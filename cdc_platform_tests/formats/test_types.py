"""The table of type traps, and the types a configuration may name."""

from __future__ import annotations

import pyarrow as pa
import pytest
from pyiceberg.io.pyarrow import pyarrow_to_schema
from pyiceberg.table.name_mapping import MappedField, NameMapping

from cdc_platform.errors import SchemaError
from cdc_platform.formats.types import canonical_type, iceberg_type_of, parse_iceberg_type

TRAPS = [
    (pa.int8(), pa.int32(), "int"),
    (pa.int16(), pa.int32(), "int"),
    (pa.uint8(), pa.int32(), "int"),
    (pa.uint16(), pa.int32(), "int"),
    (pa.uint32(), pa.int64(), "long"),
    (pa.uint64(), pa.decimal128(20, 0), "decimal(20, 0)"),
    (pa.float16(), pa.float32(), "float"),
    (pa.decimal256(30, 2), pa.decimal128(30, 2), "decimal(30, 2)"),
    (pa.decimal128(10, -2), pa.decimal128(12, 0), "decimal(12, 0)"),
    (pa.time32("ms"), pa.time64("us"), "time"),
    (pa.time64("ns"), pa.time64("us"), "time"),
    (pa.date64(), pa.date32(), "date"),
    (pa.timestamp("ms"), pa.timestamp("us", "UTC"), "timestamptz"),
    (pa.timestamp("ns"), pa.timestamp("us", "UTC"), "timestamptz"),
    (pa.timestamp("us", "Europe/Paris"), pa.timestamp("us", "UTC"), "timestamptz"),
    (pa.large_string(), pa.string(), "string"),
    (pa.dictionary(pa.int8(), pa.string()), pa.string(), "string"),
    (pa.large_binary(), pa.binary(), "binary"),
    (pa.binary(16), pa.binary(), "binary"),
    (pa.null(), pa.string(), "string"),
    (pa.bool_(), pa.bool_(), "boolean"),
]


@pytest.mark.parametrize(("found", "canonical", "iceberg"), TRAPS, ids=[str(trap[0]) for trap in TRAPS])
def test_every_trap_has_a_canonical_type_and_an_iceberg_name(
    found: pa.DataType, canonical: pa.DataType, iceberg: str
) -> None:
    assert (canonical, iceberg) == (canonical_type(found), iceberg_type_of(found))


@pytest.mark.parametrize("canonical", sorted({trap[1] for trap in TRAPS}, key=str), ids=str)
def test_iceberg_takes_every_canonical_type_under_the_name_given_here(canonical: pa.DataType) -> None:
    mapping = NameMapping([MappedField(**{"field-id": 1, "names": ["c"]})])
    schema = pyarrow_to_schema(pa.schema([("c", canonical)]), mapping)

    assert iceberg_type_of(canonical) == str(schema.find_type("c"))


@pytest.mark.parametrize("canonical", sorted({trap[1] for trap in TRAPS}, key=str), ids=str)
def test_a_type_is_read_back_from_its_own_name(canonical: pa.DataType) -> None:
    assert canonical == parse_iceberg_type(iceberg_type_of(canonical))


def test_a_timestamp_without_zone_is_kept_when_declared() -> None:
    assert pa.timestamp("us") == parse_iceberg_type("timestamp")


@pytest.mark.parametrize("found", [pa.list_(pa.int32()), pa.struct([("a", pa.int32())]), pa.duration("s")])
def test_types_with_no_place_in_a_base_table_are_refused(found: pa.DataType) -> None:
    with pytest.raises(SchemaError, match="no place in a base table"):
        canonical_type(found)


def test_a_decimal_of_more_than_38_digits_is_refused() -> None:
    with pytest.raises(SchemaError, match="more than 38 digits"):
        canonical_type(pa.decimal256(40, 2))


@pytest.mark.parametrize("text", ["varchar(10)", "decimal(39,2)", "decimal(5,6)", "decimal(0,0)", ""])
def test_an_unknown_type_name_is_refused_with_those_there_are(text: str) -> None:
    with pytest.raises(SchemaError, match=r"boolean, int, long.*decimal\(p,s\)"):
        parse_iceberg_type(text)


def test_a_usual_name_of_another_system_is_told_its_iceberg_name() -> None:
    with pytest.raises(SchemaError, match="write 'long'"):
        parse_iceberg_type("BIGINT")
