"""Fixtures of the local DMS: an endpoint on a scripted engine, driven by plain boto3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.config import Config

from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform_tests.local.scripted_engine import ScriptedEngine

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

#: botocore waiters sleep 15 s between looks; half a minute in small steps is enough here.
QUICK = {"Delay": 0.05, "MaxAttempts": 600}
MAPPINGS = json.dumps(
    {
        "rules": [
            {
                "rule-type": "selection",
                "rule-id": "1",
                "rule-name": "all",
                "object-locator": {"schema-name": "public", "table-name": "%"},
                "rule-action": "include",
            }
        ]
    }
)


def dms_client_for(url: str) -> DatabaseMigrationServiceClient:
    """Return boto3's own client, without retries so that a failure shows at once."""
    return boto3.client(
        "dms",
        endpoint_url=url,
        region_name="eu-central-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
        config=Config(retries={"total_max_attempts": 1}),
    )


@dataclass(frozen=True, slots=True)
class LocalDms:
    """A running endpoint, its engine, and a client."""

    client: DatabaseMigrationServiceClient
    engine: ScriptedEngine
    endpoint: DmsEndpoint

    def instance(self, name: str = "box") -> str:
        """Make a replication instance; return its ARN."""
        made = self.client.create_replication_instance(
            ReplicationInstanceIdentifier=name, ReplicationInstanceClass="dms.t3.medium"
        )
        return made["ReplicationInstance"]["ReplicationInstanceArn"]

    def source(self, name: str = "shop", **changes: Any) -> str:
        """Make a PostgreSQL source endpoint; return its ARN."""
        given: dict[str, Any] = {
            "EndpointIdentifier": name,
            "EndpointType": "source",
            "EngineName": "postgres",
            "ServerName": "db.example",
            "Port": 5432,
            "DatabaseName": "shop",
            "Username": "etl",
            "Password": "s3cret",
        }
        return self.client.create_endpoint(**(given | changes))["Endpoint"]["EndpointArn"]

    def target(self, name: str = "lake", **settings: Any) -> str:
        """Make an S3 target endpoint; return its ARN."""
        role = "arn:aws:iam::000000000000:role/dms"
        return self.client.create_endpoint(
            EndpointIdentifier=name,
            EndpointType="target",
            EngineName="s3",
            S3Settings={"BucketName": "raw", "ServiceAccessRoleArn": role} | settings,  # type: ignore[typeddict-item]
        )["Endpoint"]["EndpointArn"]

    def test_connection(self, instance: str, *endpoints: str) -> None:
        """Test connections and wait for their success."""
        for endpoint in endpoints:
            self.client.test_connection(ReplicationInstanceArn=instance, EndpointArn=endpoint)
            self.client.get_waiter("test_connection_succeeds").wait(
                Filters=[{"Name": "endpoint-arn", "Values": [endpoint]}], WaiterConfig=QUICK
            )

    def task(self, name: str = "copy", migration_type: str = "full-load-and-cdc", **changes: Any) -> str:
        """Make a ready task with tested connections of its own; return its ARN."""
        instance, source, target = (
            self.instance(f"{name}-box"),
            self.source(f"{name}-source"),
            self.target(f"{name}-target"),
        )
        self.test_connection(instance, source, target)
        given: dict[str, Any] = {
            "ReplicationTaskIdentifier": name,
            "ReplicationInstanceArn": instance,
            "SourceEndpointArn": source,
            "TargetEndpointArn": target,
            "MigrationType": migration_type,
            "TableMappings": MAPPINGS,
        }
        return self.client.create_replication_task(**(given | changes))["ReplicationTask"][
            "ReplicationTaskArn"
        ]

    def start(self, task: str, start_type: str = "start-replication", **positions: Any) -> None:
        """Start a task and wait until it runs."""
        self.client.start_replication_task(
            ReplicationTaskArn=task, StartReplicationTaskType=start_type, **positions
        )
        self.wait("running", task)

    def stop(self, task: str) -> None:
        """Stop a task and wait until it is stopped."""
        self.client.stop_replication_task(ReplicationTaskArn=task)
        self.wait("stopped", task)

    def wait(self, state: str, task: str) -> None:
        """Wait by boto3's own waiter."""
        waiter: Any = self.client.get_waiter(f"replication_task_{state}")  # type: ignore[call-overload]
        waiter.wait(Filters=_of(task), WaiterConfig=QUICK)

    def describe(self, task: str, **options: Any) -> Any:
        """Return the task as described."""
        return self.client.describe_replication_tasks(Filters=_of(task), **options)["ReplicationTasks"][0]


def _of(task: str) -> Any:
    return [{"Name": "replication-task-arn", "Values": [task]}]


@pytest.fixture
def engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def dms(tmp_path: Path, engine: ScriptedEngine) -> Iterator[LocalDms]:
    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as endpoint:
        client = dms_client_for(endpoint.url)
        yield LocalDms(client, engine, endpoint)
        client.close()
