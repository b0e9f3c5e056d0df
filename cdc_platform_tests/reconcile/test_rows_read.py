"""What a run read itself is told apart from what it takes from earlier runs, wherever it is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from cdc_platform.assets.whole import whole_metadata
from cdc_platform.cli.reconciled import print_reconciliations
from cdc_platform.fleet.figures import TableFigures
from cdc_platform.fleet.words import whole_sentence
from cdc_platform.reconcile.budget import Budget
from cdc_platform.reconcile.full import FullOptions, reconcile_full
from cdc_platform.reconcile.full_result import NOT_READ, full_run_of
from cdc_platform.reconcile.recent_runs import RECENT, RunFigures, recent_runs
from cdc_platform.reconcile.report import headline, render_report
from cdc_platform.reconcile.results import rows_of
from cdc_platform.reconcile.verdict import Reconciliation, Verdict
from cdc_platform_tests.reconcile.shop import WholeShop
from cdc_platform_tests.reconcile.test_report import text_of

pytestmark = pytest.mark.postgres

TYPES: dict[str, pa.DataType] = {"id": pa.int64(), "v": pa.string()}
ROWS = 300
ONE_BY_ONE = Budget(max_rows=10**9)


@pytest.fixture
def shop(tmp_path: Path, postgres_database: str) -> Iterator[WholeShop]:
    """Three segments, equal in the source and in base, all read by a full run."""
    found = WholeShop(tmp_path, postgres_database, TYPES)
    found.stock(
        "CREATE TABLE item (id bigint PRIMARY KEY, v varchar(20))",
        f"INSERT INTO item SELECT g, 'v' || g FROM generate_series(1, {ROWS}) g",
        "ANALYZE item",
    )
    recorded(found)
    yield found
    found.platform.lake.close()


def recorded(shop: WholeShop, **options: Any) -> Reconciliation:
    return reconcile_full(
        shop.platform, "retail", "item", FullOptions(**{"rows_per_segment": 100, **options})
    )


def update_two_rows(shop: WholeShop) -> None:
    shop.sql("UPDATE item SET v = 'new' WHERE id IN (5, 250)")
    shop.change({"Op": "U", "id": 5, "v": "new"}, {"Op": "U", "id": 250, "v": "new"})
    shop.apply()


def runs(shop: WholeShop) -> list[RunFigures]:
    return list(recent_runs(shop.platform.objects("retail", "item")))


def forget_what_was_read(shop: WholeShop) -> None:
    """Leave the figures of runs as earlier versions kept them."""
    objects = shop.platform.objects("retail", "item")
    stored = json.loads(objects.get(RECENT) or b"")
    for one in stored["runs"]:
        del one["carried_rows"]
        one["source_rows"] = ROWS
    objects.put(RECENT, json.dumps(stored).encode())


def test_the_certificate_of_a_run_that_read_nothing_says_so_and_when_the_rows_were_read(
    shop: WholeShop,
) -> None:
    (full,) = runs(shop)

    found = recorded(shop, incremental=True)

    (told,) = found.certificate["comparisons"]
    proof = {"at": full.oldest_proof.isoformat() if full.oldest_proof else "", "source_position": None}
    carried = {"rows": ROWS, "segments": 4, "oldest_proof": proof, "newest_proof": proof}
    proof["source_position"] = full.source_position
    assert Verdict.MATCH is found.verdict
    assert {"source rows": 0, "base rows": 0} == told["rows"]
    assert carried == told["carried"]


def test_rows_whose_keys_changed_are_read_and_all_others_are_not(shop: WholeShop) -> None:
    update_two_rows(shop)

    found = recorded(shop, incremental=True)

    (told,) = found.certificate["comparisons"]
    assert ({"source rows": 2, "base rows": 2}, ROWS - 2) == (told["rows"], told["carried"]["rows"])
    assert [(1, 99), (0, 100), (1, 99)] == [
        (one["rows"]["source"], one["carried_rows"]) for one in found.certificate["segments"][:3]
    ]


def test_a_run_that_read_every_row_takes_nothing_from_others_and_names_no_row_as_unread(
    shop: WholeShop,
) -> None:
    shop.platform.objects("retail", "item").delete("reports/full/proofs.json")

    found = recorded(shop, incremental=True)

    (told,) = found.certificate["comparisons"]
    assert ({"source rows": ROWS, "base rows": ROWS}, None) == (told["rows"], told["carried"])
    assert NOT_READ not in found.certificate["not_covered"]


def test_segments_that_a_resumed_run_went_on_with_are_not_counted_as_read(shop: WholeShop) -> None:
    recorded(shop, budget=Budget(max_rows=150))

    found = recorded(shop, budget=ONE_BY_ONE, resume=True)

    (comparison,) = found.comparisons
    assert Verdict.MATCH is found.verdict
    assert comparison.carried is not None
    assert ROWS == comparison.rows["source rows"] + comparison.carried.rows
    assert 0 < comparison.carried.rows < ROWS


def test_the_report_never_says_that_rows_were_read_which_were_not(shop: WholeShop) -> None:
    update_two_rows(shop)

    found = recorded(shop, incremental=True)

    (comparison,) = found.comparisons
    assert comparison.carried is not None
    assert headline(found) == (
        "Of the 300 rows of the table, this run read 2 from the source, equal in every column. It did not "
        f"read the other 298: earlier runs found them equal in every column, {comparison.carried.when}."
    )
    page = text_of(render_report(found))
    assert "2 source rows, 2 base rows read in" in page
    assert "298 rows not read, found equal by earlier runs" in page
    assert f"Oldest of these proofs, 0.0 days before this run {comparison.carried.oldest}" in page
    assert "300 source rows" not in page
    assert NOT_READ in page


def test_the_figures_of_the_fleet_count_what_was_read_of_the_source(shop: WholeShop) -> None:
    update_two_rows(shop)

    recorded(shop, incremental=True)

    assert [(ROWS, 0), (2, ROWS - 2)] == [(one.source_rows, one.carried_rows) for one in runs(shop)]


def test_of_a_run_of_an_earlier_version_it_is_not_known_how_many_rows_it_read(shop: WholeShop) -> None:
    recorded(shop, incremental=True)
    forget_what_was_read(shop)

    assert [ROWS, None] == [one.source_rows for one in runs(shop)]


def test_the_page_of_the_table_says_what_was_read_in_which_run(shop: WholeShop) -> None:
    update_two_rows(shop)
    found = recorded(shop, incremental=True)
    figures = TableFigures("retail", "item", "public.item", runs=tuple(runs(shop)))

    said = whole_sentence(figures, full_run_of(shop.platform.objects("retail", "item"), found.run_id))

    (comparison,) = found.comparisons
    assert comparison.carried is not None
    assert "every row was found equal, by this run or earlier ones" in said
    assert said.endswith(
        "this run read 2 rows of the source and 2 rows of base; it did not read 298 rows that earlier runs "
        f"read on both sides and found equal, {comparison.carried.when}."
    )


def test_the_page_shows_a_run_that_recorded_nothing_of_it_without_claiming_more(shop: WholeShop) -> None:
    found = recorded(shop, incremental=True)
    forget_what_was_read(shop)
    figures = TableFigures("retail", "item", "public.item", runs=tuple(runs(shop)))
    certificate = full_run_of(shop.platform.objects("retail", "item"), found.run_id)
    assert certificate is not None
    del certificate["comparisons"][0]["carried"]

    said = whole_sentence(figures, certificate)

    assert "every row is proven equal" not in said
    assert "How many rows that run read, and how many earlier ones, was not recorded" in said


def test_the_command_says_of_a_match_what_was_not_read(
    shop: WholeShop, capsys: pytest.CaptureFixture[str]
) -> None:
    found = recorded(shop, incremental=True)

    print_reconciliations([found])

    said = " ".join(capsys.readouterr().out.split())
    assert "MATCH" in said
    assert "this run read 0 rows of the source and 0 rows of base; it did not read 300 rows" in said
    assert f"not covered: {NOT_READ}" in said


def test_the_command_says_of_keys_and_versions_that_values_were_not_compared(
    shop: WholeShop, capsys: pytest.CaptureFixture[str]
) -> None:
    print_reconciliations([recorded(shop, keys_only=True)])

    assert "not covered: Values were not compared" in " ".join(capsys.readouterr().out.split())


def test_the_metadata_of_the_run_tell_rows_that_were_read_from_those_that_were_not(shop: WholeShop) -> None:
    update_two_rows(shop)

    told = whole_metadata(recorded(shop, incremental=True))

    assert (2, 2, ROWS - 2) == tuple(
        told[name] for name in ("source_rows_read", "base_rows_read", "rows_found_equal_by_earlier_runs")
    )
    assert "with the source at" in told["these_were_read"]


def test_the_result_table_counts_rows_that_were_not_read_apart(shop: WholeShop) -> None:
    update_two_rows(shop)

    found = recorded(shop, incremental=True)

    rows = rows_of(shop.platform.lake, "segments", ("run_id", "segment", "rows"), runs=[found.run_id])
    (whole,) = (json.loads(one["rows"]) for one in rows if one["segment"] == "table")
    assert {"source rows": 2, "base rows": 2, "carried": ROWS - 2} == whole


def test_a_changed_key_for_which_the_budget_does_not_suffice_is_neither_read_nor_found_equal(
    shop: WholeShop,
) -> None:
    update_two_rows(shop)

    found = recorded(shop, incremental=True, budget=Budget(max_rows=1))

    (comparison,) = found.comparisons
    assert Verdict.UNVERIFIED is found.verdict
    assert comparison.carried is not None
    assert (1, ROWS - 2) == (comparison.rows["source rows"], comparison.carried.rows)
    assert (ROWS, ROWS - 1, 1) == (
        comparison.tally.compared,
        comparison.tally.matched,
        comparison.tally.unverified,
    )


def test_a_certificate_without_the_rows_of_earlier_runs_is_shown(shop: WholeShop) -> None:
    found = recorded(shop, incremental=True)
    segments = [
        {name: value for name, value in one.items() if name != "carried_rows"}
        for one in found.certificate["segments"]
    ]

    page = render_report(replace(found, certificate={**found.certificate, "segments": segments}))

    assert "Segments of the key" in text_of(page)
