"""Comparisons with exports are shown as that: no verdict, report or repair takes one for the source's."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from cdc_platform.fleet.gathering import gather
from cdc_platform.fleet.words import export_sentence, whole_sentence
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.full_result import LATEST, latest_full
from cdc_platform.reconcile.parquet_source import ParquetReader
from cdc_platform.reconcile.recent_runs import RECENT, recent_runs
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform.repair.asking import ask_of
from cdc_platform_tests.reconcile.shop import WholeShop

pytestmark = pytest.mark.postgres

TYPES = {"id": pa.int64(), "name": pa.string()}


class ExportShop(WholeShop):
    """A table of which a row was lost after an export was made: equal to that, and not to its source."""

    def __init__(self, folder: Path, dsn: str) -> None:
        super().__init__(folder, dsn, TYPES)
        self.export = folder / "export.parquet"
        self.sql("CREATE TABLE item (id bigint PRIMARY KEY, name text)", "INSERT INTO item VALUES (1, 'x')")
        self.load_from_source()
        pq.write_table(pa.table({"id": [1], "name": ["x"]}), self.export)
        self.sql("UPDATE item SET name = 'lost'")
        self.catch_up()

    def against_source(self) -> Reconciliation:
        return reconcile_full(self.platform, "retail", "item")

    def against_export(self) -> Reconciliation:
        reader = ParquetReader(self.platform.lake, str(self.export))
        options = FullOptions(reader=reader, origin=str(self.export))
        return reconcile_full(self.platform, "retail", "item", options)


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[ExportShop]:
    found = ExportShop(tmp_path, postgres_database)
    yield found
    found.platform.lake.close()


def test_what_the_source_says_stands_though_an_export_says_otherwise_later(shop: ExportShop) -> None:
    source, export = shop.against_source(), shop.against_export()

    (table,) = gather(shop.platform, [("retail", shop.platform.table("retail", "item"))])
    ask = ask_of(shop.platform, "retail", "item", by="a test", full=True)

    assert (Verdict.DIFFERENT, Verdict.MATCH) == (source.verdict, export.verdict)
    assert (Verdict.DIFFERENT, 0.0, 1) == (table.verdict, table.rows_proven, table.different)
    assert ("export", source.run_id) == (export.window, ask.run_id)
    told = table.as_json()
    assert ("source", "MATCH", str(shop.export)) == (
        told["whole_run_against"],
        told["export_verdict"],
        told["export"],
    )
    assert "held against the source, 1 row differs" in whole_sentence(table, source.certificate)
    assert "no verdict of the table rests on it" in (export_sentence(table, export.started_at) or "")
    assert "Base is proven equal to the export" in Path(export.report or "").read_text()
    assert "The source was not asked" in export.certificate["not_covered"][0]


def test_a_table_compared_with_nothing_but_an_export_is_not_proven(shop: ExportShop) -> None:
    shop.against_export()

    (table,) = gather(shop.platform, [("retail", shop.platform.table("retail", "item"))])

    assert (None, None, None) == (table.whole_verdict, table.rows_proven, table.oldest_proof)
    assert None is latest_full(shop.platform.lake, "retail", "item")


def test_what_an_earlier_version_kept_of_an_export_is_not_taken_for_the_sources(shop: ExportShop) -> None:
    source, export = shop.against_source(), shop.against_export()
    objects = shop.platform.objects("retail", "item")
    objects.put(LATEST, json.dumps({**export.certificate, "window": "full"}).encode())
    runs = [replace(one, window="full").as_json() for one in recent_runs(objects)]
    objects.put(RECENT, json.dumps({"version": 1, "runs": runs}).encode())

    (table,) = gather(shop.platform, [("retail", shop.platform.table("retail", "item"))])
    proof = latest_full(shop.platform.lake, "retail", "item")

    assert source.run_id == (proof or {})["run_id"]
    assert (Verdict.DIFFERENT, "MATCH") == (table.whole_verdict, table.export and table.export.verdict)


def test_an_export_with_a_file_twice_is_said_to_hold_rows_twice_and_the_source_is_not(
    shop: ExportShop,
) -> None:
    folder = shop.export.parent / "twice"
    folder.mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"id": [1], "name": ["x"]}), folder / f"{name}.parquet")
    reader = ParquetReader(shop.platform.lake, str(folder))

    found = reconcile_full(shop.platform, "retail", "item", FullOptions(reader=reader, origin=str(folder)))

    (reason,) = {one.reason for one in found.comparisons[0].discrepancies}
    assert "the export holds more than one row of this key: files in it hold the same rows" in reason
    assert "the source holds" not in reason
