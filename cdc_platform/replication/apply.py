"""Make the DMS objects of a plan, or bring them to it: as often as one likes, with the same outcome."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from cdc_platform.errors import ReplicationError, TaskTimedOut
from cdc_platform.replication.client import dms_errors, is_not_found, poll_seconds_of
from cdc_platform.replication.task_state import TaskState, find_task

if TYPE_CHECKING:
    from mypy_boto3_dms import DatabaseMigrationServiceClient

    from cdc_platform.replication.plan import EndpointPlan, ReplicationPlan

Progress = Callable[[str], None]

_INSTANCE_SECONDS = 30 * 60.0
_CONNECTION_SECONDS = 5 * 60.0
_TASK_SECONDS = 5 * 60.0
_UNSET = (None, "", False)


@dataclass(frozen=True, slots=True)
class ReplicationObjects:
    """The DMS objects of a source, and what applying its plan did to each (made, changed, unchanged)."""

    instance_arn: str
    source_arn: str
    target_arn: str
    task: TaskState
    done: Mapping[str, str]


def apply_replication(
    client: DatabaseMigrationServiceClient, plan: ReplicationPlan, *, progress: Progress = lambda _: None
) -> ReplicationObjects:
    """Make or change the instance, endpoints and task of ``plan``, and test both connections.

    What is there and equal is left alone. Raises ReplicationError when DMS refuses, when a connection fails,
    or when a change needs a running task to be stopped first.
    """
    return _Apply(client, plan, progress).run()


class _Apply:
    def __init__(
        self, client: DatabaseMigrationServiceClient, plan: ReplicationPlan, progress: Progress
    ) -> None:
        self._client = client
        self._plan = plan
        self._progress = progress
        self._done: dict[str, str] = {}
        self._before = find_task(client, plan.task.identifier)

    def run(self) -> ReplicationObjects:
        """Make or change every object, in the order they need each other."""
        instance = self._instance()
        source, target = self._endpoint(self._plan.origin), self._endpoint(self._plan.target)
        if not self._is_live:
            for end, arn in ((self._plan.origin, source), (self._plan.target, target)):
                self._connect(instance, end, arn)
        task = self._task(instance, source, target)
        return ReplicationObjects(instance, source, target, task, self._done)

    @property
    def _is_live(self) -> bool:
        return self._before is not None and self._before.is_live

    def _tell(self, name: str, outcome: str) -> None:
        self._done[name] = outcome
        self._progress(f"{name}: {outcome}")

    def _refuse_live(self, name: str) -> None:
        if self._is_live:
            raise ReplicationError(
                f"{name} differs from cdc.yaml, and its task is running",
                where=f"source {self._plan.source}",
                mend="stop the task, then replicate again",
            )

    def _instance(self) -> str:
        name = self._plan.instance_identifier
        label = f"replication instance {name}"
        found = self._find_instance()
        with dms_errors(label):
            if found is None:
                found = self._client.create_replication_instance(
                    ReplicationInstanceIdentifier=name, ReplicationInstanceClass=self._plan.instance_class
                )["ReplicationInstance"]
                self._tell(label, "made")
            elif found["ReplicationInstanceClass"] != self._plan.instance_class:
                self._refuse_live(label)
                self._client.modify_replication_instance(
                    ReplicationInstanceArn=found["ReplicationInstanceArn"],
                    ReplicationInstanceClass=self._plan.instance_class,
                    ApplyImmediately=True,
                )
                self._tell(label, "changed")
            else:
                self._tell(label, "unchanged")
        self._await(label, "available", self._instance_status, _INSTANCE_SECONDS)
        return str(found["ReplicationInstanceArn"])

    def _find_instance(self) -> Mapping[str, Any] | None:
        filters = [{"Name": "replication-instance-id", "Values": [self._plan.instance_identifier.lower()]}]
        call = self._client.describe_replication_instances
        return self._first(call, filters, "ReplicationInstances")

    def _instance_status(self) -> str:
        found = self._find_instance()
        return str(found["ReplicationInstanceStatus"]) if found is not None else "missing"

    def _endpoint(self, end: EndpointPlan) -> str:
        label = f"{end.kind} endpoint {end.identifier}"
        filters = [{"Name": "endpoint-id", "Values": [end.identifier]}]
        found = self._first(self._client.describe_endpoints, filters, "Endpoints")
        if found is None:
            with dms_errors(label):
                made = self._client.create_endpoint(EndpointIdentifier=end.identifier, **_members(end))
            self._tell(label, "made")
            return made["Endpoint"]["EndpointArn"]
        arn = str(found["EndpointArn"])
        if _differs(end.members, found):
            self._refuse_live(label)
            self._modify_endpoint(label, end, arn)
            self._tell(label, "changed")
        else:
            self._tell(label, "unchanged")
        return arn

    def _modify_endpoint(self, label: str, end: EndpointPlan, arn: str) -> None:
        with dms_errors(label):
            self._client.modify_endpoint(EndpointArn=arn, **_members(end))

    def _connect(self, instance: str, end: EndpointPlan, arn: str) -> None:
        """Test a connection; DMS never shows a password, so one that fails is tried with the current one."""
        label = f"connection to {end.identifier}"
        failure = self._test(label, instance, arn)
        if failure is not None and self._done[f"{end.kind} endpoint {end.identifier}"] == "unchanged":
            self._modify_endpoint(label, end, arn)
            failure = self._test(label, instance, arn)
        if failure is not None:
            raise ReplicationError(
                f"DMS cannot connect: {failure}",
                where=f"source {self._plan.source}, endpoint {end.identifier}",
                mend="check the connection in cdc.yaml, and that the instance may reach it",
            )
        self._tell(label, "successful")

    def _test(self, label: str, instance: str, arn: str) -> str | None:
        with dms_errors(label):
            self._client.test_connection(ReplicationInstanceArn=instance, EndpointArn=arn)
        filters = [
            {"Name": "endpoint-arn", "Values": [arn]},
            {"Name": "replication-instance-arn", "Values": [instance]},
        ]

        def outcome() -> str:
            found = self._first(self._client.describe_connections, filters, "Connections") or {}
            status = str(found.get("Status", "testing"))
            return (
                f"failed: {found.get('LastFailureMessage') or 'no message'}" if status == "failed" else status
            )

        status = self._await(label, "successful", outcome, _CONNECTION_SECONDS, failed="failed")
        return status.removeprefix("failed: ") if status.startswith("failed") else None

    def _task(self, instance: str, source: str, target: str) -> TaskState:
        planned, before = self._plan.task, self._before
        label = f"task {planned.identifier}"
        mappings, settings = json.dumps(planned.table_mappings), json.dumps(planned.settings)
        if before is None:
            with dms_errors(label):
                self._client.create_replication_task(
                    ReplicationTaskIdentifier=planned.identifier,
                    ReplicationInstanceArn=instance,
                    SourceEndpointArn=source,
                    TargetEndpointArn=target,
                    MigrationType=cast("Any", planned.migration_type),
                    TableMappings=mappings,
                    ReplicationTaskSettings=settings,
                )
            self._tell(label, "made")
        elif _task_differs(self._plan, before):
            self._refuse_live(label)
            with dms_errors(label):
                self._client.modify_replication_task(
                    ReplicationTaskArn=before.arn,
                    MigrationType=cast("Any", planned.migration_type),
                    TableMappings=mappings,
                    ReplicationTaskSettings=settings,
                )
            self._tell(label, "changed")
        else:
            self._tell(label, "unchanged")
        return self._settled_task(label)

    def _settled_task(self, label: str) -> TaskState:
        def status() -> str:
            found = find_task(self._client, self._plan.task.identifier)
            states.append(found)
            is_moving = found is None or found.status in ("creating", "modifying")
            return "moving" if is_moving else "settled"

        states: list[TaskState | None] = []
        self._await(label, "settled", status, _TASK_SECONDS)
        return cast("TaskState", states[-1])

    def _first(self, describe: Any, filters: Any, member: str) -> Mapping[str, Any] | None:
        from botocore.exceptions import ClientError

        with dms_errors(f"source {self._plan.source}"):
            try:
                found = describe(Filters=filters)[member]
            except ClientError as fault:
                if is_not_found(fault):
                    return None
                raise
        return found[0] if found else None

    def _await(
        self, label: str, wanted: str, status: Callable[[], str], seconds: float, failed: str | None = None
    ) -> str:
        deadline = time.monotonic() + seconds
        while True:
            now = status()
            if now == wanted or (failed is not None and now.startswith(failed)):
                return now
            if time.monotonic() > deadline:
                raise TaskTimedOut(f"still {now} after {seconds:.0f} s, not {wanted}", where=label)
            time.sleep(poll_seconds_of(self._client))


def _members(end: EndpointPlan) -> Any:
    password = {"Password": end.password} if end.password is not None else {}
    return {"EndpointType": end.kind, "EngineName": end.engine, **end.members, **password}


def _differs(planned: Mapping[str, Any], found: Mapping[str, Any]) -> bool:
    """Compare what is planned with what DMS tells; what it does not tell equals what is unset."""
    for name, value in planned.items():
        there = found.get(name)
        if isinstance(value, Mapping):
            if _differs(value, there or {}):
                return True
        elif _folded(value) != _folded(there) and not (value in _UNSET and there in _UNSET):
            return True
    return False


def _folded(value: object) -> object:
    """DMS tells enums and delimiters in another spelling than it takes them."""
    if not isinstance(value, str):
        return value
    return value.lower().replace("_", "-").replace("\\n", "\n").replace("\\t", "\t")


def _task_differs(plan: ReplicationPlan, before: TaskState) -> bool:
    there = before.document
    if plan.task.migration_type != before.migration_type:
        return True
    if plan.task.table_mappings != json.loads(there.get("TableMappings") or "{}"):
        return True
    return _differs(plan.task.settings, json.loads(there.get("ReplicationTaskSettings") or "{}"))
