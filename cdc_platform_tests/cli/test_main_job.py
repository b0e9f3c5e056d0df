"""apply, reconcile, status and quarantine as a person or a script runs them."""

from __future__ import annotations

import shutil
import warnings
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

from cdc_platform.config.load import load_config
from cdc_platform.lake.catalog import open_lake
from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import Cdc, Outcome


@pytest.fixture
def torn_file(project: Path) -> Path:
    """A change file that was cut off in the middle."""
    at = datetime(2024, 5, 31, 21, tzinfo=UTC)
    key = write_change_file(project / "raw", "public", "orders", at=at, events=[{"Op": "D", "id": 2}])
    path = project / "raw" / key
    path.write_bytes(path.read_bytes()[:-30])
    return path


def quarantined(listed: Outcome) -> str:
    """Return the id of the one item a listing shows."""
    (entry,) = listed.json
    return str(entry["item"]["id"])


def test_apply_merges_what_is_in_the_raw_folder(cdc: Cdc) -> None:
    done = cdc("apply", "--json")

    (merge,) = done.json["merges"]
    assert 0 == done.code
    assert (2, 4, 3) == (len(merge["files_applied"]), sum_of_events(merge), merge["counts"]["rows_inserted"])


def sum_of_events(merge: dict[str, dict[str, int]]) -> int:
    return sum(merge["counts"][op] for op in ("loads", "inserts", "updates", "deletes"))


