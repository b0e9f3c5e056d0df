"""Files of base that were written over in place, or are gone: found by what storage lists of them."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from pyiceberg.manifest import clear_manifest_cache

from cdc_platform.lake.base_files import local_path
from cdc_platform.lake.live_rows import live_files
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.damaged_files import with_damage
from cdc_platform.reconcile.full import reconcile_full
from cdc_platform.reconcile.scopes import FULL
from cdc_platform.reconcile.subject import pin
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Comparison, Reconciliation, Verdict
from cdc_platform_tests.reconcile.test_incremental import IncrementalShop, notes, shop

pytestmark = pytest.mark.postgres

__all__ = ["shop"]  # a fixture


def data_file(shop: IncrementalShop) -> Path:
    """Return the one data file of base."""
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    (file,) = live_files(table).files
    return Path(local_path(file.data.file_path))


def write_over(path: Path) -> None:
    """Give row 5 another name, by another writer, under the file's own name."""
    rows = pq.read_table(path)
    place = rows.schema.get_field_index("name")
    field = rows.schema.field(place)
    names = pc.if_else(pc.equal(rows["id"], 5), "another", rows["name"]).cast(field.type)
    pq.write_table(rows.set_column(place, field, names), path, compression="gzip")


def keys(found: Reconciliation) -> list[object]:
    return [one.key["id"] for one in found.comparisons[0].discrepancies]


def test_a_data_file_written_over_in_place_is_found_by_an_incremental_run(shop: IncrementalShop) -> None:
    write_over(data_file(shop))

    found = shop.run()

    assert (Verdict.DIFFERENT, [5]) == (found.verdict, keys(found))
    assert "every segment was compared" in notes(found)


@pytest.mark.parametrize("incremental", [False, True])
def test_what_differs_because_of_a_damaged_file_names_it(shop: IncrementalShop, incremental: bool) -> None:
    file = data_file(shop)
    write_over(file)

    found = shop.compare(incremental=incremental)

    assert "what differs may come of this: " in notes(found)
    assert f"a file of the table is missing or damaged, first {file}: it has" in notes(found)


def test_a_missing_data_file_is_an_error_that_says_how_to_get_it_back(shop: IncrementalShop) -> None:
    data_file(shop).unlink()

    found = shop.run()

    assert Verdict.ERROR is found.verdict
    assert "it is not there" in found.comparisons[0].reason
    assert "restore the file as it was, or go back to a snapshot without it" in found.comparisons[0].reason


def manifests(shop: IncrementalShop) -> list[Path]:
    """Return base's newest manifest list and the manifests it names."""
    table = shop.platform.lake.load("retail", "item")
    snapshot = table.current_snapshot() if table is not None else None
    assert table is not None
    assert snapshot is not None
    named = [one.manifest_path for one in snapshot.manifests(table.io)]
    return [Path(local_path(one)) for one in (snapshot.manifest_list, *named)]


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize("written", [b"", b"no Avro", None])
def test_a_damaged_or_missing_manifest_is_named_with_its_mend(
    shop: IncrementalShop, place: int, written: bytes | None
) -> None:
    file = manifests(shop)[place]
    file.unlink() if written is None else file.write_bytes(written)
    clear_manifest_cache()

    found = shop.run()

    assert Verdict.ERROR is found.verdict
    assert str(file) in found.comparisons[0].reason
    assert "restore the file as it was" in found.comparisons[0].reason
    assert "cdc itself" not in found.comparisons[0].reason


@pytest.mark.parametrize("written", [b"", b"no JSON", None])
def test_damaged_or_missing_metadata_are_named_with_their_mend(
    shop: IncrementalShop, written: bytes | None
) -> None:
    table = shop.platform.lake.load("retail", "item")
    assert table is not None
    file = Path(local_path(table.metadata_location))
    file.unlink() if written is None else file.write_bytes(written)

    found = reconcile_full(Platform(shop.platform.config), "retail", "item")

    assert Verdict.ERROR is found.verdict
    assert str(file) in found.comparisons[0].reason
    assert "restore the file as it was" in found.comparisons[0].reason


def test_a_verdict_stands_where_the_table_was_dropped_before_its_files_could_be_looked_at(
    shop: IncrementalShop,
) -> None:
    subject = pin(shop.platform, "retail", "item", FULL)
    data_file(shop).unlink()
    shop.platform.lake.catalog.drop_table("retail.item")
    failed = Comparison(SOURCE_MATCHES_BASE, Verdict.ERROR, "it cannot be read")

    (found,) = with_damage(subject, [failed])

    assert Verdict.ERROR is found.verdict
    assert found.reason.startswith("it cannot be read; ")


def test_an_incremental_certificate_says_what_is_believed_of_files(shop: IncrementalShop) -> None:
    covered = [text for text in shop.run().certificate["not_covered"] if "size" in text]

    assert 1 == len(covered)
