"""Manifests read with remembered decoders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyiceberg.manifest
import pytest
from pyiceberg.avro.file import AvroFile
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import PyArrowFileIO
from pyiceberg.table import Table
from pyiceberg.transforms import IdentityTransform
from pyiceberg.typedef import Record

from cdc_platform.lake import avro_readers
from cdc_platform.lake.avro_readers import KnownAvroFile

ROWS = pa.table({"id": [1, 2, 3], "region": ["north", "south", None]})


@pytest.fixture
def catalog(tmp_path: Path) -> SqlCatalog:
    catalog = SqlCatalog("test", uri=f"sqlite:///{tmp_path}/catalog.sqlite", warehouse=str(tmp_path))
    catalog.create_namespace("shop")
    return catalog


def table_of(catalog: SqlCatalog, name: str, *partition: str) -> Table:
    table = catalog.create_table(f"shop.{name}", ROWS.schema)
    with table.update_spec() as spec:
        for column in partition:
            spec.add_field(column, IdentityTransform(), f"p_{column}")
    table.append(ROWS)
    table.append(ROWS)
    return table


def read(table: Table, reader: Any, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what the reader finds in the table's manifest list and in each of its manifests."""
    monkeypatch.setattr(pyiceberg.manifest, "AvroFile", reader)
    pyiceberg.manifest.clear_manifest_cache()
    snapshot = table.current_snapshot()
    assert snapshot is not None
    manifests = snapshot.manifests(table.io)
    entries = [entry for manifest in manifests for entry in manifest.fetch_manifest_entry(table.io)]
    return [plain(each) for each in (*manifests, *entries)]


def plain(value: Any) -> Any:
    """Return a record of pyiceberg's, which compare by identity, as tuples and dictionaries."""
    if isinstance(value, Record):
        return tuple(map(plain, value._data))
    return dict(value) if isinstance(value, Mapping) else value


@pytest.mark.parametrize("partition", [(), ("region",), ("id",), ("region", "id")])
def test_manifests_read_as_pyiceberg_reads_them(
    catalog: SqlCatalog, partition: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "again"):
        table = table_of(catalog, name, *partition)

        assert read(table, AvroFile, monkeypatch) == read(table, KnownAvroFile, monkeypatch)


def test_the_doubles_of_partitions_are_read_as_they_were_written(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    avro_readers.read_avro_quickly()
    avro_readers._decoders.cache_clear()
    prices = [19.99, 19.990000001, 1e300, -0.1]
    table = catalog.create_table("shop.prices", pa.schema([("price", pa.float64())]))
    with table.update_spec() as spec:
        spec.add_field("price", IdentityTransform(), "p")
    table.append(pa.table({"price": prices}))
    entries = read(table, KnownAvroFile, monkeypatch)[1:]
    manifest, *_ = table.current_snapshot().manifests(table.io)  # type: ignore[union-attr]
    found = [entry.data_file.partition[0] for entry in manifest.fetch_manifest_entry(table.io)]

    assert (4, sorted(prices)) == (len(entries), sorted(found))


def test_decoders_are_worked_out_once_for_files_of_one_schema(
    catalog: SqlCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [table_of(catalog, f"t{number}", "region") for number in range(3)]
    avro_readers._decoders.cache_clear()
    for table in tables:
        read(table, KnownAvroFile, monkeypatch)

    # of manifest lists, and of manifests
    assert 2 == avro_readers._decoders.cache_info().misses


def test_a_file_without_a_schema_is_said_to_have_none(tmp_path: Path) -> None:
    path = tmp_path / "bare.avro"
    # an Avro header whose map of metadata is empty
    path.write_bytes(b"Obj\x01" + b"\x00" + bytes(16))

    with pytest.raises(ValueError, match="no schema"), KnownAvroFile(PyArrowFileIO().new_input(str(path))):
        pass
