"""Manifests of many files are read as they were written, whatever blocks their entries are in."""

from __future__ import annotations

from pathlib import Path

import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.manifest import (
    DataFile,
    DataFileContent,
    FileFormat,
    ManifestContent,
    ManifestEntry,
    ManifestEntryStatus,
    read_manifest_list,
    write_manifest_list,
)
from pyiceberg.partitioning import UNPARTITIONED_PARTITION_SPEC
from pyiceberg.schema import Schema
from pyiceberg.typedef import Record
from pyiceberg.types import LongType, NestedField

from cdc_platform.lake import manifest_writers
from cdc_platform.lake.manifest_writers import DataManifestWriter, DeleteManifestWriter

SCHEMA = Schema(NestedField(1, "id", LongType(), required=False))


def a_file(number: int, content: DataFileContent) -> DataFile:
    file = DataFile.from_args(
        content=content,
        file_path=f"data/{number:05d}.parquet",
        file_format=FileFormat.PARQUET,
        partition=Record(),
        record_count=number + 1,
        file_size_in_bytes=100,
    )
    file.spec_id = 0
    return file


@pytest.mark.parametrize("files", [1, 7, 8, 9, 100])
@pytest.mark.parametrize(
    ("kind", "content", "files_are"),
    [
        (DataManifestWriter, ManifestContent.DATA, DataFileContent.DATA),
        (DeleteManifestWriter, ManifestContent.DELETES, DataFileContent.POSITION_DELETES),
    ],
)
def test_every_entry_of_a_manifest_is_read_in_the_order_it_was_written(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: type[DataManifestWriter],
    content: ManifestContent,
    files_are: DataFileContent,
    files: int,
) -> None:
    monkeypatch.setattr(manifest_writers, "_ENTRIES_PER_BLOCK", 8)
    io, path = PyArrowFileIO(), str(tmp_path / "manifest.avro")
    with kind(UNPARTITIONED_PARTITION_SPEC, SCHEMA, io.new_output(path), 1, "deflate") as writer:
        for number in range(files):
            entry = ManifestEntry.from_args(
                status=ManifestEntryStatus.ADDED, data_file=a_file(number, files_are)
            )
            writer.add(entry)
    manifests = str(tmp_path / "list.avro")
    with write_manifest_list(2, io.new_output(manifests), 1, None, 1, "deflate") as listed:
        listed.add_manifests([writer.to_manifest_file()])
    (manifest,) = read_manifest_list(io.new_input(manifests))
    read = [
        (entry.data_file.file_path, entry.data_file.record_count)
        for entry in manifest.fetch_manifest_entry(io)
    ]
    assert (content, [(f"data/{number:05d}.parquet", number + 1) for number in range(files)]) == (
        manifest.content,
        read,
    )
