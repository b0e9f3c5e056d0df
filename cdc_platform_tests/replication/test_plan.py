"""The plan of a source's DMS objects."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cdc_platform.errors import ConfigError
from cdc_platform.local.api_mappings import checked_mappings
from cdc_platform.local.api_task_settings import checked_task_settings
from cdc_platform.replication import plan_replication
from cdc_platform_tests.replication.conftest import Configure


def test_only_active_tables_are_selected_by_exact_rules(configure: Configure) -> None:
    rules = plan_replication(configure(), "retail").task.table_mappings["rules"]

    selections = [rule for rule in rules if rule["rule-type"] == "selection"]
    assert {"explicit"} == {rule["rule-action"] for rule in selections}
    assert ["product", "order_item"] == [rule["object-locator"]["table-name"] for rule in selections]


def test_the_task_writes_order_and_old_keys(configure: Configure) -> None:
    rules = plan_replication(configure(), "retail").task.table_mappings["rules"]

    added = {rule["value"]: rule["expression"] for rule in rules if rule["rule-action"] == "add-column"}
    assert added == {"cdc_change_seq": "$AR_H_CHANGE_SEQ", "cdc_stream_position": "$AR_H_STREAM_POSITION"}
    [before] = [rule for rule in rules if rule["rule-action"] == "add-before-image-columns"]
    assert before["before-image-def"] == {
        "column-prefix": "BI_",
        "column-suffix": "",
        "column-filter": "pk-only",
    }


def test_columns_the_raw_options_do_without_are_not_added(configure: Configure) -> None:
    raw = {
        "location": "raw/lake",
        "change_sequence_column": None,
        "stream_position_column": None,
        "before_image_prefix": None,
    }

    rules = plan_replication(configure(raw=raw), "retail").task.table_mappings["rules"]

    assert {"selection"} == {rule["rule-type"] for rule in rules}


def test_tables_with_columns_of_their_own_get_rules_of_their_own(configure: Configure) -> None:
    own = {"location": "raw/lake/retail", "before_image_prefix": None}
    tables = [
        {"name": "public.product", "merge_key": ["product_id"]},
        {"name": "public.store", "merge_key": ["store_id"], "raw": own},
    ]

    rules = plan_replication(configure(tables=tables), "retail").task.table_mappings["rules"]

    before = [rule for rule in rules if rule["rule-action"] == "add-before-image-columns"]
    assert ["product"] == [rule["object-locator"]["table-name"] for rule in before]


def test_the_documents_are_ones_dms_takes(configure: Configure) -> None:
    task = plan_replication(configure(), "retail").task

    assert checked_mappings(json.dumps(task.table_mappings)) == task.table_mappings
    settings = checked_task_settings(json.dumps(task.settings))
    assert settings["FullLoadSettings"]["TargetTablePrepMode"] == "DO_NOTHING"


def test_a_bucket_on_s3_is_split_from_its_prefix(configure: Configure) -> None:
    config = configure(
        raw={"location": "s3://lake-raw/shop/retail/"},
        dms={"service_access_role_arn": "arn:aws:iam::1:role/dms"},
    )

    settings = plan_replication(config, "retail").target.members["S3Settings"]

    assert ("lake-raw", "shop/retail") == (settings["BucketName"], settings["BucketFolder"])
    assert settings["ServiceAccessRoleArn"] == "arn:aws:iam::1:role/dms"


def test_a_folder_is_split_where_the_local_dms_keeps_its_buckets(
    configure: Configure, tmp_path: Path
) -> None:
    plan = plan_replication(configure(), "retail", raw_root=tmp_path / "raw")

    settings = plan.target.members["S3Settings"]
    assert ("lake", "retail") == (settings["BucketName"], settings["BucketFolder"])


def test_a_folder_the_local_dms_does_not_write_is_refused(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"sources\.retail\.raw\.location.*not where the DMS writes"):
        plan_replication(configure(), "retail", raw_root=tmp_path / "elsewhere")


def test_the_format_options_reach_the_s3_settings(configure: Configure) -> None:
    raw = {
        "location": "raw/lake",
        "format": "csv",
        "date_partition_delimiter": "dash",
        "timestamp_column": None,
        "csv": {"delimiter": ";", "header": True, "no_sup_value": "?"},
    }

    settings = plan_replication(configure(raw=raw), "retail").target.members["S3Settings"]

    expected = {
        "DataFormat": "csv",
        "DatePartitionEnabled": True,
        "DatePartitionDelimiter": "DASH",
        "TimestampColumnName": "",
        "CsvDelimiter": ";",
        "AddColumnName": True,
        "UseCsvNoSupValue": True,
        "CsvNoSupValue": "?",
        "UseTaskStartTimeForFullLoadTimestamp": True,
    }
    assert expected == {name: settings[name] for name in expected}


def test_the_source_endpoint_is_read_from_the_dsn(configure: Configure) -> None:
    origin = plan_replication(configure(), "retail").origin

    assert origin.members == {
        "ServerName": "db.example",
        "Port": 5433,
        "DatabaseName": "shop",
        "Username": "etl",
        "SslMode": "require",
    }
    assert origin.password == "s3cret"


def test_a_printed_plan_shows_no_password(configure: Configure) -> None:
    plan = plan_replication(configure(), "retail")

    assert "s3cret" not in plan.as_json() + repr(plan)
    assert "CreateReplicationTask" not in plan.as_json()
    assert json.loads(plan.as_json())["endpoints"]["source"]["Password"] == "***"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"connection": None}, r"sources\.retail\.connection: is missing"),
        ({"connection": {"dsn": "host=db user=etl"}}, r"connection\.dsn: does not name dbname"),
        ({"connection": {"dsn": "not a dsn s3cret"}}, r"connection\.dsn: cannot be parsed"),
        ({"tables": []}, r"sources\.retail\.tables: no table is active"),
        (
            {"tables": [{"name": "public.half%off", "merge_key": ["id"]}]},
            r"tables\[0\]\.name: DMS takes the % in 'public\.half%off' for a wildcard",
        ),
        (
            {"raw": {"location": "s3://lake/x"}, "dms": {"region": "eu-west-1"}},
            r"service_access_role_arn: is missing",
        ),
    ],
)
def test_what_is_missing_is_named_by_its_path(
    configure: Configure, changes: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        plan_replication(configure(**changes), "retail")
    assert "s3cret" not in str(raised.value)


def test_a_table_with_another_target_is_refused(configure: Configure) -> None:
    tables = [{"name": "public.product", "merge_key": ["product_id"], "raw": {"location": "raw/other"}}]

    with pytest.raises(ConfigError, match=r"tables\[0\]\.raw"):
        plan_replication(configure(tables=tables), "retail")


def test_an_unknown_source_is_refused_with_the_known_ones(configure: Configure) -> None:
    with pytest.raises(ConfigError, match="use one of: retail"):
        plan_replication(configure(), "wholesale")
