"""Instances, endpoints, connections, subnet groups and tags, by plain boto3; and the wire itself."""

from __future__ import annotations

import json
import stat
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from cdc_platform.errors import LocalServiceError
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform_tests.local.conftest import MAPPINGS, QUICK, LocalDms
from cdc_platform_tests.local.scripted_engine import ScriptedEngine
from cdc_platform_tests.local.test_endpoint import refused


def raw_call(
    dms: LocalDms, operation: str, body: object, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Call as no boto3 would: what boto3 refuses to send itself must be refused here too."""
    request = urllib.request.Request(
        dms.endpoint.url,
        data=body if isinstance(body, bytes) else json.dumps(body).encode(),
        headers={
            "X-Amz-Target": f"AmazonDMSv20160101.{operation}",
            "Content-Type": "application/x-amz-json-1.1",
            **(headers or {}),
        },
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as fault:
        with fault:
            return fault.code, json.load(fault)


def test_an_instance_is_creating_then_available_then_gone(dms: LocalDms) -> None:
    made = dms.client.create_replication_instance(
        ReplicationInstanceIdentifier="Box", ReplicationInstanceClass="dms.t3.medium"
    )["ReplicationInstance"]
    named = [{"Name": "replication-instance-id", "Values": ["box"]}]

    dms.client.get_waiter("replication_instance_available").wait(Filters=named, WaiterConfig=QUICK)
    arn = made["ReplicationInstanceArn"]
    deleted = dms.client.delete_replication_instance(ReplicationInstanceArn=arn)["ReplicationInstance"]
    dms.client.get_waiter("replication_instance_deleted").wait(Filters=named, WaiterConfig=QUICK)

    assert made["ReplicationInstanceStatus"] == "creating"
    assert made["ReplicationInstanceIdentifier"] == "box"
    assert arn.startswith("arn:aws:dms:eu-central-1:000000000000:rep:")
    assert deleted["ReplicationInstanceStatus"] == "deleting"


def test_an_instance_with_tasks_is_not_deleted(dms: LocalDms) -> None:
    instance = dms.describe(dms.task())["ReplicationInstanceArn"]

    with refused("InvalidResourceStateFault"):
        dms.client.delete_replication_instance(ReplicationInstanceArn=instance)


def test_a_larger_instance_waits_for_apply_immediately(dms: LocalDms) -> None:
    arn = dms.instance()

    later = dms.client.modify_replication_instance(
        ReplicationInstanceArn=arn, ReplicationInstanceClass="dms.r5.large"
    )["ReplicationInstance"]
    now = dms.client.modify_replication_instance(
        ReplicationInstanceArn=arn, ReplicationInstanceClass="dms.r5.large", ApplyImmediately=True
    )["ReplicationInstance"]

    assert later["ReplicationInstanceClass"] == "dms.t3.medium"
    assert later["PendingModifiedValues"]["ReplicationInstanceClass"] == "dms.r5.large"
    assert now["ReplicationInstanceClass"] == "dms.r5.large"
    assert now["PendingModifiedValues"] == {}


@pytest.mark.parametrize("identifier", ["1box", "box-", "bo--x", "bo_x", "x" * 64])
def test_identifiers_dms_does_not_take_are_refused(dms: LocalDms, identifier: str) -> None:
    with refused("InvalidParameterValueException"):
        dms.instance(identifier)


def test_an_identifier_is_used_once(dms: LocalDms) -> None:
    dms.instance()
    dms.source()
    dms.task()

    with refused("ResourceAlreadyExistsFault"):
        dms.instance("BOX")
    with refused("ResourceAlreadyExistsFault"):
        dms.source("Shop")
    with refused("ResourceAlreadyExistsFault"):
        dms.task(SourceEndpointArn=dms.source("a"), TargetEndpointArn=dms.target("b"))


def test_an_s3_endpoint_shows_the_defaults_of_the_real_one(dms: LocalDms) -> None:
    dms.target(DataFormat="parquet", CompressionType="GZIP", EncryptionMode="SSE_S3")

    settings = dms.client.describe_endpoints()["Endpoints"][0]["S3Settings"]

    expected = {
        "BucketName": "raw",
        "BucketFolder": "",
        "DataFormat": "parquet",
        "CompressionType": "gzip",
        "EncryptionMode": "sse-s3",
        "CdcMaxBatchInterval": 60,
        "CdcMinFileSize": 32000,
        "CsvNullValue": "NULL",
        "Rfc4180": True,
        "IncludeOpForFullLoad": False,
        "DatePartitionSequence": "YYYYMMDD",
        "RowGroupLength": 10000,
        "ParquetVersion": "parquet-1-0",
        "MaxFileSize": 1048576,
    }
    assert expected == {name: settings.get(name) for name in expected}


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"CdcInsertsOnly": True, "CdcInsertsAndUpdates": True}, "InvalidParameterCombinationException"),
        ({"PreserveTransactions": True}, "InvalidParameterCombinationException"),
        (
            {"PreserveTransactions": True, "CdcPath": "cdc", "AddColumnName": True},
            "InvalidParameterCombinationException",
        ),
        ({"MaxFileSize": 0}, "InvalidParameterValueException"),
        ({"BucketFolder": "../../etc"}, "InvalidParameterValueException"),
        ({"BucketName": "a/b"}, "InvalidParameterValueException"),
        ({"BucketName": ".."}, "InvalidParameterValueException"),
        ({"DataFormat": "orc"}, "ValidationException"),
        ({"ServiceAccessRoleArn": ""}, "InvalidParameterValueException"),
    ],
)
def test_s3_settings_that_cannot_be_are_refused(
    dms: LocalDms, settings: dict[str, object], code: str
) -> None:
    with refused(code):
        dms.target(**settings)


def test_extra_connection_attributes_become_settings(dms: LocalDms) -> None:
    dms.client.create_endpoint(
        EndpointIdentifier="old-style",
        EndpointType="target",
        EngineName="s3",
        S3Settings={"BucketName": "raw", "ServiceAccessRoleArn": "arn:aws:iam::1:role/x"},
        ExtraConnectionAttributes="dataFormat=parquet;includeOpForFullLoad=true;cdcMaxBatchInterval=5;",
    )

    settings = dms.client.describe_endpoints()["Endpoints"][0]["S3Settings"]
    assert settings["DataFormat"] == "parquet"
    assert settings["IncludeOpForFullLoad"] is True
    assert settings["CdcMaxBatchInterval"] == 5
    with refused("InvalidParameterValueException"):
        dms.source(ExtraConnectionAttributes="colour=red")


def test_a_password_is_never_told(dms: LocalDms) -> None:
    arn = dms.source(PostgreSQLSettings={"SlotName": "mine", "Password": "s3cret"})
    dms.client.modify_endpoint(EndpointArn=arn, Password="s3cret", ExtraConnectionAttributes="slotName=mine")

    for status, answer in (
        raw_call(dms, "DescribeEndpoints", {}),
        raw_call(dms, "ModifyEndpoint", {"EndpointArn": arn, "Password": "s3cret"}),
    ):
        assert status == 200
        assert "s3cret" not in json.dumps(answer)


def test_the_state_is_readable_by_its_owner_only(dms: LocalDms, tmp_path: Path) -> None:
    dms.source()

    files = [file for file in (tmp_path / "dms").iterdir() if file.is_file()]

    assert {"dms.sqlite"} <= {file.name for file in files}
    assert {0o600} == {stat.S_IMODE(file.stat().st_mode) for file in files}
    assert stat.S_IMODE((tmp_path / "dms").stat().st_mode) == 0o700


def test_settings_are_merged_unless_they_are_exact(dms: LocalDms) -> None:
    arn = dms.source(PostgreSQLSettings={"SlotName": "mine"})

    merged = dms.client.modify_endpoint(EndpointArn=arn, PostgreSQLSettings={"HeartbeatEnable": True})
    exact = dms.client.modify_endpoint(
        EndpointArn=arn, PostgreSQLSettings={"HeartbeatEnable": True}, ExactSettings=True
    )

    assert merged["Endpoint"]["PostgreSQLSettings"] == {"SlotName": "mine", "HeartbeatEnable": True}
    assert exact["Endpoint"]["PostgreSQLSettings"] == {"HeartbeatEnable": True}


def test_settings_of_another_engine_are_refused(dms: LocalDms) -> None:
    with refused("InvalidParameterValueException"):
        dms.source(MySQLSettings={"ServerTimezone": "UTC"})
    with refused("InvalidParameterValueException"):
        dms.source(EngineName="dbase")


def test_an_endpoint_in_use_is_neither_deleted_nor_modified_under_a_run(dms: LocalDms) -> None:
    task = dms.task()
    source = dms.describe(task)["SourceEndpointArn"]
    dms.start(task)

    with refused("InvalidResourceStateFault"):
        dms.client.delete_endpoint(EndpointArn=source)
    with refused("InvalidResourceStateFault"):
        dms.client.modify_endpoint(EndpointArn=source, Port=5433)


def test_a_deleted_endpoint_is_gone(dms: LocalDms) -> None:
    arn = dms.source()

    assert dms.client.delete_endpoint(EndpointArn=arn)["Endpoint"]["Status"] == "deleting"

    waiter = dms.client.get_waiter("endpoint_deleted")
    waiter.wait(Filters=[{"Name": "endpoint-arn", "Values": [arn]}], WaiterConfig=QUICK)


def test_a_connection_is_tested_by_the_engine(dms: LocalDms) -> None:
    instance, source, target = dms.instance(), dms.source(), dms.target()
    dms.engine.connection_failure = "password authentication failed for postgresql://etl:s3cret@db/shop"

    first = dms.client.test_connection(ReplicationInstanceArn=instance, EndpointArn=source)["Connection"]
    [failed] = dms.client.describe_connections(Filters=[{"Name": "endpoint-arn", "Values": [source]}])[
        "Connections"
    ]
    dms.engine.connection_failure = None
    dms.test_connection(instance, source, target)

    assert first["Status"] == "testing"
    assert failed["Status"] == "failed"
    assert failed["LastFailureMessage"].endswith("postgresql://etl:***@db/shop")
    assert len(dms.client.describe_connections()["Connections"]) == 2


def test_an_engine_the_local_dms_does_not_run_fails_its_test(dms: LocalDms) -> None:
    instance, oracle = dms.instance(), dms.source(EngineName="oracle")

    dms.client.test_connection(ReplicationInstanceArn=instance, EndpointArn=oracle)

    [connection] = dms.client.describe_connections()["Connections"]
    assert connection["LastFailureMessage"].startswith("The local DMS does not run oracle as source")


def test_a_deleted_connection_must_be_tested_again(dms: LocalDms) -> None:
    task = dms.task()
    found = dms.describe(task)
    ends = {
        "EndpointArn": found["SourceEndpointArn"],
        "ReplicationInstanceArn": found["ReplicationInstanceArn"],
    }

    dms.client.delete_connection(**ends)

    with refused("InvalidResourceStateFault"):
        dms.start(task)
    with refused("ResourceNotFoundFault"):
        dms.client.delete_connection(**ends)


def test_subnet_groups_are_kept_and_guarded(dms: LocalDms) -> None:
    with refused("ReplicationSubnetGroupDoesNotCoverEnoughAZs"):
        dms.client.create_replication_subnet_group(
            ReplicationSubnetGroupIdentifier="net",
            ReplicationSubnetGroupDescription="x",
            SubnetIds=["subnet-1"],
        )
    dms.client.create_replication_subnet_group(
        ReplicationSubnetGroupIdentifier="net",
        ReplicationSubnetGroupDescription="x",
        SubnetIds=["subnet-1", "subnet-2"],
    )
    dms.client.create_replication_instance(
        ReplicationInstanceIdentifier="box",
        ReplicationInstanceClass="dms.t3.medium",
        ReplicationSubnetGroupIdentifier="net",
    )

    with refused("InvalidResourceStateFault"):
        dms.client.delete_replication_subnet_group(ReplicationSubnetGroupIdentifier="net")
    groups = dms.client.describe_replication_subnet_groups()["ReplicationSubnetGroups"]
    assert ["subnet-1", "subnet-2"] == [subnet["SubnetIdentifier"] for subnet in groups[0]["Subnets"]]


def test_tags_are_added_replaced_listed_and_removed(dms: LocalDms) -> None:
    arn = dms.instance()

    dms.client.add_tags_to_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "1"}, {"Key": "b"}])
    dms.client.add_tags_to_resource(ResourceArn=arn, Tags=[{"Key": "a", "Value": "2"}])
    dms.client.remove_tags_from_resource(ResourceArn=arn, TagKeys=["b"])

    assert dms.client.list_tags_for_resource(ResourceArn=arn)["TagList"] == [
        {"Key": "a", "Value": "2", "ResourceArn": arn}
    ]
    with refused("ResourceNotFoundFault"):
        dms.client.list_tags_for_resource(ResourceArn="arn:aws:dms:x:0:rep:NONE")


def test_quotas_count_what_is_used(dms: LocalDms) -> None:
    dms.source()

    quotas = dms.client.describe_account_attributes()["AccountQuotas"]

    assert {"AccountQuotaName": "Endpoints", "Used": 1, "Max": 1000} in quotas


@pytest.mark.parametrize(
    ("mappings", "message"),
    [
        ("{", "not JSON"),
        ("[]", "not an object"),
        ('{"rules": []}', "non-empty list"),
        ('{"rules": [{"rule-type": "selection"}]}', "rule-id must be a number"),
        (
            '{"rules": [{"rule-type": "magic", "rule-id": "1", "rule-name": "1"}]}',
            "ruleId = 1 failed validation. rule-type 'magic'",
        ),
        (
            json.dumps(
                {
                    "rules": [
                        {
                            "rule-type": "transformation",
                            "rule-id": "4",
                            "rule-name": "4",
                            "rule-target": "column",
                            "rule-action": "shuffle",
                            "object-locator": {"schema-name": "%", "table-name": "%"},
                        }
                    ]
                }
            ),
            "ruleId = 4 failed validation. rule-action 'shuffle'",
        ),
        (MAPPINGS.replace('"include"', '"exclude"'), "At least one selection rule must include"),
        (MAPPINGS.replace('"table-name"', '"name"'), "object-locator needs table-name"),
    ],
)
def test_wrong_table_mappings_are_refused_by_rule(dms: LocalDms, mappings: str, message: str) -> None:
    with refused("InvalidParameterValueException") as raised:
        dms.task(TableMappings=mappings)

    assert message in str(raised.value)


@pytest.mark.parametrize(
    "settings",
    [
        "{",
        "[]",
        '{"Nonsense": {}}',
        '{"FullLoadSettings": {"CommitRate": "many"}}',
        '{"FullLoadSettings": {"TargetTablePrepMode": "BURN"}}',
        json.dumps(
            {
                "FullLoadSettings": {
                    "StopTaskCachedChangesApplied": True,
                    "StopTaskCachedChangesNotApplied": True,
                }
            }
        ),
    ],
)
def test_wrong_task_settings_are_refused(dms: LocalDms, settings: str) -> None:
    with refused("InvalidParameterValueException"):
        dms.task(ReplicationTaskSettings=settings)


def test_a_task_needs_ends_of_the_right_kind(dms: LocalDms) -> None:
    with refused("InvalidParameterValueException"):
        dms.task(SourceEndpointArn=dms.target("wrong-way"))
    with refused("ResourceNotFoundFault"):
        dms.task("other", TargetEndpointArn="arn:aws:dms:x:0:endpoint:NONE")


@pytest.mark.parametrize(
    ("operation", "body", "code"),
    [
        ("CreateReplicationInstance", {}, "ValidationException"),
        ("DescribeEndpoints", {"MaxRecords": "ten"}, "SerializationException"),
        ("DescribeEndpoints", {"MaxRecords": 5}, "InvalidParameterValueException"),
        ("DescribeEndpoints", {"Colour": "red"}, "ValidationException"),
        ("DescribeEndpoints", {"Marker": "not ours"}, "InvalidParameterValueException"),
        ("DescribeEndpoints", b"{", "SerializationException"),
        ("DescribeEndpoints", b"[]", "SerializationException"),
        (
            "StartReplicationTask",
            {"ReplicationTaskArn": "x", "StartReplicationTaskType": "go"},
            "ValidationException",
        ),
        ("Explode", {}, "UnknownOperationException"),
        ("DescribeCertificates", {}, "UnsupportedOperationException"),
    ],
)
def test_what_boto3_would_not_send_is_refused_too(
    dms: LocalDms, operation: str, body: object, code: str
) -> None:
    status, answer = raw_call(dms, operation, body)

    assert (status, answer["__type"]) == (400, code)
    assert answer["message"]


def test_a_request_a_browser_could_be_tricked_into_is_refused(dms: LocalDms) -> None:
    foreign = raw_call(dms, "DescribeEndpoints", {}, {"Host": "evil.example"})
    form = raw_call(dms, "DescribeEndpoints", {}, {"Content-Type": "text/plain"})

    assert (foreign[0], foreign[1]["__type"]) == (400, "AccessDeniedException")
    assert (form[0], form[1]["__type"]) == (400, "SerializationException")


def test_a_fault_inside_is_answered_and_survived(dms: LocalDms, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("password=s3cret")

    with monkeypatch.context() as patch:
        patch.setattr(dms.endpoint, "call", broken)
        with pytest.raises(ClientError) as raised:
            dms.client.describe_endpoints()

    assert raised.value.response["Error"] == {
        "Code": "InternalFailure",
        "Message": "RuntimeError: password=***",
    }
    assert dms.client.describe_endpoints()["Endpoints"] == []


def test_a_taken_port_is_named(dms: LocalDms, tmp_path: Path) -> None:
    port = int(dms.endpoint.url.rpartition(":")[2])

    with pytest.raises(LocalServiceError, match=rf"port {port} cannot be used"):
        DmsEndpoint(tmp_path / "second", ScriptedEngine(), tmp_path / "raw", port=port).start()


def test_a_state_file_that_is_no_database_is_named_with_the_mend(tmp_path: Path) -> None:
    (tmp_path / "dms").mkdir()
    (tmp_path / "dms" / "dms.sqlite").write_text("rubbish " * 1000)

    with pytest.raises(LocalServiceError, match=r"dms\.sqlite: the state of the local DMS cannot be read"):
        DmsEndpoint(tmp_path / "dms", ScriptedEngine(), tmp_path / "raw")
