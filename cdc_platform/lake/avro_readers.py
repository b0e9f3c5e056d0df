"""Manifests and manifest lists read without working out their decoders anew for each file.

pyiceberg 0.12 derives the decoders of an Avro file from the schema in its header, which takes longer than to
read the few entries of a small table's manifest. The same schema gives the same decoders, and they keep
nothing of what they read.

Its compiled decoder also rounds a double to 32 bits. In a manifest a double is the value of a partition,
which is written again whenever the manifest is: it is read here as it stands.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from enum import Enum
from functools import cache, lru_cache
from typing import TypeVar

import pyiceberg.avro.resolver
import pyiceberg.manifest
from pyiceberg.avro.decoder import BinaryDecoder, new_decoder
from pyiceberg.avro.file import META_SCHEMA, AvroFile, AvroFileHeader
from pyiceberg.avro.reader import DoubleReader, Reader
from pyiceberg.avro.resolver import construct_reader, resolve_reader
from pyiceberg.schema import Schema
from pyiceberg.typedef import StructProtocol
from pyiceberg.utils.schema_conversion import AvroSchemaConversion

_DOUBLE = struct.Struct("<d")

_Record = TypeVar("_Record", bound=StructProtocol)
#: Classes by the field that is made one: (-1 for the record itself, class).
_Types = tuple[tuple[int, Callable[..., StructProtocol]], ...]
_Enums = tuple[tuple[int, Callable[..., Enum]], ...]


@cache
def read_avro_quickly() -> None:
    """Let pyiceberg read manifests and manifest lists that way from now on."""
    pyiceberg.manifest.AvroFile = KnownAvroFile  # type: ignore[attr-defined]
    pyiceberg.avro.resolver.DoubleReader = ExactDoubleReader  # type: ignore[attr-defined]


class ExactDoubleReader(DoubleReader):
    """Reads a double as the 64 bits it is."""

    def read(self, decoder: BinaryDecoder) -> float:
        (value,) = _DOUBLE.unpack(decoder.read(_DOUBLE.size))
        return float(value)


class KnownAvroFile(AvroFile[_Record]):
    """An Avro file whose decoders are remembered from others of its schema."""

    def __enter__(self) -> KnownAvroFile[_Record]:
        with self.input_file.open() as file:
            self.decoder = new_decoder(file.read())
        self.header = _header_reader().read(self.decoder)
        if "avro.schema" not in self.header.meta:
            raise ValueError("no schema in the header of the Avro file")
        types, enums = tuple(self.read_types.items()), tuple(self.read_enums.items())
        wanted = _Wanted(self.read_schema, types, enums) if self.read_schema is not None else None
        self.schema, self.reader = _decoders(self.header.meta["avro.schema"], wanted)
        self.read_schema = self.read_schema or self.schema
        return self


class _Wanted:
    """The schema to read as, known by its identity: pyiceberg has one object for each format version."""

    def __init__(self, schema: Schema, types: _Types, enums: _Enums) -> None:
        self.schema = schema
        self.types = types
        self.enums = enums
        self._identity = id(schema), types, enums

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Wanted) and self._identity == other._identity

    def __hash__(self) -> int:
        return hash(self._identity)


# of a table's manifests the schema differs by the type of its partition alone
@lru_cache(maxsize=64)
def _decoders(avro: str, wanted: _Wanted | None) -> tuple[Schema, Reader]:
    schema = AvroSchemaConversion().avro_to_iceberg(json.loads(avro))
    if wanted is None:
        return schema, resolve_reader(schema, schema)
    return schema, resolve_reader(schema, wanted.schema, dict(wanted.types), dict(wanted.enums))


@cache
def _header_reader() -> Reader:
    return construct_reader(META_SCHEMA, {-1: AvroFileHeader})
