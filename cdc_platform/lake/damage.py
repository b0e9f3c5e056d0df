"""Files of a table, and of its catalog, that are not what their names say: which one it is, and the mend."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from types import FrameType

import duckdb
import pyarrow as pa
from pyiceberg.exceptions import ValidationError

from cdc_platform.errors import MergeError

#: Modules that read a file's bytes.
_AVRO = ("pyiceberg.avro", "pyiceberg.manifest", "cdc_platform.lake.avro_readers")
_METADATA = ("pyiceberg.serializers",)
#: What DuckDB and Arrow say of Parquet files that were cut, emptied or written over.
_PARQUET = (
    *("magic bytes", "too small to be a Parquet file", "Parquet file size is", "file is likely corrupted"),
    *("TProtocolException", "invalid TType", "ecompression failure"),
)
_REGISTER = (
    "restore it from a backup; or move it away and register each table anew with its newest "
    "*.metadata.json (pyiceberg's register_table): data and metadata of the tables are whole without it"
)


def damage(error: Exception, where: str) -> MergeError | None:
    """Return what to tell when ``error`` came of a damaged file, None when it did not."""
    if is_damaged_catalog(error):
        return damaged_catalog(error, where)
    if isinstance(error, OSError):
        return None
    read_by = [name for name in _AVRO + _METADATA if any(_frames(error, name))]
    is_metadata = isinstance(error, ValidationError) and "TableMetadata" in str(error)
    is_metadata |= any(name in _METADATA for name in read_by)
    is_parquet = isinstance(error, (duckdb.Error, pa.ArrowInvalid)) and any(
        said in str(error) for said in _PARQUET
    )
    if not (read_by or is_metadata or is_parquet):
        return None
    told = "the metadata is not a table's" if is_metadata else _first_line(error)
    file = _file_of(error)
    what = f"a file of the table is damaged ({type(error).__name__}: {told})"
    return MergeError(f"{what}: {file}" if file else what, where=where, mend=mend_of(is_metadata))


def mend_of(is_metadata: bool) -> str:
    """Return the mend: snapshots of before are of use only where the metadata can be read."""
    restore = "restore the file as it was"
    return restore if is_metadata else f"{restore}, or go back to a snapshot without it: cdc rollback"


def is_damaged_catalog(error: BaseException) -> bool:
    """Return whether SQLite says that its file is not what it wrote."""
    original = getattr(error, "orig", error)
    text = str(original)
    return isinstance(original, sqlite3.DatabaseError) and ("not a database" in text or "malformed" in text)


def damaged_catalog(error: Exception, file: str) -> MergeError:
    """Return what to tell of a catalog file that is none."""
    return MergeError(
        f"the catalog's SQLite file is damaged ({_first_line(getattr(error, 'orig', error))})",
        where=file,
        mend=_REGISTER,
    )


def _frames(error: BaseException, module: str) -> Iterator[FrameType]:
    at = error.__traceback__
    while at is not None:
        name = str(at.tb_frame.f_globals.get("__name__"))
        if name == module or name.startswith(f"{module}."):
            yield at.tb_frame
        at = at.tb_next


def _file_of(error: Exception) -> str | None:
    """Return the file that was being read, as the frames of the reader have it."""
    for module in (*_AVRO, *_METADATA):
        for frame in _frames(error, module):
            held = frame.f_locals
            # an empty file is false, as its length is 0
            for file in (held.get("input_file"), getattr(held.get("self"), "input_file", None)):
                if (location := getattr(file, "location", None)) is not None:
                    return str(location)
    return None


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [""])[0]
