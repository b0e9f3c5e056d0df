"""check-config, schema and discover."""

from __future__ import annotations

import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from cdc_platform.config.load import load_config
from cdc_platform.pipeline import Platform
from cdc_platform.reconcile.certificate_schema import certificate_schema
from cdc_platform.testing import write_change_file
from cdc_platform_tests.cli.conftest import Cdc


def write_stores(project: Path) -> None:
    at = datetime(2024, 5, 31, 20, tzinfo=UTC)
    write_change_file(project / "raw", "public", "stores", at=at, events=[{"Op": "I", "id": 1}])


def test_a_right_configuration_is_said_to_be_right(cdc: Cdc) -> None:
    done = cdc("check-config")

    assert 0 == done.code
    assert "cdc.yaml is right" in done.out


def test_every_mistake_of_a_wrong_one_is_told(cdc: Cdc, project: Path) -> None:
    (project / "cdc.yaml").write_text("engine: {threads: 0}\nlaek: {}\n")

    done = cdc("check-config")

    assert 2 == done.code
    assert "engine.threads (line 1)" in done.err
    assert "did you mean `lake`?" in done.err


def test_an_empty_file_is_not_right(cdc: Cdc, project: Path) -> None:
    (project / "cdc.yaml").write_text("")

    done = cdc("check-config")

    assert 2 == done.code
    assert "start the file with `version: 1`" in done.err
    assert "there are no sources" in done.err


def test_mistakes_can_be_read_by_a_machine(cdc: Cdc, project: Path) -> None:
    config = project / "cdc.yaml"
    config.write_text("laek: {}\n" + config.read_text())

    done = cdc("check-config", "--json")

    assert 2 == done.code
    assert [
        {"path": "laek (line 1)", "what": "unknown key 'laek'", "mend": "did you mean `lake`?"}
    ] == done.json["mistakes"]


def test_reaching_out_tells_what_does_not_answer(cdc: Cdc, project: Path) -> None:
    config = project / "cdc.yaml"
    connection = "    connection: {dsn: 'host=127.0.0.1 port=1 dbname=shop'}\n"
    config.write_text(config.read_text().replace("    tables:\n", connection + "    tables:\n"))

    done = cdc("check-config", "--reach")

    assert 3 == done.code
    assert "shop: connection" in done.err


def _partition_of(project: Path, table_id: str) -> str:
    table = Platform.open(project / "cdc.yaml").lake.load("shop", table_id)
    assert table is not None
    return ", ".join(field.name for field in table.spec().fields)


def _declare(project: Path, *options: str) -> None:
    config = project / "cdc.yaml"
    lines = "".join(f"        {option}\n" for option in options)
    config.write_text(config.read_text().rstrip() + "\n" + lines)


def test_partitions_that_a_table_does_not_have_are_told_and_a_new_id_rebuilds_it(
    cdc: Cdc, project: Path
) -> None:
    cdc("apply")
    rows = cdc("show", "orders", "--format", "json").json
    _declare(project, 'partition_by: ["bucket(4, id)"]')
    told = "partition_by of public.orders is [bucket(4, id)] in cdc.yaml, the table has []: it stays as it is"
    applied, reached = cdc("apply"), cdc("check-config", "--reach")
    shown = cdc("apply", "--json").json["merges"][0]["warnings"]

    assert (0, True) == (applied.code, told in applied.err)
    assert (0, True) == (reached.code, told in reached.err)
    assert [True] == [told in text for text in shown]
    assert told not in cdc("check-config").err
    assert [told in text for text in cdc("check-config", "--reach", "--json").json["remarks"]] == [True]

    _declare(project, "id: orders_2")
    rebuilt = cdc("apply", "-t", "orders_2")
    assert (0, "") == (rebuilt.code, rebuilt.err)
    assert sorted(map(str, rows)) == sorted(map(str, cdc("show", "orders_2", "--format", "json").json))
    assert "id_bucket_4" == _partition_of(project, "orders_2")


