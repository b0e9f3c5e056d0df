"""Two columns of the source with one name in base: never a silent choice between them, never a repair."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.errors import SourceUnavailable
from cdc_platform.reconcile.full import FullOptions, compare_full
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.verdict import SOURCE_MATCHES_BASE, Verdict
from cdc_platform.reconcile.window import compare_window
from cdc_platform_tests.reconcile.shop import WholeShop
from cdc_platform_tests.repair.shop import Shop

pytestmark = pytest.mark.postgres

BOTH = r"'name' and 'Name' of the source have one name in base, 'name'"


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str, request: pytest.FixtureRequest) -> Iterator[Shop]:
    found = Shop(tmp_path, postgres_database, **getattr(request, "param", {}))
    found.stock()
    found.run('ALTER TABLE item ADD COLUMN "Name" text')
    yield found
    found.platform.lake.close()


def test_every_comparison_names_both_and_no_repair_is_made(shop: Shop) -> None:
    before = shop.rows()

    window = compare_window(shop.platform, "retail", "item", shop.window).comparison(SOURCE_MATCHES_BASE)
    whole = compare_full(shop.platform, "retail", "item").comparison(SOURCE_MATCHES_BASE)
    keys = compare_full(shop.platform, "retail", "item", FullOptions(keys_only=True))
    with pytest.raises(SourceUnavailable, match=BOTH):
        shop.repair()

    for one in (window, whole):
        assert Verdict.ERROR is one.verdict
        assert "'name' and 'Name' of the source have one name in base, 'name'" in one.reason
    assert Verdict.MATCH is keys.verdict
    assert before == shop.rows()


@pytest.mark.parametrize("shop", [{"not_compared": ("name",)}], indirect=True)
def test_they_may_be_left_out_on_purpose(shop: Shop) -> None:
    found = compare_full(shop.platform, "retail", "item").comparison(SOURCE_MATCHES_BASE)

    assert (Verdict.MATCH, ("id", "price")) == (found.verdict, found.columns)


def test_a_key_column_that_cannot_be_told_apart_is_named(tmp_path: Path, postgres_database: str) -> None:
    types = {"id": pa.int64(), "name": pa.string()}
    shop = WholeShop(tmp_path, postgres_database, types)
    shop.sql(
        'CREATE TABLE item (id bigint PRIMARY KEY, "ID" bigint, name text)', "INSERT INTO item VALUES (1, 2)"
    )
    shop.load([{"id": 1, "name": None}])
    shop.apply()

    found = shop.compare(keys_only=True).comparisons[0]

    assert Verdict.ERROR is found.verdict
    assert "columns 'id' and 'ID' of the source" in found.reason


def test_columns_of_an_export_that_cannot_be_told_apart_are_named(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "export.parquet"
    rows = {"id": [1], "na-me": ["a"], "na_me": ["b"], "price": [1]}
    pq.write_table(pa.table(rows), path)
    reader = ParquetReader(shop.platform.lake, str(path))

    plan = reader.plan("public", "item", ["id"], pa.schema([("id", pa.int64()), ("na_me", pa.string())]))

    assert ["id"] == [column.column for column in plan.columns]
    assert "columns 'na-me' and 'na_me' of the source" in plan.refused["na_me"].what
