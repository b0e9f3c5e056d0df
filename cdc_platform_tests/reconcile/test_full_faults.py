"""Differences a full run finds: each is located by three witnesses, classed by value, and told together."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyiceberg.catalog import Catalog

from cdc_platform.reconcile import full_slices
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.faults import Fault
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.report_segments import segment_map
from cdc_platform.reconcile.verdict import Discrepancy, Reconciliation, Verdict
from cdc_platform.testing import write_change_file
from cdc_platform_tests.reconcile.shop import DAY, WholeShop
from cdc_platform_tests.reconcile.test_report import text_of

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "name": pa.string(), "price": pa.decimal128(10, 2)}
ROWS = 300


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Three segments, equal in the source, raw and base; row 7 changed since its load, row 9 deleted."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.sql(
        "CREATE TABLE item (id bigint PRIMARY KEY, name text, price numeric(10,2))",
        f"""INSERT INTO item SELECT g, CASE WHEN g % 5 = 0 THEN 'tin' ELSE 'box' END, g + 0.25
            FROM generate_series(1, {ROWS}) g""",
        "ANALYZE item",
    )
    found.load_from_source()
    found.sql("UPDATE item SET name = 'can' WHERE id = 7", "DELETE FROM item WHERE id = 9")
    found.change({"Op": "U", **row(7, "can")}, {"Op": "D", **row(9)})
    found.apply()
    found.catch_up()
    yield found
    found.platform.lake.close()


def row(number: int, name: str | None = None) -> dict[str, Any]:
    given = name or ("tin" if number % 5 == 0 else "box")
    return {"id": number, "name": given, "price": Decimal(number) + Decimal("0.25")}


def by_key(found: Reconciliation) -> Mapping[int, Discrepancy]:
    return {one.key["id"]: one for one in found.comparisons[0].discrepancies}


def test_every_difference_of_a_full_run_is_located_where_it_was_made(shop: WholeShop) -> None:
    shop.sql(
        "UPDATE item SET name = 'quill' WHERE id = 1",
        "INSERT INTO item VALUES (1000, 'box', 1)",
        "DELETE FROM item WHERE id = 2",
    )
    shop.tamper("UPDATE base SET name = 'chalk' WHERE id = 3")
    shop.tamper("INSERT INTO base FROM base WHERE id = 104")
    shop.tamper("DELETE FROM base WHERE id = 105")
    shop.tamper("UPDATE base SET name = 'box', _cdc_position = 0 WHERE id = 7")
    shop.tamper("INSERT INTO base SELECT * REPLACE (9 AS id, 9.25 AS price) FROM base WHERE id = 11")

    found = shop.compare()

    faults = {key: one.located.fault for key, one in by_key(found).items() if one.located}
    assert {
        1: Fault.CAPTURE_LOST,
        1000: Fault.CAPTURE_LOST,
        2: Fault.DELETE_NOT_CAPTURED,
        3: Fault.WRITTEN_OUT_OF_BAND,
        104: Fault.DUPLICATE,
        105: Fault.WRITTEN_OUT_OF_BAND,
        7: Fault.STALE,
        9: Fault.WRITTEN_OUT_OF_BAND,
    } == faults
    (proof,) = found.certificate["comparisons"]
    assert {"keys": 8, "of": 8} == proof["located"]
    assert {"capture lost": 2, "written out of band": 3} == {
        name: keys for name, keys in proof["faults"].items() if keys > 1
    }


def test_differences_are_classed_by_value_over_all_of_them_with_what_their_keys_have_in_common(
    shop: WholeShop,
) -> None:
    shop.sql("UPDATE item SET price = price + 0.30 WHERE name = 'tin'")
    shop.tamper("UPDATE base SET price = round(price + 0.30, 0) WHERE name = 'tin'")

    (comparison,) = shop.compare().comparisons

    (price,) = comparison.column_differences
    assert ("price", 60, 60) == (price.column, price.keys, price.changed)
    assert ["rounded to 0 decimals in base"] == [one.label for one in price.classes]
    assert "all of the 60 keys that differ have column name = tin" in comparison.attribution
    assert comparison.attribution.endswith(
        "all of the 60 changed rows differ in price (rounded to 0 decimals in base)"
    )


def test_rows_only_the_source_has_are_told_by_their_segment(shop: WholeShop) -> None:
    shop.sql("INSERT INTO item SELECT g, 'new ' || g, 1 FROM generate_series(1000, 1039) g")

    (comparison,) = shop.compare().comparisons

    assert "all of the 40 keys that differ have keys from " in comparison.attribution
    assert {Fault.CAPTURE_LOST: 40} == comparison.faults


def test_of_many_equal_keys_a_sample_is_looked_at_and_the_sentence_says_so(
    shop: WholeShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(full_slices, "SAMPLED_ROWS", 100)
    shop.tamper("UPDATE base SET price = 1 WHERE name = 'tin'")

    (comparison,) = shop.compare().comparisons

    assert "all of the 60 keys that differ have column name = tin" in comparison.attribution
    assert "of a sample of" in comparison.attribution


def test_of_more_differences_than_are_kept_it_is_said_how_many_were_looked_into(shop: WholeShop) -> None:
    shop.tamper("UPDATE base SET name = 'chalk' WHERE id > 100")

    found = shop.compare()

    (comparison,), (proof,) = found.comparisons, found.certificate["comparisons"]
    assert (200, {Fault.WRITTEN_OUT_OF_BAND: 100}) == (comparison.tally.different, comparison.faults)
    assert {"keys": 100, "of": 200} == proof["located"]


def test_what_may_still_be_on_its_way_is_not_located(shop: WholeShop) -> None:
    shop.fall_behind()
    shop.sql("UPDATE item SET name = 'new' WHERE id = 10")

    (one,) = by_key(shop.compare()).values()

    assert (Verdict.IN_FLIGHT, None) == (one.verdict, one.located)


def test_the_result_tables_and_the_page_have_the_faults_the_classes_and_the_sentence(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET name = upper(name) WHERE name = 'tin'")
    shop.catch_up()

    run = reconcile_full(shop.platform, "retail", "item", FullOptions(rows_per_segment=100))

    whole = next(one for one in _rows(shop.platform.lake.catalog, "segments") if one["segment"] == "table")
    assert {"capture lost", "altered by capture"} >= set(json.loads(whole["faults"]))
    assert "column name = tin" in whole["attribution"]
    (kept, *_) = _rows(shop.platform.lake.catalog, "discrepancies")
    assert (run.run_id, {"name": "case only"}) == (kept["run_id"], json.loads(kept["classes"]))
    assert "raw" in json.loads(kept["fault_evidence"])
    page = text_of(Path(run.report or "").read_text())
    assert "Base is wrong: 60 of the 299 rows of the table differ from the source." in page
    assert "column name = tin" in page
    assert "name 60 case only 60" in page
    assert "raw, newest" in page
    assert "Raw files were not compared with base here" in page


def test_the_page_of_a_whole_table_has_a_cell_for_every_segment(shop: WholeShop) -> None:
    shop.sql("DELETE FROM item WHERE id = 2")

    options = FullOptions(rows_per_segment=100, budget=Budget(max_rows=120), tell=lambda _: None)
    run = reconcile_full(shop.platform, "retail", "item", options)

    shown = segment_map(run.certificate)
    assert shown is not None
    assert ["DIFFERENT", "UNVERIFIED", "UNVERIFIED"] == [one.verdict for one in shown.cells]
    assert (("1", "?"), 3) == ((shown.cells[0].mark, shown.cells[1].mark), shown.open)
    page = text_of(Path(run.report or "").read_text())
    assert "at least 1 of the" in page
    assert "2 segments of the key: unverified, see above." in page


def test_a_cell_of_the_map_has_the_short_form_of_a_number_and_its_title_the_whole(shop: WholeShop) -> None:
    run = shop.compare().certificate
    segment = {**run["segments"][0], "verdict": "DIFFERENT", "different": 9106, "reason": "9,106 keys differ"}

    shown = segment_map({**run, "segments": [segment]})

    assert shown is not None
    (cell,) = shown.cells
    assert "9k" == cell.mark
    assert cell.title.endswith("9,106 keys differ")


def test_an_event_of_any_window_is_a_witness_of_a_full_run(shop: WholeShop) -> None:
    later = DAY + timedelta(days=3)
    write_change_file(
        shop.raw, "public", "item", at=later, events=[{"Op": "U", **row(20, "pot")}], types=TYPES
    )
    shop.sql("UPDATE item SET name = 'pot' WHERE id = 20")
    shop.apply()
    shop.tamper("UPDATE base SET name = 'tin' WHERE id = 20")
    shop.catch_up()

    (one,) = by_key(shop.compare()).values()

    assert one.located is not None
    assert one.located.event is not None
    assert "20260304-" in one.located.event.file
    assert Fault.STALE is one.located.fault


def _rows(catalog: Catalog, name: str) -> list[dict[str, Any]]:
    return catalog.load_table(("cdc_reconciliation", name)).scan().to_arrow().to_pylist()