def test_a_table_dropped_with_its_record_of_batches_is_rebuilt_under_its_id(cdc: Cdc, project: Path) -> None:
    cdc("apply")
    rows = cdc("show", "orders", "--control", "--format", "json").json
    _declare(project, "partition_by: [id]")
    with Platform.open(project / "cdc.yaml").lake as lake:
        lake.catalog.drop_table(lake.identifier("shop", "orders"))
    shutil.rmtree(project / "warehouse" / "_cdc" / "shop" / "orders" / "batches")

    rebuilt = cdc("apply", "-t", "orders")
    assert (0, "") == (rebuilt.code, rebuilt.err)
    again = cdc("show", "orders", "--control", "--format", "json").json
    assert sorted(map(str, rows)) == sorted(map(str, again))
    assert "id" == _partition_of(project, "orders")


def test_the_schema_is_json(cdc: Cdc) -> None:
    assert "PlatformConfig" == json.loads(cdc("schema").out)["title"]


def test_the_schema_of_certificates_is_printed_when_it_is_asked_for(cdc: Cdc) -> None:
    assert certificate_schema() == json.loads(cdc("schema", "--certificate").out)


def test_discover_adds_the_tables_found_in_raw_inactive(cdc: Cdc, project: Path) -> None:
    write_stores(project)

    done = cdc("discover")

    assert 0 == done.code
    tables = load_config(project / "cdc.yaml").sources["shop"].tables
    assert [("public.orders", True), ("public.stores", False)] == [(one.name, one.active) for one in tables]


def test_a_dry_run_of_discover_writes_nothing(cdc: Cdc, project: Path) -> None:
    write_stores(project)
    before = (project / "cdc.yaml").read_text()

    found = cdc("discover", "--dry-run", "--json").json

    assert ["public.stores"] == [table["name"] for table in found["shop"]["tables"]]
    assert before == (project / "cdc.yaml").read_text()


def test_discover_says_why_it_does_not_know_the_merge_key(cdc: Cdc, project: Path) -> None:
    write_stores(project)

    remarks = cdc("discover", "--dry-run", "--json").json["shop"]["remarks"]

    assert {"public.stores": "the source cannot be asked: it has no `connection`"} == remarks


def test_discover_takes_keys_and_the_columns_of_csv_from_the_source(
    cdc: Cdc, project: Path, postgres_database: str, monkeypatch: object
) -> None:
    with psycopg.connect(postgres_database, autocommit=True) as connection:
        connection.execute("CREATE TABLE stores (id int PRIMARY KEY, name text NOT NULL, area numeric(8,2))")
    (project / "shop.dsn").write_text(postgres_database)
    config = project / "cdc.yaml"
    text = config.read_text().replace("{location: raw}", "{location: raw, format: csv}")
    text = text.replace("    tables:\n", "    connection: {dsn_file: shop.dsn}\n    tables:\n")
    config.write_text(text)
    folder = project / "raw" / "public" / "stores"
    folder.mkdir(parents=True)
    (folder / "LOAD00000001.csv").write_text("1,North,12.50\n")

    cdc("discover")

    stores = load_config(config).sources["shop"].tables[1]
    assert ("id",) == stores.merge_key
    assert [("id", "int", False), ("name", "string", False), ("area", "decimal(8,2)", True)] == [
        (column.name, column.type, column.nullable) for column in stores.columns
    ]


def test_a_folder_without_any_raw_file_is_no_table_to_discover(cdc: Cdc, project: Path) -> None:
    (project / "raw" / "public" / "deep" / "x").mkdir(parents=True)

    assert "every table in the raw folder is configured\n" == cdc("discover").out


def test_nothing_to_discover_is_said(cdc: Cdc) -> None:
    assert "every table in the raw folder is configured\n" == cdc("discover").out


def test_an_orphan_age_that_maintenance_refuses_is_remarked(cdc: Cdc, project: Path) -> None:
    text = (project / "cdc.yaml").read_text()
    (project / "cdc.yaml").write_text(text + "maintenance:\n  orphans: {min_age_hours: 0.5}\n")
    done = cdc("check-config")

    assert 0 == done.code
    assert "maintenance.orphans.min_age_hours: 0.5 is below 1" in done.err
    assert "--force" in done.err


def test_a_file_without_its_version_is_told_by_every_command(cdc: Cdc, project: Path) -> None:
    file = project / "cdc.yaml"
    file.write_text(file.read_text().replace("version: 1\n", ""))

    done = cdc("apply")

    assert (0, True) == (done.code, "version is missing, taken for 1 → start the file" in done.err)