def test_apply_again_has_nothing_to_do(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("apply", "--json")

    (merge,) = done.json["merges"]
    assert (0, [], None) == (done.code, merge["files_applied"], merge["snapshot_id"])


def test_apply_shows_a_person_what_it_did(cdc: Cdc) -> None:
    done = cdc("apply")

    assert ["shop/orders", "2", "2", "4", "3"] == done.out.splitlines()[-1].split()[:5]


def test_a_torn_file_is_quarantined_and_the_exit_code_says_so(cdc: Cdc, torn_file: Path) -> None:
    done = cdc("apply")

    assert 1 == done.code
    assert "cdc quarantine list" in done.err


def test_a_file_that_waits_in_quarantine_is_told_each_time_it_is_passed_over(
    cdc: Cdc, torn_file: Path
) -> None:
    cdc("apply")

    done = cdc("apply")

    assert (1, True) == (done.code, "passed over what waits in quarantine: 1 file" in done.err)


def test_the_quarantine_says_what_why_and_what_to_do(cdc: Cdc, torn_file: Path) -> None:
    cdc("apply")

    listed = cdc("quarantine", "list")

    assert 1 == listed.code
    assert torn_file.name in listed.out
    assert "why:" in listed.out
    assert "mend:" in listed.out


def test_a_released_file_is_applied_once_it_was_mended(cdc: Cdc, torn_file: Path, project: Path) -> None:
    cdc("apply")
    item = quarantined(cdc("quarantine", "list", "--json"))
    at = datetime(2024, 5, 31, 21, tzinfo=UTC)
    write_change_file(project / "raw", "public", "orders", at=at, events=[{"Op": "D", "id": 2}])
    cdc("quarantine", "discard", item[:8])

    done = cdc("apply", "--json")

    assert (0, 1) == (done.code, done.json["merges"][0]["counts"]["rows_deleted"])


def test_a_dry_run_of_discard_changes_nothing(cdc: Cdc, torn_file: Path) -> None:
    cdc("apply")
    item = quarantined(cdc("quarantine", "list", "--json"))

    shown = cdc("quarantine", "discard", item, "--dry-run")

    assert "would discard" in shown.out
    assert item == quarantined(cdc("quarantine", "list", "--json"))


@pytest.mark.parametrize(("verb", "done"), [("release", "released"), ("discard", "discarded")])
def test_a_decision_is_told_as_done(cdc: Cdc, torn_file: Path, verb: str, done: str) -> None:
    cdc("apply")
    item = quarantined(cdc("quarantine", "list", "--json"))

    assert done in cdc("quarantine", verb, item).out.split()


def test_an_unknown_quarantine_id_is_told_with_the_way_to_find_it(cdc: Cdc) -> None:
    done = cdc("quarantine", "release", "nowhere")

    assert 2 == done.code
    assert "no item in quarantine begins with 'nowhere'" in done.err
    assert "cdc quarantine list" in done.err


def test_an_empty_quarantine_is_fine(cdc: Cdc) -> None:
    done = cdc("quarantine", "list")

    assert (0, "nothing is in quarantine\n") == (done.code, done.out)


def test_status_tells_where_a_table_stands(cdc: Cdc) -> None:
    cdc("apply")

    (table,) = cdc("status", "--json").json

    assert ("shop", "orders", 3, "2024-05-31", 0, None) == tuple(
        table[name] for name in ("source", "table_id", "rows", "last_window", "pending_files", "verdict")
    )


@pytest.fixture
def an_earlier_window_is_different(cdc: Cdc, project: Path) -> None:
    """Two windows, of which the earlier one lost a row of base to another program."""
    later = datetime(2024, 6, 1, 21, tzinfo=UTC)
    event = {"Op": "I", "id": 9, "customer": "new", "amount": 1.0}
    write_change_file(project / "raw", "public", "orders", at=later, events=[event])
    cdc("apply")
    with open_lake(load_config(project / "cdc.yaml")) as lake:
        table = lake.load("shop", "orders")
        assert table is not None
        with warnings.catch_warnings(action="ignore"):  # pyiceberg says that it copies on write
            table.delete("id == 3")
    for window in ("2024-05-31", "2024-06-01"):
        cdc("reconcile", "--window", window)


@pytest.mark.usefixtures("an_earlier_window_is_different")
def test_status_names_an_earlier_window_that_is_different(cdc: Cdc) -> None:
    done = cdc("status")

    assert 1 == done.code
    assert "shop/orders: DIFFERENT in earlier windows: 2024-05-31; cdc report shows what" in done.err
    assert "cdc reconcile --window compares it again" in done.err


@pytest.mark.usefixtures("an_earlier_window_is_different")
def test_status_lists_earlier_windows_that_are_different_for_scripts(cdc: Cdc) -> None:
    (table,) = cdc("status", "--json").json

    assert ("2024-06-01", ["2024-05-31"]) == (table["verdict_window"], table["windows_different"])


def test_status_before_the_first_merge_shows_dashes(cdc: Cdc) -> None:
    done = cdc("status")

    assert 0 == done.code
    assert "–" in done.out


def test_reconcile_compares_raw_with_base_and_names_what_was_not_compared(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("reconcile", "--json")

    verdicts = {one["name"]: one["verdict"] for one in done.json["reconciliations"][0]["comparisons"]}
    assert {"raw_matches_base": "MATCH", "source_matches_base": "UNVERIFIED"} == verdicts
    assert 1 == done.code


def test_reconcile_names_what_was_given_up_though_it_is_a_match(
    cdc: Cdc, torn_file: Path, project: Path
) -> None:
    cdc("apply")
    cdc("quarantine", "discard", quarantined(cdc("quarantine", "list", "--json")))

    done = cdc("reconcile")

    place = torn_file.relative_to(project / "raw")
    assert f"raw_matches_base: not compared, discarded from quarantine: {place}" in done.out


@pytest.mark.postgres
@pytest.mark.parametrize(("table", "verdicts"), [("Orders", {"ERROR": 3}), ("orders", {"UNVERIFIED": 1})])
def test_reconcile_holds_a_table_without_any_file_against_the_source(
    cdc: Cdc,
    project: Path,
    monkeypatch: pytest.MonkeyPatch,
    postgres_database: str,
    table: str,
    verdicts: dict[str, int],
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE orders AS SELECT 1 AS id")
    monkeypatch.setenv("CDC_SHOP_DSN", postgres_database)
    shop = "shop:\n    connection: {dsn: '${CDC_SHOP_DSN}'}"
    config = (project / "cdc.yaml").read_text().replace("public.orders", f"public.{table}")
    shutil.rmtree(project / "raw" / "public" / "orders")
    (project / "cdc.yaml").write_text(config.replace("shop:", shop))

    done = cdc("reconcile", "--json")

    assert verdicts == {done.json["reconciliations"][0]["verdict"]: done.code}


def test_reconcile_of_a_window_that_is_no_window_is_a_usage_error(cdc: Cdc) -> None:
    done = cdc("reconcile", "--window", "last tuesday")

    assert 2 == done.code
    assert "write it as 2026-01-31" in done.err


def test_a_table_that_is_not_there_is_told_with_those_that_are(cdc: Cdc) -> None:
    done = cdc("apply", "--table", "order")

    assert 2 == done.code
    assert "there is no active table 'order' → active: orders" in done.err


@pytest.fixture
def twin(project: Path) -> None:
    """A second source beside the first, of the same files: both have a table ``orders``."""
    config = project / "cdc.yaml"
    text = config.read_text()
    config.write_text(text + text.partition("sources:\n")[2].replace("shop:", "mart:"))


@pytest.mark.usefixtures("twin")
@pytest.mark.parametrize(
    ("options", "merged"),
    [
        (("-t", "mart/orders"), ["mart/orders"]),
        (("-t", "orders"), ["shop/orders", "mart/orders"]),
        (("-t", "orders", "-s", "mart"), ["mart/orders"]),
        (("-t", "mart/orders", "-t", "shop/orders"), ["shop/orders", "mart/orders"]),
    ],
)
def test_a_table_is_named_by_source_and_id_or_by_its_id_in_every_source(
    cdc: Cdc, options: tuple[str, ...], merged: list[str]
) -> None:
    done = cdc("apply", *options, "--json")

    assert merged == [f"{one['source']}/{one['table_id']}" for one in done.json["merges"]]


@pytest.mark.usefixtures("twin")
def test_a_table_of_another_source_than_the_named_one_is_not_there(cdc: Cdc) -> None:
    done = cdc("apply", "-s", "shop", "-t", "mart/orders")

    assert 2 == done.code
    assert "there is no active table 'mart/orders' → active: orders" in done.err


@pytest.mark.usefixtures("twin")
def test_tables_of_several_sources_are_listed_with_their_source(cdc: Cdc) -> None:
    assert "active: mart/orders, shop/orders" in cdc("quarantine", "list", "-t", "mart/order").err


def test_one_table_that_fails_does_not_hold_up_the_others(cdc: Cdc, project: Path) -> None:
    config = project / "cdc.yaml"
    stores = "      - {name: public.stores, merge_key: [id], raw: {location: nowhere}}\n"
    config.write_text(
        config.read_text().replace("      - name: public.orders\n", stores + "      - name: public.orders\n")
    )

    done = cdc("apply", "--json")

    assert ["orders"] == [merge["table_id"] for merge in done.json["merges"]]
    assert ["shop/stores"] == list(done.json["failures"])
    assert 3 == done.code


def test_a_load_nobody_else_completes_can_be_declared_complete(cdc: Cdc) -> None:
    cdc("apply")

    done = cdc("complete-load", "shop", "orders")

    assert 0 == done.code
    assert "is complete; now run: cdc apply" in done.out


def test_what_was_decided_before_is_told_and_stays(cdc: Cdc, torn_file: Path) -> None:
    cdc("apply")
    item = quarantined(cdc("quarantine", "list", "--json"))
    first, again = cdc("quarantine", "discard", item), cdc("quarantine", "discard", item)

    assert ("", True) == (first.err, f"{item[:12]} was discarded before" in again.err)
    assert (0, "") == (again.code, again.out)
