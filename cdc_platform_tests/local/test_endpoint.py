"""Tasks of the local DMS as plain boto3 sees them: life cycle, start types, statistics, restarts."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from botocore.exceptions import ClientError

from cdc_platform.local.contract import StartType, TableStatistics, TaskStatus
from cdc_platform.local.endpoint import DmsEndpoint
from cdc_platform_tests.local.conftest import MAPPINGS, QUICK, LocalDms, dms_client_for
from cdc_platform_tests.local.scripted_engine import ScriptedEngine


def refused(code: str) -> pytest.RaisesExc[ClientError]:
    """Expect a ClientError of the code."""
    return pytest.raises(ClientError, check=lambda fault: fault.response["Error"]["Code"] == code)


def test_a_new_task_is_creating_and_then_ready(dms: LocalDms) -> None:
    task = dms.task()

    dms.wait("ready", task)

    assert dms.describe(task)["Status"] == "ready"


def test_a_task_starts_runs_and_stops_with_reason_and_checkpoint(dms: LocalDms) -> None:
    task = dms.task()

    dms.start(task)
    dms.stop(task)

    stopped = dms.describe(task)
    assert stopped["StopReason"] == "Stop Reason NORMAL"
    assert stopped["RecoveryCheckpoint"] == "checkpoint:V1#1#00000000/00000001#0#0#*#0#0"
    assert stopped["ReplicationTaskStats"]["TablesLoaded"] == 2
    assert stopped["ReplicationTaskStats"]["StopDate"] >= stopped["ReplicationTaskStats"]["StartDate"]


def test_stop_shows_stopping_until_the_run_has_flushed(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    dms.engine.runs[0].holds_stop = True

    answer = dms.client.stop_replication_task(ReplicationTaskArn=task)

    assert answer["ReplicationTask"]["Status"] == "stopping"
    assert dms.describe(task)["Status"] == "stopping"
    dms.engine.runs[0].end(TaskStatus.STOPPED, "Stop Reason NORMAL")
    dms.wait("stopped", task)


@pytest.mark.parametrize("start_type", ["resume-processing", "reload-target"])
def test_the_first_run_must_be_start_replication(dms: LocalDms, start_type: str) -> None:
    task = dms.task()

    with refused("InvalidParameterCombinationException"):
        dms.start(task, start_type)


def test_start_replication_is_for_the_first_run_only(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    dms.stop(task)

    with refused("InvalidParameterCombinationException"):
        dms.start(task)


def test_a_capture_task_may_start_afresh_from_another_position(dms: LocalDms) -> None:
    task = dms.task(migration_type="cdc")
    dms.start(task)
    dms.stop(task)

    dms.start(task, CdcStartPosition="4AF/B00000D0")

    assert dms.engine.runs[-1].request.cdc_start_position == "4AF/B00000D0"


def test_a_capture_task_starts_where_it_was_created_to(dms: LocalDms) -> None:
    task = dms.task(migration_type="cdc", CdcStartPosition="checkpoint:V1#1#000004AF/B00000D0#0#0#*#0#0")

    dms.start(task)

    expected = "checkpoint:V1#1#000004AF/B00000D0#0#0#*#0#0"
    assert dms.engine.runs[0].request.cdc_start_position == expected


def test_a_resumed_task_keeps_its_stop_position_and_has_no_start_position(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task, CdcStopPosition="server_time:2030-01-01T00:00:00")
    dms.stop(task)

    dms.start(task, "resume-processing")

    request = dms.engine.runs[1].request
    assert request.start_type == StartType.RESUME
    assert request.cdc_start_position is None
    assert request.cdc_stop_position == "server_time:2030-01-01T00:00:00"


@pytest.mark.parametrize(
    ("positions", "code"),
    [
        ({"CdcStartPosition": "2018-03-08T12:12:12"}, "InvalidParameterValueException"),
        ({"CdcStartPosition": "mysql-bin.000024:373"}, "InvalidParameterValueException"),
        ({"CdcStopPosition": "tomorrow"}, "InvalidParameterValueException"),
        ({"CdcStartTime": datetime(2030, 1, 1, tzinfo=UTC)}, "InvalidParameterCombinationException"),
        (
            {"CdcStartTime": datetime(2030, 1, 1, tzinfo=UTC), "CdcStartPosition": "4AF/B00000D0"},
            "InvalidParameterCombinationException",
        ),
    ],
)
def test_positions_a_postgresql_source_cannot_take_are_refused(
    dms: LocalDms, positions: dict[str, object], code: str
) -> None:
    task = dms.task(migration_type="cdc")

    with refused(code):
        dms.start(task, **positions)


def test_a_task_does_not_start_before_its_connections_were_tested(dms: LocalDms) -> None:
    task = dms.task(SourceEndpointArn=dms.source("untested"))

    with refused("InvalidResourceStateFault"):
        dms.start(task)


def test_a_running_task_is_neither_started_modified_nor_deleted(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)

    with refused("InvalidResourceStateFault"):
        dms.start(task, "resume-processing")
    with refused("InvalidResourceStateFault"):
        dms.client.modify_replication_task(ReplicationTaskArn=task, MigrationType="cdc")
    with refused("InvalidResourceStateFault"):
        dms.client.delete_replication_task(ReplicationTaskArn=task)


def test_a_stopped_task_is_not_stopped_again(dms: LocalDms) -> None:
    task = dms.task()

    with refused("InvalidResourceStateFault"):
        dms.client.stop_replication_task(ReplicationTaskArn=task)


def test_a_deleted_task_is_gone_with_its_checkpoint(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    dms.stop(task)

    assert (
        dms.client.delete_replication_task(ReplicationTaskArn=task)["ReplicationTask"]["Status"] == "deleting"
    )

    waiter = dms.client.get_waiter("replication_task_deleted")
    waiter.wait(Filters=[{"Name": "replication-task-arn", "Values": [task]}], WaiterConfig=QUICK)


def test_a_task_is_deleted_even_when_its_source_cannot_be_cleaned_up(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    dms.stop(task)
    dms.engine.refusal = "replication slot x could not be dropped"

    dms.client.delete_replication_task(ReplicationTaskArn=task)

    events = dms.client.describe_events(EventCategories=["failure"])["Events"]
    assert ["Replication task clean-up failed: replication slot x could not be dropped"] == [
        event["Message"] for event in events
    ]


def test_a_modified_task_runs_with_what_it_was_modified_to(dms: LocalDms) -> None:
    task = dms.task()

    dms.client.modify_replication_task(
        ReplicationTaskArn=task,
        MigrationType="cdc",
        ReplicationTaskSettings=json.dumps({"FullLoadSettings": {"CommitRate": 77}}),
    )
    dms.start(task)

    spec = dms.engine.runs[0].spec
    assert spec.migration_type == "cdc"
    assert spec.settings["FullLoadSettings"]["CommitRate"] == 77
    assert spec.settings["FullLoadSettings"]["MaxFullLoadSubTasks"] == 8


def test_a_run_gets_the_password_the_settings_and_real_delimiters(dms: LocalDms) -> None:
    task = dms.task()

    dms.start(task)

    spec = dms.engine.runs[0].spec
    assert (spec.source["ServerName"], spec.source["Password"]) == ("db.example", "s3cret")
    assert spec.target["CsvRowDelimiter"] == "\n"
    assert spec.table_mappings == json.loads(MAPPINGS)


def test_a_failed_run_shows_its_message_without_the_password(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)

    message = "cannot connect to postgresql://etl:s3cret@db.example/shop"
    dms.engine.runs[0].end(TaskStatus.FAILED, "Stop Reason FATAL_ERROR", message)

    failed = dms.describe(task)
    assert failed["Status"] == "failed"
    assert failed["LastFailureMessage"] == "cannot connect to postgresql://etl:***@db.example/shop"


@pytest.mark.parametrize("start_type", ["start-replication", "resume-processing"])
def test_a_start_the_engine_refuses_leaves_the_task_failed_and_startable_again(
    dms: LocalDms, start_type: str
) -> None:
    task = dms.task()
    dms.engine.refusal = "the slot does not exist"
    dms.client.start_replication_task(ReplicationTaskArn=task, StartReplicationTaskType="start-replication")
    failed = dms.describe(task)
    dms.engine.refusal = None

    dms.start(task, start_type)

    assert dms.engine.runs[0].request.start_type == StartType.START
    assert (failed["Status"], failed["LastFailureMessage"]) == ("failed", "the slot does not exist")
    assert dms.describe(task)["Status"] == "running"


def test_tasks_are_described_page_by_page(dms: LocalDms) -> None:
    first = dms.describe(dms.task())
    ends = {
        name: first[name] for name in ("SourceEndpointArn", "TargetEndpointArn", "ReplicationInstanceArn")
    }
    for number in range(44):
        dms.client.create_replication_task(
            ReplicationTaskIdentifier=f"more-{number}", MigrationType="cdc", TableMappings=MAPPINGS, **ends
        )

    pages = list(
        dms.client.get_paginator("describe_replication_tasks").paginate(PaginationConfig={"PageSize": 20})
    )

    assert [20, 20, 5] == [len(page["ReplicationTasks"]) for page in pages]
    assert len({task["ReplicationTaskArn"] for page in pages for task in page["ReplicationTasks"]}) == 45


def test_filters_of_different_names_must_all_hold(dms: LocalDms) -> None:
    task = dms.task()
    dms.task("other", migration_type="cdc")

    found = dms.client.describe_replication_tasks(
        Filters=[
            {"Name": "migration-type", "Values": ["full-load-and-cdc", "cdc"]},
            {"Name": "replication-task-id", "Values": ["copy"]},
        ]
    )

    assert [task] == [each["ReplicationTaskArn"] for each in found["ReplicationTasks"]]


def test_a_filter_nothing_matches_is_an_error_as_on_aws(dms: LocalDms) -> None:
    with refused("ResourceNotFoundFault"):
        dms.client.describe_replication_tasks(Filters=[{"Name": "replication-task-id", "Values": ["no"]}])
    with refused("InvalidParameterValueException"):
        dms.client.describe_replication_tasks(Filters=[{"Name": "colour", "Values": ["no"]}])


def test_settings_are_left_out_on_request(dms: LocalDms) -> None:
    task = dms.task()

    assert "TableMappings" in dms.describe(task)
    assert "TableMappings" not in dms.describe(task, WithoutSettings=True)


def test_table_statistics_come_in_pages_of_20_to_500(tmp_path: Path) -> None:
    engine = ScriptedEngine([f"t{number:03}" for number in range(45)])
    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as endpoint:
        dms = LocalDms(dms_client_for(endpoint.url), engine, endpoint)
        task = dms.task()
        dms.start(task)

        pages = list(
            dms.client.get_paginator("describe_table_statistics").paginate(
                ReplicationTaskArn=task, PaginationConfig={"PageSize": 20}
            )
        )
        with refused("InvalidParameterValueException"):
            dms.client.describe_table_statistics(ReplicationTaskArn=task, MaxRecords=19)

        tables = [row["TableName"] for page in pages for row in page["TableStatistics"]]
        assert list(engine.tables) == tables
        dms.client.close()


def test_table_statistics_are_filtered_and_complete(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    dms.engine.runs[0].state.tables[1] = TableStatistics(
        "public", "store", "Table error", 5, 6, 7, 8, 1, 2, 3, 4, 100, 9, when, when, True, when
    )

    found = dms.client.describe_table_statistics(
        ReplicationTaskArn=task, Filters=[{"Name": "table-state", "Values": ["Table error"]}]
    )

    [row] = found["TableStatistics"]
    assert (row["TableName"], row["Inserts"], row["Updates"], row["Deletes"]) == ("store", 5, 6, 7)
    assert (row["Ddls"], row["AppliedInserts"], row["AppliedDdls"], row["FullLoadRows"]) == (8, 1, 4, 100)
    assert (row["FullLoadErrorRows"], row["FullLoadReloaded"], row["FullLoadEndTime"]) == (9, True, when)
    assert row["ValidationState"] == "Not enabled"


def test_tables_reload_only_while_the_task_runs(dms: LocalDms) -> None:
    task = dms.task()
    product = {"SchemaName": "public", "TableName": "product"}

    with refused("InvalidResourceStateFault"):
        dms.client.reload_tables(ReplicationTaskArn=task, TablesToReload=[product])
    dms.start(task)
    dms.client.reload_tables(ReplicationTaskArn=task, TablesToReload=[product])

    assert [("public", "product")] == dms.engine.runs[0].reloaded


def test_a_reload_of_too_many_or_unknown_tables_is_refused(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    product = {"SchemaName": "public", "TableName": "product"}

    with refused("InvalidParameterValueException"):
        dms.client.reload_tables(ReplicationTaskArn=task, TablesToReload=[product] * 11)
    with refused("ResourceNotFoundFault"):
        dms.client.reload_tables(
            ReplicationTaskArn=task, TablesToReload=[{"SchemaName": "public", "TableName": "nothing"}]
        )


def test_a_task_that_ran_when_the_endpoint_ended_resumes_with_it(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as first:
        dms = LocalDms(dms_client_for(first.url), engine, first)
        running, stopped = dms.task("goes-on"), dms.task("rests")
        dms.start(running, CdcStopPosition="server_time:2030-01-01T00:00:00")
        dms.start(stopped)
        dms.stop(stopped)

    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as second:
        again = LocalDms(dms_client_for(second.url), engine, second)

        assert again.describe(running)["Status"] == "running"
        assert again.describe(stopped)["Status"] == "stopped"
        assert engine.runs[-1].request.start_type == StartType.RESUME
        assert engine.runs[-1].request.cdc_stop_position == "server_time:2030-01-01T00:00:00"


def test_a_task_whose_run_ended_by_itself_is_not_resumed(tmp_path: Path) -> None:
    engine = ScriptedEngine()
    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as first:
        dms = LocalDms(dms_client_for(first.url), engine, first)
        task = dms.task()
        dms.start(task)
        engine.runs[0].end(TaskStatus.STOPPED, "Stop Reason FULL_LOAD_ONLY_FINISHED")

    with DmsEndpoint(tmp_path / "dms", engine, tmp_path / "raw") as second:
        again = LocalDms(dms_client_for(second.url), engine, second)

        assert again.describe(task)["StopReason"] == "Stop Reason FULL_LOAD_ONLY_FINISHED"
        assert len(engine.runs) == 1


def test_events_tell_what_happened_to_a_task(dms: LocalDms) -> None:
    task = dms.task()
    dms.start(task)
    dms.stop(task)

    found = dms.client.describe_events(SourceType="replication-task", SourceIdentifier="copy")  # type: ignore[arg-type]

    messages = [event["Message"] for event in found["Events"]]
    assert messages[:2] == ["Replication task created", "Replication task started"]
    later = dms.client.describe_events(StartTime=datetime(2090, 1, 1, tzinfo=UTC))
    assert later["Events"] == []


def test_a_task_moves_to_another_instance(dms: LocalDms) -> None:
    task = dms.task()
    other = dms.instance("other")

    dms.client.move_replication_task(ReplicationTaskArn=task, TargetReplicationInstanceArn=other)

    assert dms.describe(task)["ReplicationInstanceArn"] == other
